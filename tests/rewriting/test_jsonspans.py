"""The streaming JSON reader: spans, paths, leniency."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting.jsonspans import JsonReader

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def read(data: bytes, size: int = 1 << 20) -> list[tuple[tuple[str | int, ...], bytes]]:
    reader, window, out = JsonReader(), b"", []
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    for number, piece in enumerate([*pieces, b""]):
        window += piece
        settled, found = reader.read(window, number == len(pieces))
        for path, start, end in found:
            assert end <= settled
            out.append((path, window[start:end]))
        window = window[settled:]
    assert window == b""
    return out


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for at, item in enumerate(value) for leaf in leaves(item, (*path, at))]
    return [(path, value)]


@given(VALUES, st.integers(1, 20), st.booleans(), st.sampled_from([None, 1]))
def test_every_scalar_is_found_with_its_path(
    value: Any, size: int, ascii_: bool, indent: int | None
) -> None:
    data = json.dumps(value, ensure_ascii=ascii_, indent=indent).encode("utf-8", "surrogatepass")
    found = [(path, json.loads(raw)) for path, raw in read(data, size)]
    assert found == leaves(value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'\xef\xbb\xbf{"a":1}', [(("a",), b"1")]),
        (b")]}'\n[1]", [((0,), b"1")]),
        (b"for(;;);[1]", [((0,), b"1")]),
        (b'{"a":1}\n{"a":2}\n', [(("a",), b"1"), (("a",), b"2")]),
        (b'{"a":1.50e+3}', [(("a",), b"1.50e+3")]),
        (b'{"a\\"b":"c\\\\"}', [(('a"b',), b'"c\\\\"')]),
        (b"[1,2,]", [((0,), b"1"), ((1,), b"2")]),
        (b"", []),
        (b"   ", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_leniency(data: bytes, expected: list[Any], size: int) -> None:
    assert read(data, size) == expected


@given(st.binary(max_size=120), st.integers(1, 20))
def test_what_is_no_json_passes_to_its_end(data: bytes, size: int) -> None:
    read(data, size)


def test_nesting_without_end_is_given_up() -> None:
    assert read(b"[" * 100_000 + b"1", 4096) == []
