"""The brand of one site: its name, logo, icon, colours, style sheet and legal pages.

Read from the settings and from the files of ``BRANDING_DIR`` at start. Pages, e-mails, error pages
and authenticator labels use it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web
from markupsafe import Markup

from zenzefi import colors
from zenzefi.settings import Settings, SettingsError
from zenzefi.settings.branding import DEFAULT_NAME

LEGAL_PAGES = ("imprint", "terms", "privacy", "contact")
LEGAL_PREFIX = "/legal"

_MAX_FILE = 512 * 1024  # bytes
_IMAGES = {".svg": "image/svg+xml", ".png": "image/png"}
_LANGUAGE = re.compile(r"[a-z]{2}")
# The backgrounds of site.css and of error pages, on which text in the brand's colour stands.
_LIGHT: colors.Rgb = (0xF6, 0xF4, 0xEF)
_DARK: colors.Rgb = (0x1B, 0x21, 0x26)
_WHITE: colors.Rgb = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of the brand: the name of its file, media type and content."""

    name: str
    media_type: str
    content: bytes

    @property
    def data_url(self) -> str:
        """The picture as a ``data:`` URL (RFC 2397)."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Brand:
    """The brand of one site."""

    name: str = DEFAULT_NAME
    logo: Image | None = None
    icon: Image | None = None
    color: str | None = None
    custom_css: str = ""
    footer: str | None = None
    support: str | None = None
    texts: Mapping[str, Mapping[str, Markup]] = field(default_factory=dict)
    """The legal pages by name and language; ``""`` is the language of the file without one."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Addresses of legal pages elsewhere, by name."""

    @property
    def is_named(self) -> bool:
        """Whether the operator has given the site a name."""
        return self.name != DEFAULT_NAME

    def link(self, name: str) -> str | None:
        """The address of a legal page; ``None`` if there is none."""
        if name in self.urls:
            return self.urls[name]
        return f"{LEGAL_PREFIX}/{name}" if name in self.texts else None

    def text(self, name: str, language: str) -> Markup | None:
        """A legal page in a language, in the language of its file, or in any."""
        found = self.texts.get(name, {})
        return found.get(language) or found.get("") or next(iter(found.values()), None)

    @property
    def css(self) -> str:
        """The style sheet that follows the pages' own: colours, then ``custom.css``."""
        parts = []
        if self.color is not None:
            light, dark = palette(self.color, is_dark=False), palette(self.color, is_dark=True)
            parts.append(f":root{{{_properties(light)}}}")
            parts.append(f"@media(prefers-color-scheme:dark){{:root{{{_properties(dark)}}}}}")
        return "\n".join([*parts, self.custom_css]) if parts else self.custom_css


def palette(color: str, *, is_dark: bool) -> dict[str, str]:
    """The custom properties of ``site.css`` that follow from the brand's colour."""
    ground = _DARK if is_dark else _LIGHT
    accent = colors.readable_on(ground, colors.parse(color))
    on_accent = colors.text_on(accent)
    strong = colors.mix(accent, _WHITE if is_dark else (0, 0, 0), 0.18)
    soft = colors.mix(ground, accent, 0.12)
    return {
        "--accent": colors.text(accent),
        "--accent-strong": colors.text(
            colors.readable_on(soft, colors.readable_on(on_accent, strong))
        ),
        "--accent-soft": colors.text(soft),
        "--on-accent": colors.text(on_accent),
        "--link": colors.text(accent),
    }


def _properties(values: Mapping[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in values.items())


def load_brand(settings: Settings) -> Brand:
    """Read the brand. Raises ``SettingsError`` for files that can't be used."""
    folder = settings.branding_dir
    urls = {
        "imprint": settings.imprint_url,
        "terms": settings.terms_url,
        "privacy": settings.privacy_url,
        "contact": settings.contact_url,
    }
    brand = Brand(
        name=settings.site_name,
        color=settings.brand_color,
        footer=settings.footer_text,
        support=settings.support_address,
        urls={name: url for name, url in urls.items() if url is not None},
    )
    if folder is None:
        return brand
    if not folder.is_dir():
        raise SettingsError([f"BRANDING_DIR: {folder} is not a folder."])
    found = replace(
        brand,
        logo=_image(folder, "logo"),
        icon=_image(folder, "icon"),
        custom_css=_text(folder / "custom.css"),
        texts={name: texts for name in LEGAL_PAGES if (texts := dict(_texts(folder, name)))},
    )
    if settings.terms_version is not None and found.link("terms") is None:
        raise SettingsError([f"TERMS_VERSION: there is no terms.md in {folder}."])
    return found


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError([f"BRANDING_DIR: {path} can't be read ({error.strerror})."]) from None
    if len(content) > _MAX_FILE:
        raise SettingsError([f"BRANDING_DIR: {path} is larger than {_MAX_FILE // 1024} KiB."])
    return content


def _text(path: Path) -> str:
    try:
        return (_read(path) or b"").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError([f"BRANDING_DIR: {path} is not UTF-8 text."]) from None


def _image(folder: Path, stem: str) -> Image | None:
    for suffix, media_type in _IMAGES.items():
        content = _read(folder / f"{stem}{suffix}")
        if content is not None:
            return Image(f"{stem}{suffix}", media_type, content)
    return None


def _texts(folder: Path, name: str) -> Iterator[tuple[str, Markup]]:
    for path in sorted(folder.glob(f"{name}*.md")):
        language = path.name.removeprefix(name).removesuffix(".md").removeprefix(".")
        if language and not _LANGUAGE.fullmatch(language):
            continue
        source = _text(path)
        if source.strip():
            yield language, _rendered(source)


def _rendered(source: str) -> Markup:
    from markdown_it import MarkdownIt  # needed only where there is such a text

    # Without HTML: it could contain scripts, forms and styles. Link addresses are checked.
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(source)
    return Markup(html)  # noqa: S704 - the renderer escapes all text


BRAND: web.AppKey[Brand] = web.AppKey("brand", Brand)
"""The brand of this gate."""
