"""Assets, flash messages, forms and charts, each alone."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from markupsafe import Markup

import zenzefi.app  # noqa: F401 - imports all errors
from zenzefi import i18n
from zenzefi.accounts.schemas import Registration
from zenzefi.errors import GateError, all_errors
from zenzefi.http.error_responses import errors_middleware
from zenzefi.keys import Signer
from zenzefi.web import charts, flash
from zenzefi.web.assets import PREFIX, Assets
from zenzefi.web.error_pages import text
from zenzefi.web.flash import Flash
from zenzefi.web.forms import Form
from zenzefi.web.labels import program

KEY = Signer([b"k" * 32])


async def test_a_file_is_kept_for_a_year_and_named_by_its_content() -> None:
    assets = Assets()
    app = web.Application(middlewares=[errors_middleware])
    app.router.add_get(PREFIX + "/{name}", assets.serve)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        url = assets.url("site.css")
        response = await client.get(url, headers={"Accept-Encoding": "gzip, br;q=0.8"})
        assert response.status == 200
        assert "immutable" in response.headers["Cache-Control"]
        assert response.headers["Content-Encoding"] == "br"
        assert response.content_type == "text/css"
        plain = await client.get(url, headers={"Accept-Encoding": "identity, br;q=0, gzip;q=0.0"})
        assert "Content-Encoding" not in plain.headers
        assert b":root" in await plain.read()
        assert (await client.get(url.replace(url.split(".")[1], "0" * 12))).status == 404


def test_flash_messages_come_back_once_packed() -> None:
    said = [Flash("good", "Сохранено <b>"), Flash("bad", "x")]
    assert flash.unpack(KEY, flash.pack(KEY, said)) == said


def test_only_the_gate_can_write_a_flash_message(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = flash.pack(KEY, [Flash("good", "x")])
    assert flash.unpack(Signer([b"other" * 8]), packed) == []
    assert flash.unpack(KEY, packed[:-1]) == []
    assert flash.unpack(KEY, "") == []
    assert flash.unpack(KEY, "ÿ.ÿ") == []
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)
    assert flash.unpack(KEY, packed) == []


def test_a_form_says_what_is_wrong_beside_each_field() -> None:
    form = Form({"email": "nobody", "username": " ", "password": "short"})
    assert form.read(Registration, "email", "username", "password") is None
    assert "e-mail address" in form.errors["email"]
    assert form.errors["username"] == "Please fill this in."
    assert form.errors["password"] == "At least 8 characters, please."


def test_a_good_form_becomes_a_model() -> None:
    form = Form({"email": "a@b.example", "username": "marta", "password": "correct horse"})
    entry = form.read(Registration, "email", "username", "password")
    assert entry is not None
    assert entry.email == "a@b.example"
    assert form.ok


def test_a_chart_is_valid_svg_without_styles() -> None:
    drawn = str(charts.traffic("<T>", [charts.Bar("<1>", 500, 0), charts.Bar("2", 10, 900)]))
    ElementTree.fromstring(drawn)
    assert "style=" not in drawn
    assert "&lt;1&gt;" in drawn
    assert charts.traffic("", []) == Markup("")


def test_every_error_on_a_page_is_explained_in_the_visitors_language() -> None:
    for kind in all_errors():
        error = GateError()
        error.code, error.status = kind.code, kind.status  # type: ignore[misc]
        if kind.status in (404, 409, 429) or kind.status >= 500:
            with i18n.using(i18n.locale_context("ru")):
                found = text(error)
            assert found is not None, kind
            assert all(re.search("[а-я]", part) for part in found), kind


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "unknown program"),
        ("", "unknown program"),
        ("curl/8.5.0", "curl"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Firefox on Linux",
        ),
        ("<script>alert(1)</script>", "<script>alert(1)<"),
    ],
)
def test_programs_have_their_usual_names(header: str | None, name: str) -> None:
    assert program(header) == name
