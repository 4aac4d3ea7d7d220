"""The recipes in ``docs/plugins`` do what they say, and are checked like any plugin."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from zenzefi import plugins_testing as kit
from zenzefi.plugins import HttpAnswer, Plugin, PluginServices
from zenzefi.plugins_testing import CLIENT, TestedSocket, call, failed, run, send
from zenzefi.rewriting.plugins.checks import check, deprecations, does_nothing, misspelt
from zenzefi.rewriting.plugins.loading import load_file

FOLDER = Path(__file__).parents[2] / "docs" / "plugins"
FILES = sorted(FOLDER.glob("*.py"))
OTTO = replace(CLIENT, user_id="00000000-0000-4000-8000-000000000009")


def recipe(name: str) -> type[Plugin]:
    (found,) = load_file(FOLDER / f"{name}.py")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_has_no_mistake_and_is_listed(file: Path) -> None:
    (found,) = load_file(file)
    assert [*check(found), *misspelt(found), *deprecations(found)] == []
    assert not does_nothing(found)
    assert f"({file.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_there_are_fifteen_recipes() -> None:
    assert len(FILES) == 15


def test_time_left_is_the_users_own() -> None:
    soon = replace(CLIENT, expires_at=datetime.now(UTC) + timedelta(minutes=90, seconds=20))
    result = run(recipe("time_left"), b"<body>x", client=soon, destination="document")
    assert result.text == '<body><p role="status">90 minutes left</p>x'
    first_use = replace(CLIENT, expires_at=None)
    assert run(recipe("time_left"), b"<body>x", client=first_use).text == "<body>x"


def test_analytics_has_the_nonce_of_the_policy() -> None:
    page = b"<head></head>"
    assert run(recipe("analytics"), page, mount="root").text == (
        '<head><script defer src="/static/analytics.js"></script></head>'
    )
    policy = {"Content-Security-Policy": "script-src 'nonce-abc'"}
    out = run(recipe("analytics"), page, destination="document", headers=policy)
    assert '<script nonce="abc" defer' in out.text


def test_masking_leaves_no_half_of_a_number() -> None:
    out = run(recipe("masking"), b"<p>Call +7 (495) 123-45-67 now")
    assert out.text == "<p>Call +7 (***) ***-**-** now"


def test_an_ab_test_sends_a_user_always_to_the_same_version() -> None:
    versions = set()
    for number in range(12):
        client = replace(CLIENT, user_id=str(number))
        paths = {
            send(recipe("ab_test"), kit.UPSTREAM + "/shop/x?a=1", client=client).path
            for _ in range(2)
        }
        assert len(paths) == 1
        (path,) = paths
        result = run(recipe("ab_test"), url=kit.UPSTREAM + "/shop/x", client=client)
        assert (path, result.headers["X-Version"]) in (("/shop/x", "a"), ("/shop-b/x", "b"))
        assert "Cookie, X-Access-Token" in result.headers["Vary"]
        versions.add(path)
    assert len(versions) == 2


def test_a_watermark_is_in_downloads_too() -> None:
    saved = {"Content-Disposition": 'attachment; filename="t.csv"'}
    for client in (CLIENT, OTTO):
        out = run(
            recipe("watermark"), b"a,b\r\n", content_type="text/csv", headers=saved, client=client
        )
        assert out.text == f"# for user {client.user_id}\r\na,b\r\n"
    forbidden = {**saved, "Cache-Control": "no-transform"}
    out = run(recipe("watermark"), b"a,b\r\n", content_type="text/csv", headers=forbidden)
    assert out.text == "a,b\r\n"


@pytest.mark.parametrize("path", ["/admin", "/%61dmin/x", "//admin", "/admin;x/y", "/%2561dmin"])
def test_a_blocked_path_is_blocked_in_every_spelling(path: str) -> None:
    blocked = send(recipe("path_block"), kit.UPSTREAM + path).response
    assert blocked is not None
    assert blocked.status == 403
    staff = replace(CLIENT, scope="staff")
    assert send(recipe("path_block"), kit.UPSTREAM + path, client=staff).response is None
    assert send(recipe("path_block"), kit.UPSTREAM + "/administration").response is None


def test_a_library_is_replaced_with_its_checksum() -> None:
    page = b"<script src='/static/jquery-1.js' integrity=sha384-x defer></script><script src=/o>"
    out = run(recipe("library_swap"), page)
    assert out.text == '<script src="/static/jquery-3.js" defer></script><script src=/o>'


def test_a_socket_is_logged_once_without_its_texts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zenzefi.plugins.socket_audit")
    socket = TestedSocket(recipe("socket_audit"), url=kit.UPSTREAM + "/live")
    assert socket.message("secret") == "secret"
    assert socket.message(b"x", "to_upstream") == b"x"
    socket.ended(1001)
    assert f"user={CLIENT.user_id} path=/live messages=2 code=1001" in caplog.text
    assert "secret" not in caplog.text


class Directory:
    """A stand-in for the directory's server, as plugins see it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, str]] = []

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **_: Any
    ) -> HttpAnswer:
        self.asked.append((url, (headers or {})["Authorization"]))
        body = json.dumps({"name": "Anna Ö"}).encode()
        return HttpAnswer(status=self.status, headers={}, body=body)


