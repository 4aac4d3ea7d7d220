"""The type of a body, by its content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting import sniff
from zenzefi.rewriting.sniff import Doubt


@pytest.mark.parametrize(
    ("label", "destination", "nosniff", "expected"),
    [
        ("text/html", "document", False, (sniff.HTML, Doubt.HTML_OR_DATA)),
        ("text/html; charset=x", None, True, (sniff.HTML, Doubt.HTML_OR_DATA)),
        ("text/html", "script", False, (sniff.JAVASCRIPT, Doubt.NONE)),
        ("text/html", "script", True, (sniff.HTML, Doubt.HTML_OR_DATA)),
        ("", "script", False, (sniff.JAVASCRIPT, Doubt.NONE)),
        ("application/octet-stream", "worker", False, (sniff.JAVASCRIPT, Doubt.NONE)),
        ("image/png", "script", False, ("image/png", Doubt.NONE)),
        ("application/json", "script", False, ("application/json", Doubt.NONE)),
        ("application/x-javascript", None, False, (sniff.JAVASCRIPT, Doubt.NONE)),
        ("", None, False, ("", Doubt.UNLABELLED)),
        ("", None, True, ("", Doubt.NONE)),
        ("text/plain", None, False, ("text/plain", Doubt.NONE)),
        ("text/plain", "style", False, (sniff.CSS, Doubt.NONE)),
        ("nonsense", None, False, ("", Doubt.UNLABELLED)),
    ],
)
def test_label_and_destination(
    label: str, destination: str | None, nosniff: bool, expected: tuple[str, Doubt]
) -> None:
    assert sniff.by_label(sniff.essence(label), destination, nosniff) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<p>x", sniff.HTML),
        (b"\xef\xbb\xbf \n<!doctype html>", sniff.HTML),
        (b'{"a": 1}', sniff.JSON),
        (b"[1, 2]", sniff.JSON),
        (b")]}'\n{}", sniff.JSON),
        (b"var a = 1;", sniff.JAVASCRIPT),
        (b"/* x */ f()", sniff.JAVASCRIPT),
        (b"jQuery12({})", sniff.JAVASCRIPT),
        (b"Hello <a href=/x>", sniff.HTML),
        (b'{"a": "<b>"}', sniff.HTML),
        (b"Just some text", sniff.HTML),
        (b"", sniff.HTML),
    ],
)
def test_a_body_that_is_labelled_as_html(body: bytes, expected: str) -> None:
    assert sniff.by_body(Doubt.HTML_OR_DATA, body, True) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<!DOCTYPE html><p>", sniff.HTML),
        (b"  <html><head>", sniff.HTML),
        (b"<!-- x -->", sniff.HTML),
        (b"Just some text", ""),
        (b"\x89PNG\r\n", ""),
        (b"<svg xmlns=...>", ""),
    ],
)
def test_a_body_without_a_label(body: bytes, expected: str) -> None:
    assert sniff.by_body(Doubt.UNLABELLED, body, True) == expected


@given(
    st.sampled_from([Doubt.HTML_OR_DATA, Doubt.UNLABELLED]),
    st.binary(max_size=60),
    st.integers(0, 60),
)
def test_a_decision_once_made_stays(doubt: Doubt, body: bytes, cut: int) -> None:
    early = sniff.by_body(doubt, body[:cut], False)
    if early is not None:
        assert sniff.by_body(doubt, body, True) == early


def test_a_page_is_known_from_its_first_bytes() -> None:
    assert sniff.by_body(Doubt.HTML_OR_DATA, b"\n<h", False) == sniff.HTML
    assert sniff.by_body(Doubt.HTML_OR_DATA, b"hello", False) is None
    assert sniff.by_body(Doubt.HTML_OR_DATA, b"x" * sniff.WAIT, False) == sniff.HTML
