"""Text that arrives slowly is withheld for a decision only until the caller asks for it."""

from __future__ import annotations

import gzip

import pytest

from tests.kit.engine import exchange
from zenzefi.resources import bundled
from zenzefi.rewriting.body import BodyRewrite
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))


def rewrite(**headers: str) -> BodyRewrite:
    request = {"Accept-Encoding": "gzip"}
    made = ENGINE.plan(exchange({"Content-Type": "text/html", **headers}, request))
    assert made is not None
    return made


def test_text_without_markup_leaves_when_it_is_released() -> None:
    body = rewrite()
    assert body.feed(b"Hello, ") == b""
    assert [body.withholds, body.release()[-7:], body.withholds] == [True, b"Hello, ", False]
    assert body.feed(b"you") == b"you"
    assert body.feed(b'<a href="/x">') == b'<a href="/api/v1/proxy/x">'
    assert body.finish() == b""


def test_markup_is_not_withheld() -> None:
    body = rewrite()
    assert body.feed(b"Hello<br>").endswith(b"Hello<br>")
    assert not body.withholds


def test_before_the_first_byte_nothing_is_withheld() -> None:
    assert not rewrite().withholds


@pytest.mark.parametrize("first", [b"<", b"\n ", b"\n <!"])
def test_a_doctype_stays_first_although_its_beginning_was_released(first: bytes) -> None:
    body = rewrite()
    out = body.feed(first)
    if body.withholds:
        out += body.release()
    rest = b"\n <!doctype html><title>x</title>".partition(first)[2]
    out += body.feed(rest) + body.finish()
    assert out.lstrip().startswith(b"<!doctype html>")
    assert out.count(b"<script") >= 1


def test_a_script_with_the_wrong_label_stays_one_when_it_is_released() -> None:
    body = rewrite()
    assert body.feed(b"var lamp") == b""
    assert body.release() == b"var lamp"
    assert body.feed(b" = '<a href=/x>'") + body.finish() == b" = '<a href=/x>'"


def test_an_escape_before_the_end_of_the_prescan_leaves_too() -> None:
    body = rewrite()
    out = body.feed(b"<p>\x1b[1m")
    assert not out.endswith(b"[1m")
    body = rewrite()
    assert body.feed(b"\x1b[1m") == b""
    assert body.release().endswith(b"\x1b[1m")


def test_released_bytes_can_be_decoded_at_once() -> None:
    from isal import isal_zlib

    body = rewrite(**{"Content-Encoding": "gzip"})
    body.feed(gzip.compress(b"Hello")[:-8])
    machine = isal_zlib.decompressobj(wbits=31)
    assert machine.decompress(body.release()).endswith(b"Hello")


def test_a_result_that_was_released_is_not_cached() -> None:
    engine = Engine(Registry([bundled("plugins")], entry_points=False))
    data = gzip.compress(b"Hello, <b>you</b>")
    headers = {"ETag": '"1"', "Content-Length": str(len(data)), "Content-Encoding": "gzip"}
    request = {"Accept-Encoding": "gzip"}
    body = engine.plan(exchange({"Content-Type": "text/html", **headers}, request))
    assert body is not None
    body.feed(data[:12])
    body.release()
    body.feed(data[12:])
    body.finish()
    assert len(engine.cache) == 0
