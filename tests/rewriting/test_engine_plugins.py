"""Plugins in the engine: errors, documents, and changed files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from tests.kit.engine import exchange, rewrite_body
from zenzefi.plugins import Context, EarlyResponse, Match, Message, Needs, Plugin, TextEdit
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.socket_hooks import socket_hooks


def test_a_body_is_not_cached_after_a_plugin_failed() -> None:
    class Fails(Plugin):
        name = "fails"
        needs = Needs.TEXT

        def text(self, context: Context, text: str) -> list[TextEdit]:
            raise RuntimeError("no luck")

    engine = Engine(Registry(entry_points=False, classes=[Fails]))
    body = gzip.compress(b"x")
    headers = {"Content-Type": "text/css", "Content-Encoding": "gzip", "ETag": '"v1"'}
    headers["Content-Length"] = str(len(body))
    rewrite = engine.plan(exchange(headers, {"Accept-Encoding": "gzip"}))
    assert rewrite is not None
    rewrite.feed(body)
    rewrite.finish()
    assert len(engine.cache) == 0


class Broken(Plugin):
    """Raises in every hook."""

    name = "broken"
    needs = Needs.TEXT
    messages = True

    def request_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        headers["X-Half"] = "done"
        raise RuntimeError("request")

    def response_headers(self, context: Context, headers: CIMultiDict[str]) -> None:
        headers.clear()
        raise RuntimeError("response")

    def early_response(self, context: Context) -> EarlyResponse | None:
        raise RuntimeError("early")

    def websocket_message(self, context: Context, message: Message) -> str | bytes | None:
        raise RuntimeError("message")

    def text(self, context: Context, text: str) -> list[TextEdit]:
        raise RuntimeError("text")


def test_a_plugin_that_raises_everywhere_breaks_nothing() -> None:
    engine = Engine(Registry(entry_points=False, classes=[Broken]))
    exchanged = exchange({"Content-Type": "text/plain", "X": "y"})
    sent = CIMultiDict({"A": "b"})
    engine.prepare_request(exchanged, sent)
    assert sent == {"A": "b"}
    assert engine.hooks.early_response(exchanged) is None
    sockets = socket_hooks(engine.registry, exchanged._replace(is_websocket=True))
    assert sockets is not None
    assert sockets.message("to_browser", "x") == "x"
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    unknown = {"Vary": "Cookie, X-Access-Token"}  # what it reads is known from its first body on
    assert dict(rewrite.headers) == {"Content-Type": "text/plain", "X": "y", **unknown}
    assert rewrite.feed(b"body") + rewrite.finish() == b"body"
    assert engine.registry["broken"].statistics.errors == 5
    assert not engine.registry["broken"].takes(exchanged.url)
    resting = engine.plan(exchanged)
    assert resting is not None
    assert resting.feed(b"body") + resting.finish() == b"body"
    assert engine.registry["broken"].statistics.errors == 5


def test_a_document_plugin_is_heavy_and_bounded() -> None:
    class Shouts(Plugin):
        name = "shouts"
        needs = Needs.DOCUMENT
        matches = Match(content_types=("text/html",))

        def document(self, context: Context, soup: Any) -> None:
            soup.p.string = "HI"

    engine = Engine(Registry(entry_points=False, classes=[Shouts]), budget=Budget(whole=1000))
    exchanged = exchange({"Content-Type": "text/html"})
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    assert rewrite.heavy
    assert b"<p>HI</p>" in rewrite_body(engine, exchanged, b"<p>hi</p>")
    large = b"<p>hi</p>" * 200
    assert rewrite_body(engine, exchanged, large) == large


def test_a_changed_plugin_file_is_noticed_in_development(tmp_path: Path) -> None:
    source = (
        "from zenzefi.plugins import *\nclass A(Plugin):\n    name='a'\n    needs=Needs.TEXT\n"
        "    def text(self, context, text):\n        return [TextEdit(0, 0, '{}')]\n"
    )
    (tmp_path / "a.py").write_text(source.format("one "))
    engine = Engine(Registry([tmp_path], entry_points=False, watch=True))
    exchanged = exchange({"Content-Type": "text/plain", "ETag": '"v"'})
    assert rewrite_body(engine, exchanged, b"x") == b"one x"
    before = engine.plan(exchanged)
    (tmp_path / "a.py").write_text(source.format("number two "))
    engine.plans._looked = 0.0  # half a second later
    assert rewrite_body(engine, exchanged, b"x") == b"number two x"
    after = engine.plan(exchanged)
    assert before is not None
    assert after is not None
    assert dict(before.headers)["ETag"] != dict(after.headers)["ETag"]
