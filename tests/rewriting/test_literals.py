"""The upstream's origin in unparsed text: every spelling, no look-alike, any chunking."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.edits import apply
from zenzefi.rewriting.literals import OriginFinder

PLAIN = Origin("https", "app.example", 443)
PORT = Origin("http", "127.0.0.1", 9000)
GATE = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), "/p")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))


def run(data: bytes, origin: Origin = PLAIN, mount: Mount = GATE, size: int = 1 << 20) -> bytes:
    finder = OriginFinder([origin], mount)
    out, window = b"", b""
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    for number, piece in enumerate([*pieces, b""]):
        window += piece
        settled, edits = finder.edits(window, number == len(pieces))
        out += apply(window[:settled], edits)
        window = window[settled:]
    assert not window
    return out


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("https://app.example/x", "http://gate.example:8000/p/x"),
        ("https://app.example:443/x", "http://gate.example:8000/p/x"),
        ("HTTPS://App.Example/x", "HTTP://gate.example:8000/p/x"),
        ("Wss://app.example/x", "ws://gate.example:8000/p/x"),
        (r"https:\/\/app.example\/x", r"http:\/\/gate.example:8000\/p\/x"),
        (r'"https:\\/\\/app.example\\/x"', r'"http:\\/\\/gate.example:8000/p\\/x"'),
        ("https%3A%2F%2Fapp.example%2Fx", "http%3A%2F%2Fgate.example%3A8000%2Fp%2Fx"),
        (
            r"https:\u002F\u002Fapp.example\u002Fx",
            r"http:\u002F\u002Fgate.example:8000\u002Fp\u002Fx",
        ),
        (r"https:\\\/\\\/app.example\\\/x", r"http:\\\/\\\/gate.example:8000/p\\\/x"),
        ("https:///app.example/x", "http:///gate.example:8000/p/x"),
        ("https://@app.example/x", "http://@gate.example:8000/p/x"),
        (r"https:\\u002F\\u002Fapp.example", r"http:\\u002F\\u002Fgate.example:8000\\u002Fp"),
        (r"https\x3a\x2f\x2fapp.example", r"http\x3a\x2f\x2fgate.example:8000\x2fp"),
        ("wss://app.example/socket", "ws://gate.example:8000/p/socket"),
        ("'//app.example/x'", "'//gate.example:8000/p/x'"),
        ("https://user:pw@app.example/", "http://user:pw@gate.example:8000/p/"),
        ("(https://app.example)", "(http://gate.example:8000/p)"),
        ("https:&#47;&#47;app.example", "http:&#47;&#47;gate.example:8000&#47;p"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_every_spelling_becomes_the_mount_in_the_same_spelling(
    source: str, expected: str, size: int
) -> None:
    text = f"x = {source}; y"
    assert run(text.encode(), size=size) == f"x = {expected}; y".encode()


@pytest.mark.parametrize(
    "source",
    [
        "app.example",
        '"app.example/x"',
        "https://app.example.org/",
        "https://app.example:8443/",
        "https://my-app.example/",
        "https://app.example-cdn/",
        "https://app.examples/",
        "https://sub.app.example/",
        "http://app.example/",
        "ftp://app.example/",
        "xhttps://app.example/",
        "mailto:me@app.example",
        "https:/app.example",
        "a/app.example/b",
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_what_is_no_absolute_mention_stays(source: str, size: int) -> None:
    assert run(source.encode(), size=size) == source.encode()


def test_a_port_belongs_to_the_origin() -> None:
    assert run(b"http://127.0.0.1:9000/", PORT) == b"http://gate.example:8000/p/"
    assert run(b"http%3A%2F%2F127.0.0.1%3A9000", PORT) == b"http%3A%2F%2Fgate.example%3A8000%2Fp"
    for other in (b"http://127.0.0.1/", b"http://127.0.0.1:90001/", b"http://127.0.0.1:900/"):
        assert run(other, PORT) == other


@pytest.mark.parametrize("size", [1, 2, 100])
def test_what_stands_behind_a_port_may_make_it_another_host(size: int) -> None:
    for other in (b"http://127.0.0.1:9000.b/", rb"http:\/\/127.0.0.1:9000\u003a1"):
        assert run(other, PORT, size=size) == other
    assert run(b"http://127.0.0.1:9000.", PORT, size=size) == b"http://gate.example:8000/p."


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('A = "https://app.example";', 'A = "http://gate.example:8000";'),
        ("A = 'https://app.example'", "A = 'http://gate.example:8000'"),
        ("`https://app.example:443`", "`http://gate.example:8000`"),
        (r'"{\"a\":\"https:\/\/app.example\"}"', r'"{\"a\":\"http:\/\/gate.example:8000\"}"'),
        ('["wss://app.example"]', '["ws://gate.example:8000"]'),
        ('"https://app.example/"', '"http://gate.example:8000/p/"'),
        ("\"https://app.example'", "\"http://gate.example:8000/p'"),
        ("`https://app.example${path}`", "`http://gate.example:8000/p${path}`"),
        ('"see https://app.example"', '"see http://gate.example:8000/p"'),
        ('"//app.example"', '"//gate.example:8000/p"'),
        ('"https://me@app.example"', '"http://me@gate.example:8000/p"'),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_string_that_is_the_origin_stays_an_origin(source: str, expected: str, size: int) -> None:
    assert run(source.encode(), size=size) == expected.encode()
    assert run(expected.encode(), size=size) == expected.encode()


def test_a_scheme_that_stays_keeps_its_spelling() -> None:
    assert run(b"Https://app.example/", mount=ROOT) == b"Https://seen.example/"


def test_at_a_root_only_the_origin_changes() -> None:
    assert run(rb"https:\/\/app.example\/x", mount=ROOT) == rb"https:\/\/seen.example\/x"


def test_an_international_host_is_found_in_both_spellings() -> None:
    origin = Origin("https", "xn--bcher-kva.example", 443)
    for host in ("bücher.example", "xn--bcher-kva.example"):
        for size in (1, 5, 100):
            out = run(f"https://{host}/x".encode(), origin, size=size)
            assert out == b"http://gate.example:8000/p/x"


PIECES = st.sampled_from(
    [
        "https",
        "wss",
        ":",
        "//",
        r"\/\/",
        "%2F%2F",
        "%3A",
        "app.example",
        ":443",
        "/",
        "/p",
        "x",
        " ",
        '"',
        "'",
        "@",
        ".",
        "-",
        "gate.example:8000",
        r"\u002f",
        "http",
        "app",
        "\n",
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join), st.integers(1, 6))
def test_chunks_make_no_difference_and_twice_is_once(text: str, size: int) -> None:
    data = text.encode()
    once = run(data)
    assert run(data, size=size) == once
    assert run(once) == once


@given(st.binary(max_size=400), st.integers(1, 40))
def test_text_that_does_not_name_the_host_is_identical(data: bytes, size: int) -> None:
    if b"app.example" not in data.lower():
        assert run(data, size=size) == data


def test_nothing_waits_that_can_not_become_a_mention() -> None:
    finder = OriginFinder([PLAIN], GATE)
    for tail in (b'{"a": 1}\n', b"data: x\n\n", b"call();", b"a = b + c", b'"text" '):
        assert finder.unfinished(tail) == 0, tail
    for tail, held in ((b"x = http", 4), (b'"https:/', 7), (b"https://app.ex", 14)):
        assert finder.unfinished(tail) == held


def test_a_long_line_of_slashes_costs_linear_work() -> None:
    data = b"/" * 200_000 + b"https://app.example/" * 2000
    assert re.sub(rb"/+", b"/", run(data, size=65536)).count(b"gate.example") == 2000
