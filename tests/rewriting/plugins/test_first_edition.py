"""Plugins that were written for the first edition of the API keep working."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenzefi.plugins import Plugin
from zenzefi.plugins_testing import UPSTREAM, early, message, run, send
from zenzefi.rewriting.plugins.checks import check, deprecations, misspelt
from zenzefi.rewriting.plugins.loading import load_file

SOURCE = """
from collections.abc import Iterable
from multidict import CIMultiDict
from zenzefi.plugins import (
    Context, EarlyResponse, Edit, JsonValue, Match, Message, Needs, Plugin, PluginOptions,
    Scanner, TextEdit, Token,
)


class Old(Plugin):
    name = "old"
    matches = Match(content_types=("text/html",), paths=("/shop/*", "/closed"))
    needs = Needs.TOKENS
    tags = ("h1",)
    after = ("html",)
    varies = ("Cookie",)
    messages = True
    version = "3"

    class Options(PluginOptions):
        text: str = "Hello"

    options: Options

    def token(self, context: Context, token: Token) -> Iterable[Edit]:
        who = context.request_headers.get("Cookie", "nobody")
        where = context.map("/x"), context.url, context.mount.root
        yield token.before(f"{self.options.text} {who} {where}".encode())

    def request_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        headers["X-Old"] = context.path

    def response_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        headers["X-Status"] = str(context.status)

    def early_response(self, context: Context) -> EarlyResponse | None:
        if context.path == "/closed":
            return EarlyResponse(status=503, headers=[("Retry-After", "9")], body=b"closed")
        return None

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        return None if message.data == "drop" else message.data
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> type[Plugin]:
    file: Path = tmp_path_factory.mktemp("first_edition") / "old.py"
    file.write_text(SOURCE, encoding="utf-8")
    return load_file(file)[0]


def test_it_is_in_order_and_better_ways_are_named(old: type[Plugin]) -> None:
    assert [*check(old), *misspelt(old)] == []
    notes = " ".join(deprecations(old))
    assert "old.messages is not needed any more" in notes
    assert "phase says when it gets the body" in notes


def test_its_hooks_are_called_as_before(old: type[Plugin]) -> None:
    url = UPSTREAM + "/shop/a"
    out = run(old, b"<h1>x", url=url, request_headers={"Cookie": "a=b"}, options={"text": "Hi"})
    mapped = ("/api/v1/proxy/x", url, "https://gate.example/api/v1/proxy/")
    assert out.text == f"Hi a=b {mapped}<h1>x"
    assert out.headers["X-Status"] == "200"
    assert "Cookie" in out.headers["Vary"]
    assert send(old, url).headers["X-Old"] == "/shop/a"
    closed = early(old, UPSTREAM + "/closed")
    assert closed is not None
    assert (closed.status, closed.body) == (503, b"closed")
    assert early(old, url) is None


def test_its_messages_pass_or_are_dropped(old: type[Plugin]) -> None:
    class Everywhere(old):  # type: ignore[misc, valid-type]  # the messages of each path
        matches = type(old.matches)()

    assert message(Everywhere, "kept") == "kept"
    assert message(Everywhere, "drop") is None
