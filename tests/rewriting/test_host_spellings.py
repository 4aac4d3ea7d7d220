"""Pages and style sheets at root mounts pass unchanged exactly if nothing in them is mapped."""

from __future__ import annotations

import functools
import html.entities
from collections.abc import Callable

import idna
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.kit.engine import PREFIX, ROOT, UPSTREAM, exchange, rewrite_body
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.origin_search import OriginSearch
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

HTML, CSS = "text/html", "text/css"
REGISTRY = Registry([bundled("plugins")], entry_points=False)
ENGINE = Engine(REGISTRY)
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
RELOCATED = Mount(MountKind.ORIGIN, Origin("http", "seen.example", 80))
MOUNTS = [ROOT, CLIENT, RELOCATED]
NUMBERED = Origin("http", "127.0.0.1", 9000)


@functools.cache
def engine_of(upstream: Origin) -> Engine:
    """An engine serves one upstream."""
    return ENGINE if upstream == UPSTREAM else Engine(REGISTRY)


def search(
    content_type: str, mount: Mount = ROOT, upstream: Origin = UPSTREAM
) -> OriginSearch | None:
    mapper = UrlMapper(upstream, mount)
    return engine_of(upstream).origin_search(
        exchange({"Content-Type": content_type}, mount=mount, mapper=mapper)
    )


def check(content_type: str, body: bytes, mount: Mount, upstream: Origin = UPSTREAM) -> bool:
    """Whether the engine changes the body; fails if the search did not foresee it."""
    mapper = UrlMapper(upstream, mount)
    exchanged = exchange(
        {"Content-Type": content_type}, mount=mount, mapper=mapper, url=f"{upstream}/dir/page?q=1"
    )
    engine = engine_of(upstream)
    is_changed = rewrite_body(engine, exchanged, body) != body
    found = engine.origin_search(exchanged)
    assert found is not None
    if is_changed:
        assert found.finds(body, "")
    return is_changed


# --- where the search is used ---------------------------------------------------------------------


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("content_type", [HTML, CSS, "text/html; charset=windows-1251"])
def test_pages_and_style_sheets_are_searched_at_root_mounts(
    content_type: str, mount: Mount
) -> None:
    found = search(content_type, mount)
    assert found is not None
    assert not found.varies
    assert search(content_type, PREFIX) is None


@pytest.mark.parametrize(
    "content_type",
    [f"{HTML}; charset=utf-16", f"{HTML}; charset=iso-2022-jp", f"{CSS}; charset=shift_jis"],
)
def test_bodies_that_are_decoded_first_are_not_searched(content_type: str) -> None:
    assert search(content_type) is None


def test_pages_of_an_internationalised_host_are_not_searched() -> None:
    assert search(HTML, upstream=Origin("https", "xn--bcher-kva.example", 443)) is None


def test_a_plugin_that_inserts_markup_switches_the_search_off() -> None:
    registry = Registry(
        [bundled("plugins")], entry_points=False, options={"banner": {"enabled": True}}
    )
    page = exchange({"Content-Type": HTML}, mount=ROOT)
    assert Engine(registry).origin_search(page) is None
    assert ENGINE.origin_search(page) is not None


