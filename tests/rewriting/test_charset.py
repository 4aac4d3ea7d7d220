"""Encodings: evidence in its order, and the two that are not ASCII-compatible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting import charset


def through(transcoder: charset.Transcoder, data: bytes, size: int) -> tuple[bytes, bytes]:
    inside, out = [], []
    for at in range(0, len(data), size):
        part = transcoder.decode(data[at : at + size], False)
        inside.append(part)
        out.append(transcoder.encode(part, False))
    part = transcoder.decode(b"", True)
    inside.append(part)
    out.append(transcoder.encode(part, True))
    return b"".join(inside), b"".join(out)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "iso-2022-jp"])
@given(data=st.binary(max_size=200), size=st.integers(1, 30))
def test_any_bytes_survive_the_way_in_and_out(encoding: str, data: bytes, size: int) -> None:
    assert through(charset.transcoder(encoding, html=False), data, size)[1] == data


@given(text=st.text(max_size=80), size=st.integers(1, 9))
def test_utf16_is_utf8_inside(text: str, size: int) -> None:
    data = text.encode("utf-16-le")
    inside, out = through(charset.transcoder("utf-16-le", html=True), data, size)
    assert inside == text.encode()
    assert out == data


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_markup_hidden_in_two_byte_text_is_no_markup(size: int) -> None:
    data = "<p>日本語</p>".encode("iso-2022-jp")
    inside, out = through(charset.transcoder("iso-2022-jp", html=True), data, size)
    assert out == data
    assert inside.startswith(b"<p>\x1b$B")
    assert inside.endswith(b"\x1b(B</p>")
    assert len(inside) == len(data)
    assert all(byte >= 0x80 for byte in inside[6:-7])


def test_a_meta_is_enough_for_iso_2022_jp() -> None:
    data = b'<meta charset="iso-2022-jp">' + "<p>日本語</p>".encode("iso-2022-jp")
    for size in (1, 7, 500):
        inside, out = through(charset.transcoder("", html=True), data, size)
        assert out == data
        assert b"\x1b$B\xc6" in inside


def test_an_escape_without_the_declaration_is_just_a_byte() -> None:
    data = b"<p>\x1b$B<b>"
    inside, out = through(charset.transcoder("", html=True), data, 2)
    assert inside == out == data


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html; charset=UTF-8", "utf-8"),
        ('text/html;charset="Shift_JIS"', "shift_jis"),
        ("text/html; x=y; CHARSET = 'koi8-r'", "koi8-r"),
        ("text/html", ""),
        ("text/html; charset=", ""),
    ],
)
def test_the_label_of_a_content_type(content_type: str, expected: str) -> None:
    assert charset.label(content_type) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META CHARSET='ISO-2022-JP'/>", "iso-2022-jp"),
        (b'<meta http-equiv=Content-Type content="text/html; charset=euc-jp">', "euc-jp"),
        (b'<meta content="text/html; charset=euc-jp">', ""),
        (b"<!-- <meta charset=a> --><meta charset=b>", "b"),
        (b'<p title="<meta charset=a>"><meta charset=b>', "b"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<p>nothing</p>", ""),
        (b" " * 1024 + b"<meta charset=a>", ""),
    ],
)
def test_the_prescan_of_a_meta(head: bytes, expected: str) -> None:
    assert charset.prescan(head) == expected


def test_a_mark_counts_before_everything() -> None:
    assert charset.by_mark(b"\xff\xfe<\0") == "utf-16-le"
    assert charset.by_mark(b"\xfe\xff\0<") == "utf-16-be"
    assert charset.by_mark(b"\xef\xbb\xbf<") == "utf-8"
    assert charset.by_mark(b"<html>") == ""
    assert charset.may_be_mark(b"\xef\xbb")
    assert not charset.may_be_mark(b"<")


def test_labels_mean_what_the_web_means() -> None:
    assert charset.python_name("iso-8859-1") == "cp1252"
    assert charset.python_name("gb2312") == "gb18030"
    assert charset.python_name("no-such-thing") == "utf-8"