def test_single_sign_on_replaces_what_a_client_claims() -> None:
    directory = Directory()
    sent = send(
        recipe("single_sign_on"),
        http=directory,
        options={"key": "k"},
        upstream_headers={"X-Remote-Name": "root"},
    )
    assert sent.headers.getall("X-Remote-Name") == ["Anna%20%C3%96"]
    assert directory.asked == [(f"https://directory.example/users/{CLIENT.user_id}", "Bearer k")]


def test_single_sign_on_refuses_without_a_name() -> None:
    with pytest.raises(Exception, match="single-sign-on"):
        send(recipe("single_sign_on"), http=Directory(500), options={"key": "k"})


def test_a_page_is_translated_for_who_prefers_the_language() -> None:
    options = {"phrases": {"Sign in": "Войти", "Sign in with a key": "Войти с ключом"}}
    page = b"<title>Sign in</title><p>Sign in with a key</p>"
    plain = run(recipe("translation"), page, options=options)
    assert plain.body == page
    asked = {"Accept-Language": "ru-RU,ru;q=0.9"}
    out = run(recipe("translation"), page, options=options, request_headers=asked)
    assert out.text == "<title>Войти</title><p>Войти с ключом</p>"


def test_feedback_is_logged_with_its_user(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zenzefi.plugins.feedback")
    feedback = recipe("feedback")
    page = call(feedback).body.decode()
    (style,) = re.findall(r'href="/\.zenzefi/plugins/feedback(/static/[^"]+)"', page)
    assert call(feedback, style).body.startswith(b"main {")
    assert 'action="/.zenzefi/plugins/feedback/"' in page
    for client in (CLIENT, OTTO):
        sent = call(feedback, method="POST", body=b"text=a+%3Cb%3E", client=client)
        assert (sent.status, sent.headers[0]) == (
            303,
            ("Location", "/.zenzefi/plugins/feedback/?sent=1"),
        )
        assert f"user={client.user_id} text='a <b>'" in caplog.text
    assert call(feedback, method="POST", body=b"text=+").status == 422
    assert call(feedback, client=None).status == 401


def test_a_content_with_a_forbidden_text_is_refused_before_the_upstream_gets_it() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    options = {"forbidden": ["project falcon"]}
    for body in (b"a=Project+Falcon", b"a=project%20falcon", b"{'a': 'PROJECT FALCON'}"):
        sent = send(
            recipe("content_filter"),
            body=body,
            method="POST",
            options=options,
            request_headers=form,
        )
        assert sent.response is not None
        assert sent.response.status == 422
    passed = send(recipe("content_filter"), body=b"a=falcon", method="POST", options=options)
    assert (passed.response, passed.body) == (None, b"a=falcon")
    packed = {"Content-Encoding": "gzip"}
    refused = send(recipe("content_filter"), body=b"\x1f\x8b", request_headers=packed).response
    assert refused is not None
    assert refused.status == 415


def test_an_upload_is_logged_by_its_digest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zenzefi.plugins.upload_audit")
    audit = recipe("upload_audit")
    for client in (CLIENT, OTTO):
        body = client.user_id.encode()
        sent = send(audit, kit.UPSTREAM + "/up", body=body, method="PUT", client=client)
        assert sent.body == body
        digest = hashlib.sha256(body).hexdigest()
        line = f"user={client.user_id} path=/up bytes=36 sha256={digest}"
        assert line in caplog.text
    stopped = audit(audit.Options())
    stopped.startup(PluginServices(kit.NoNetwork()))
    stopped.shutdown()
    assert "uploads in this process: 0" in caplog.text


def test_an_error_page_comes_only_for_pages() -> None:
    page = {"Accept": "text/html"}
    found = failed(recipe("error_page"), "upstream_unreachable", 502, request_headers=page)
    assert found is not None
    assert (found.status, found.headers[1]) == (503, ("Retry-After", "30"))
    assert b"Back in a moment" in found.body
    assert failed(recipe("error_page"), "upstream_unreachable", 502) is None


def test_robots_are_told_to_stay_away() -> None:
    found = send(recipe("robots"), kit.UPSTREAM + "/robots.txt").response
    assert found is not None
    assert found.body == b"User-agent: *\nDisallow: /\n"
    assert send(recipe("robots"), kit.UPSTREAM + "/robots").response is None
