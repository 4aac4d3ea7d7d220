"""The operator's name and look: pages, e-mails, error pages, authenticator label, legal pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.api import give, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor, enable_two_factor, promote
from zenzefi.mail.queue import MAIL_QUEUE
from zenzefi.settings import Settings, SettingsError, load_settings

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
NAME = "Нордвинд <Access> & Co"
PAGES = (
    *("/", "/login", "/register", "/login/forgotten", "/legal/imprint", "/docs", "/redoc"),
    *("/account", "/account/buy", "/account/money", "/account/connect", "/account/profile"),
    *("/account/payments", "/account/two-factor", "/no-such-page", "/account/tokens/x"),
    *("/admin", "/admin/users", "/admin/tokens", "/admin/sessions", "/admin/payments"),
    *("/admin/audit", "/admin/plugins", "/admin/strays", "/api/v1/proxy/x"),
)
COMMANDS = re.compile(r"<(?:pre|code)\b.*?</(?:pre|code)>", re.S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file of a brand."""
    found = tmp_path / "brand"
    found.mkdir()
    (found / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (found / "icon.png").write_bytes(PNG)
    (found / "custom.css").write_text(".brand { letter-spacing: 0.1em; }")
    (found / "imprint.md").write_text("# Nordwind\n\n<script>alert(1)</script> [x](javascript:1)")
    (found / "terms.md").write_text("# Terms")
    (found / "terms.ru.md").write_text("# Условия\n\n**Важно**", encoding="utf-8")
    return found


@pytest.fixture
async def branded(make_gate: MakeGate, upstream: RecordingUpstream, folder: Path) -> GateClient:
    """A gate with everything an operator can set."""
    return await make_gate(
        zenzefi_target_url=upstream.origin,
        site_name=NAME,
        branding_dir=folder,
        brand_color="#ffcc00",
        footer_text="Nordwind GmbH, Kiel",
        support_address="help@nordwind.example",
        privacy_url="https://nordwind.example/privacy",
        mail_url="log:",
        debug=True,
        rate_limit_login="off",
    )


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_nothing_names_the_program_when_the_site_has_a_name(
    branded: GateClient, language: str
) -> None:
    stranger = Visitor(branded, language)
    for path in PAGES[:7]:
        await stranger.open(path)
        assert "zenzefi" not in COMMANDS.sub("", stranger.html).casefold(), path
    visitor = await Visitor(branded, language).register("root")
    await promote(branded)
    await give(branded, "100", {"username": "root"})
    token = await visitor.buy(24)
    admin_page = f"/admin/users/{await user_id_of(branded, {'username': 'root'})}"
    for path in (*PAGES, token, f"{token}/revoke", admin_page):
        await visitor.open(path)
        text = COMMANDS.sub("", visitor.html)
        assert "zenzefi" not in text.casefold(), path
        assert "Нордвинд" in visitor.soup.title.get_text(), path
    for path in ("/", "/health", "/openapi.json"):
        response = await branded.get(path, headers={"Accept": "application/json"})
        body = await response.json()
        named = {"/": body.get("message"), "/health": body.get("service")}.get(path)
        assert NAME in (named or body["info"]["title"]), path


async def test_e_mails_and_the_authenticator_label_have_the_name(
    branded: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    visitor = await Visitor(branded).register("anna")
    app, _codes = await enable_two_factor(visitor)
    assert app.verify(app.now())
    await branded.app[MAIL_QUEUE].join()
    texts = [record.getMessage() for record in caplog.records]
    mails = [text for text in texts if text.startswith("e-mail to=")]
    assert mails
    for mail in mails:
        without_links = re.sub(r"https?://\S+|Message-ID:.*", "", mail)
        assert "zenzefi" not in without_links.casefold()
        assert "help@nordwind.example" in mail


async def test_logo_icon_colours_and_style_sheet_are_used(branded: GateClient) -> None:
    visitor = await Visitor(branded).open("/")
    page = visitor.soup
    icon, logo = page.select_one('link[rel="icon"]'), page.select_one(".brand img")
    sheet = page.select('link[rel="stylesheet"]')[-1]
    assert (await branded.get(icon["href"])).headers["Content-Type"] == "image/png"
    picture = await branded.get(logo["src"])
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert "sandbox" in picture.headers["Content-Security-Policy"], "an SVG can hold a script"
    css = await (await branded.get(sheet["href"])).text()
    assert "--accent:" in css
    assert css.endswith(".brand { letter-spacing: 0.1em; }")
    assert sheet["nonce"]
    foot = " ".join(page.footer.get_text(" ").split())
    assert "Nordwind GmbH, Kiel" in foot
    assert "help@nordwind.example" in foot
    links = {link.get_text(): link["href"] for link in page.footer.find_all("a")}
    assert links["Imprint"] == "/legal/imprint"
    assert links["Privacy"] == "https://nordwind.example/privacy"
    assert "Contact" not in links


async def test_legal_texts_are_shown_in_the_readers_language_and_run_nothing(
    branded: GateClient,
) -> None:
    visitor = await Visitor(branded).open("/legal/imprint")
    assert visitor.soup.select_one(".prose h1").get_text() == "Nordwind"
    assert not visitor.soup.select(".prose script, .prose a")
    assert (await visitor.open("/legal/terms")).soup.h1.get_text() == "Terms"
    russian = await Visitor(branded, "ru").open("/legal/terms")
    assert russian.soup.h1.get_text() == "Условия"
    assert (await visitor.open("/legal/contact")).status == 404
    assert (await visitor.open("/legal/nothing")).status == 404
    await visitor.open("/legal/privacy", follow=False)
    assert visitor.location == "https://nordwind.example/privacy"


def test_files_and_values_that_can_not_be_used_are_reported(tmp_path: Path) -> None:
    from zenzefi.branding import load_brand

    def settings(**values: object) -> Settings:
        return load_settings({"data_dir": tmp_path, **values})

    with pytest.raises(SettingsError, match="is not a folder"):
        load_brand(settings(branding_dir=tmp_path / "none"))
    (tmp_path / "logo.png").write_bytes(b"x" * (512 * 1024 + 1))
    with pytest.raises(SettingsError, match="larger than 512 KiB"):
        load_brand(settings(branding_dir=tmp_path))
    (tmp_path / "logo.png").unlink()
    (tmp_path / "terms.md").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        load_brand(settings(branding_dir=tmp_path))
    for wrong in (
        {"brand_color": "red"},
        {"site_name": "a\nb"},
        {"terms_url": "javascript:alert(1)"},
        {"support_address": "nobody"},
    ):
        with pytest.raises(SettingsError):
            settings(**wrong)