UNCHANGED = {
    "links": b'<a href="/x?a=1&amp;b=%20c">a</a> <img src="//cdn.example/x.png">',
    "text": "<p>It’s the app… “shared” by app.example’s users&nbsp;&mdash; 100%".encode(),
    "script": b"<script>if (a < b) { f('\\n\\x41'); }</script>",
    "style": b"<style>.md\\:flex::after { content: '\\201C'; width: 100% }</style>",
    "chinese": "<p>他说。全角，标点！</p>".encode(),
    "query": b'<a href="https://share.example/?u=a&copy=b&foo=1">',
    "whitespace": b"<p>app.\nexample and APP.EXAMPLE</p>",
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_ordinary_markup_is_not_taken_for_a_host(name: str) -> None:
    found = search(HTML)
    assert found is not None
    assert not found.finds(UNCHANGED[name], "")


def test_a_host_with_the_name_of_a_word_is_found_after_slashes_only() -> None:
    found = search(HTML, upstream=Origin("http", "app", 8000))
    assert found is not None
    assert not found.finds(b'<p class=app>my app</p><a href="/app/x">app</a>', "")
    assert found.finds(b'<a href="//app:8000/x">', "")


# --- never wrongly --------------------------------------------------------------------------------

Spell = Callable[[str], str]


def _folding(character: str) -> list[str]:
    """Other characters that domain names map to this one."""
    found = []
    for code in (*range(0x80, 0x3000), *range(0xFF00, 0xFFF0), *range(0x1D400, 0x1D800)):
        try:
            fold = idna.uts46_remap(chr(code), std3_rules=False, transitional=False)
        except (UnicodeError, idna.IDNAError):
            continue
        if fold == character:
            found.append(chr(code))
    return found


HOST = "app.example"
FOLDS = {c: _folding(c) for c in sorted(set(HOST))}
NAMED = {
    value: sorted(name for name, other in html.entities.html5.items() if other == value)
    for value in set("./:@%\\&#\t\n\u00ad") | {fold for folds in FOLDS.values() for fold in folds}
    if value in html.entities.html5.values()
}


def _plainly(c: str) -> st.SearchStrategy[str]:
    return st.sampled_from([c, c.upper()])


def _for_url(c: str, *, is_host: bool) -> st.SearchStrategy[str]:
    """Characters that the URL parser reads as ``c``."""
    kinds = [_plainly(c), st.sampled_from("\t\n\r").map(lambda gap: gap + c)]
    if is_host:
        kinds += [
            st.just(f"%{ord(c):02x}"),
            st.just(f"%{ord(c):02X}"),
            st.just("\u00ad" + c),
            st.sampled_from(FOLDS[c] or [c]),
            st.sampled_from(FOLDS[c] or [c]).map(
                lambda fold: "".join(f"%{byte:02X}" for byte in fold.encode())
            ),
        ]
    elif c == "/":
        kinds.append(st.just("\\"))
    return st.one_of(kinds)


def _for_css(text: str) -> st.SearchStrategy[str]:
    def spelled(c: str) -> st.SearchStrategy[str]:
        forms = [st.just(c), st.just(f"\\{ord(c):x} "), st.just(f"\\{ord(c):06X}")]
        if not c.isascii() or c not in "0123456789abcdefABCDEF\n\r\f":
            forms.append(st.just("\\" + c))
        return st.one_of(forms)

    return _joined(text, spelled)


def _for_attribute(text: str) -> st.SearchStrategy[str]:
    def spelled(c: str) -> st.SearchStrategy[str]:
        forms = [c, f"&#{ord(c)};", f"&#x{ord(c):x};", f"&#0{ord(c)};", f"&#X{ord(c):X};"]
        forms += ["&" + name for name in NAMED.get(c, ())]
        return st.sampled_from(forms)

    return _joined(text, spelled)


def _joined(text: str, spelled: Callable[[str], st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    return st.tuples(*map(spelled, text)).map("".join)


ADDRESSES = st.one_of(
    st.tuples(
        st.sampled_from(["https:", "http:", "wss:", "HTTPS:", ""]).flatmap(
            lambda text: _joined(text, lambda c: _for_url(c, is_host=False))
        ),
        st.sampled_from(["//", "///", "/", "", "\\/"]).flatmap(
            lambda text: _joined(text, lambda c: _for_url(c, is_host=False))
        ),
        st.sampled_from(["", "user@", "a:b@"]),
        _joined(HOST, lambda c: _for_url(c, is_host=True)),
        st.sampled_from(["/x", "", "?q", ":443/x", ":/x", "#f"]),
    ).map("".join),
    st.sampled_from(["/x", "http:x", "https:/x", "//cdn.example/x", "../x", "?a=1&b"]),
)
STYLES = ADDRESSES.flatmap(_for_css).flatmap(
    lambda url: st.sampled_from([f"a{{b:url({url})}}", f'@import "{url}";', f"a{{b:url('{url}')}}"])
)
_IN_HTML = [
    '<a href="{}">x</a>',
    "<a href='{}' class=x>x</a>",
    "<img srcset='/a.png 1x, {} 2x'>",
    '<meta http-equiv=refresh content="0; url={}">',
    '<base href="{}"><a href="x">x</a><a href="http:x">',
    '<script src="{}" integrity="sha256-x"></script>',
    '<svg><image href="{}"/></svg>',
    '<p data-x="{}" onclick="f(&quot;{}&quot;)">',
    '<link rel="mAniFest" href="{}">',
    '<svg><set attributeName=href to="{}"/><use href="{}"/></svg>',
    '<svg><p xlink:href="{}"></svg><math href="{}"></math>',
    "<x-y src={}>",
    '<iframe srcdoc="&lt;a href=&apos;{}&apos;&gt;"></iframe>',
]
_RAW = [
    "<style>{}</style>",
    "<script>f('{}')</script>",
    "<svg><style>{}</style></svg>",
    '<script type=speculationrules>{{"prefetch": [{{"urls": ["{}"], "where":'
    ' {{"href_matches": "{}"}}}}]}}</script>',
    '<script type=importmap>{{"imports": {{"a": "{}"}}}}</script>',
    '<meta http-equiv=content-security-policy content="default-src *.example {}">',
    "<!-- {} --><p>{}</p>",
]
DOCUMENTS = st.one_of(
    st.tuples(st.sampled_from(_IN_HTML), ADDRESSES.flatmap(_for_attribute)),
    st.tuples(st.just('<p style="{}">'), STYLES.flatmap(_for_attribute)),
    st.tuples(st.sampled_from(_RAW), st.one_of(STYLES, ADDRESSES)),
    st.tuples(
        st.just('<iframe srcdoc="{}"></iframe>'),
        st.tuples(st.just('<a href="{}">'), ADDRESSES.flatmap(_for_attribute))
        .map(lambda pair: pair[0].format(pair[1]))
        .flatmap(_for_attribute),
    ),
).map(lambda pair: pair[0].format(*[pair[1]] * pair[0].count("{}")))
NOISE = st.sampled_from(
    ["", "<p>…&copy;</p>", "\\", "&amp;", "<p title='", "%", "\ufeff", "caf\u00e9"]
)


@given(NOISE, DOCUMENTS, NOISE, st.sampled_from(MOUNTS))
@example("", '<a href="&#104;ttps://app.example/x">', "", ROOT)
@example("", "<a href='https:&bsol;&bsol;&aopf;pp&period;ex&Tab;ample'>", "", ROOT)
@example("", "<a href='http:x'>", "", RELOCATED)
def test_the_search_finds_every_page_that_is_changed(
    before: str, document: str, after: str, mount: Mount
) -> None:
    check(HTML, (before + document + after).encode("utf-8", "surrogatepass"), mount)


@given(NOISE, STYLES, NOISE, st.sampled_from(MOUNTS))
def test_the_search_finds_every_style_sheet_that_is_changed(
    before: str, sheet: str, after: str, mount: Mount
) -> None:
    check(CSS, (before + sheet + after).encode("utf-8", "surrogatepass"), mount)


@given(ADDRESSES.flatmap(_for_attribute))
def test_the_generated_spellings_are_mostly_mapped(address: str) -> None:
    assume(check(HTML, f'<a href="{address}">'.encode(), ROOT))


NUMBERS = ["2130706433", "0x7f.1", "127.1", "0177.0.0.01", "0x7F000001", "127.0.1", "127.0.0.1"]


@given(
    st.sampled_from(["http://", "//", "\\\\", "ws://", "http:/\\", "http:", "https:"]),
    st.sampled_from(["", "u@"]),
    st.sampled_from(NUMBERS),
    st.sampled_from([":9000", ":9000/x", "", ":09000"]),
)
def test_other_numbers_of_an_address_are_found(
    slashes: str, user: str, number: str, port: str
) -> None:
    check(HTML, f'<a href="{slashes}{user}{number}{port}">'.encode(), ROOT, NUMBERED)


@pytest.mark.parametrize("number", NUMBERS)
def test_they_are_mapped(number: str) -> None:
    assert check(HTML, f'<a href="http://{number}:9000/">'.encode(), ROOT, NUMBERED)


def test_an_address_of_version_6_is_found_in_any_spelling() -> None:
    upstream = Origin("http", "[::1]", 9000)
    assert check(HTML, b'<a href="http://[0:0::1]:9000/x">', ROOT, upstream)
    found = search(HTML, ROOT, upstream)
    assert found is not None
    assert not found.finds(b"<a href='/x'>a[1]</a>", "")


@pytest.mark.parametrize(
    "body",
    [
        b'<meta charset="iso-2022-jp"><a href="//\x1b(Bapp.exam\x1b(Bple/">',
        "\ufeff<a href='//app.example/'>".encode("utf-16-le"),
    ],
)
def test_pages_that_declare_another_encoding_count_as_found(body: bytes) -> None:
    found = search(HTML)
    assert found is not None
    assert found.finds(body, "")


def test_style_sheets_that_declare_a_double_byte_encoding_count_as_found() -> None:
    found = search(CSS)
    assert found is not None
    assert found.finds(b'@charset "shift_jis"; a { b: c }', "")
    assert not found.finds(b'@charset "utf-8"; a { b: c }', "")


@pytest.mark.parametrize(
    "body",
    [
        b"&#97;" * 5000,
        b"\\a" * 5000,
        b"%61" * 5000,
        b":" * 60_000,
        "".join(map(chr, range(0x4E00, 0x4E00 + 5000))).encode(),
        "".join(map(chr, range(0x1D400, 0x1D400 + 50))).encode(),
    ],
    ids=["references", "escapes", "encoded", "colons", "characters", "folding"],
)
def test_what_would_take_long_to_search_counts_as_found(body: bytes) -> None:
    found = search(HTML)
    assert found is not None
    assert found.finds(body, "")


def test_so_do_many_numbers_after_slashes() -> None:
    found = search(HTML, ROOT, NUMBERED)
    assert found is not None
    assert found.finds(b"//1.2.3.4/ " * 5000, "")
    assert not found.finds(b"//1.2.3.4/ " * 50, "")
