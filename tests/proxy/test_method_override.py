"""``_method``: a scope that restricts methods covers the one that a request stands for, too."""

from __future__ import annotations

import json
import time
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.multipart import MULTIPART, NAMED, part
from zenzefi.proxy.method_override import (
    FormScanner,
    JsonScanner,
    MethodScanner,
    MultipartScanner,
    query_methods,
    scanner_for,
)
from zenzefi.tokens.errors import ScopeRefused

FORM, JSON = "application/x-www-form-urlencoded", "application/json"

# --- the query


@pytest.mark.parametrize(
    ("query", "methods"),
    [
        ("_method=DELETE", ["DELETE"]),
        ("_METHOD=delete", ["DELETE"]),
        ("%5fmethod=%44ELETE", ["DELETE"]),
        ("%5F%6d%65%74%68%6f%64=PUT", ["PUT"]),
        ("a=b&_method=GET&_method=DELETE", ["GET", "DELETE"]),
        ("a=b;_method=DELETE", ["DELETE"]),
        ("_method[]=DELETE", ["DELETE"]),
        ("_method%5B%5D=DELETE", ["DELETE"]),
        ("_method[a][b]=DELETE", ["DELETE"]),
        (".method=DELETE", ["DELETE"]),
        ("%2Emethod=DELETE", ["DELETE"]),
        ("+_method=DELETE", ["DELETE"]),
        ("%20%09+_method=DELETE", ["DELETE"]),
        ("_method%00x=DELETE", ["DELETE"]),
        ("_method=+DELETE%0A", ["DELETE"]),
        ("_method=", []),
        ("_method", []),
        ("my_method=DELETE", []),
        ("_methods=DELETE", []),
        ("x=_method=DELETE", []),
        ("a=b&c", []),
        ("", []),
        (None, []),
    ],
)
def test_every_spelling_in_a_query_is_found(query: str | None, methods: list[str]) -> None:
    assert query_methods(query) == methods


# --- contents: the scanners


def scan(scanner: MethodScanner, data: bytes, cuts: list[int] | None = None) -> list[str]:
    """The methods in a content that arrives in pieces."""
    found, start = [], 0
    for cut in sorted({*(cuts or ()), len(data)}):
        if cut > start:
            found += scanner.feed(data[start:cut])
            start = cut
    return found + scanner.finish()


FOUND = [
    (FORM, b"_method=DELETE"),
    (FORM, b"a=1&_method=DELETE&b=2"),
    (FORM, b"a=1;%5Fme%74hod=delete"),
    (FORM, b"a=" + b"x" * 5000 + b"&_method=DELETE"),
    (FORM, b"&" + b"+" * 9000 + b"_method=DELETE"),
    (FORM, b"x" * 9000 + b"&_method=DELETE"),
    (MULTIPART, part(NAMED + '"_method"')),
    (MULTIPART, part(NAMED + "_method")),
    (MULTIPART, part(NAMED + "'_method'")),
    (MULTIPART, part(NAMED + '"_METHOD"')),
    (MULTIPART, part(NAMED + '"%5fmethod"')),
    (MULTIPART, part(NAMED + '"_meth\\od"')),
    (MULTIPART, part(NAMED + '"_method[]"')),
    (MULTIPART, part(NAMED + '"_method')),
    (MULTIPART, part('content-disposition:form-data;\r\n NAME = "_method"')),
    (MULTIPART, part("Content-Type: text/plain\r\n" + NAMED + '"_method"')),
    (MULTIPART, part(NAMED + '"_method"').replace(b"\r\n", b"\n")),
    (MULTIPART, b"--x-y\r\n" + NAMED.encode() + b'"_method"\r\n\r\nDELETE'),
    (JSON, b'{"_method": "DELETE"}'),
    (JSON, b'{"a": {"b": 1}, "\\u005fmeth\\u006Fd"\n:\n "\\u0044ELETE"}'),
    (JSON, b'{"a": "' + b"x" * 5000 + b'", "_method"' + b" " * 5000 + b':"delete"}'),
    (JSON, b'{"_METHOD":"DELETE"}'),
]
NOT_FOUND = [
    (FORM, b"name=_method&x=DELETE"),
    (FORM, b"_method=&a=1"),
    (FORM, b'{"a": "a long text of a client that calls everything a form"}' * 100),
    (MULTIPART, part(NAMED + '"b"; filename="_method"')),
    (MULTIPART, part(NAMED + '"method"')),
    (MULTIPART, part(NAMED + '"the_method"')),
    (JSON, b'{"a": "_method", "b": "DELETE", "_methods": "PUT", "x_method": "PUT"}'),
    (JSON, b'{"a": "say \\"_method\\": \\"DELETE\\""}'),
    (JSON, b'{"_method": null, "a": 1}'),
]


@pytest.mark.parametrize(("kind", "body"), FOUND)
def test_a_method_in_a_content_is_found_however_it_arrives(kind: str, body: bytes) -> None:
    for cuts in ([], list(range(len(body))), list(range(0, len(body), 7))):
        scanner = scanner_for([kind], [])
        assert scanner is not None
        assert set(scan(scanner, body, cuts)) == {"DELETE"}, len(cuts)


@pytest.mark.parametrize(("kind", "body"), NOT_FOUND)
def test_similar_parameters_are_ignored(kind: str, body: bytes) -> None:
    for cuts in ([], list(range(len(body)))):
        scanner = scanner_for([kind], [])
        assert scanner is not None
        assert scan(scanner, body, cuts) == []


_NAMES = st.sampled_from(["_method", "_METHOD", " _method", "a", "method", "_methods", "x_method"])
_VALUES = st.sampled_from(["DELETE", "put", "", "x y", "_method", "&=;"])


@given(
    st.lists(st.tuples(_NAMES, _VALUES), max_size=6),
    st.booleans(),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_forms_are_read_as_the_standard_library_does(
    fields: list[tuple[str, str]], is_encoded: bool, cuts: list[int]
) -> None:
    def spelt(text: str) -> str:
        if is_encoded:
            return "".join(f"%{ord(letter):02x}" for letter in text)
        return quote(text, safe="_").replace("%20", "+")

    body = "&".join(f"{spelt(name)}={spelt(value)}" for name, value in fields).encode()
    expected = [
        value.strip().upper()
        for name, value in parse_qsl(body.decode())
        if name.strip().lower() == "_method" and value.strip()
    ]
    assert scan(FormScanner(), body, cuts) == expected
    assert query_methods(body.decode()) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["DELETE", 'a"b\\', "_method"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b_method", "_method\\"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(_JSON, st.booleans(), st.lists(st.integers(0, 300), max_size=8))
def test_json_is_read_as_the_standard_library_does(
    value: object, is_named: bool, cuts: list[int]
) -> None:
    document = {"x": value} | ({"_method": "delete"} if is_named else {})
    for indent in (None, 2):
        body = json.dumps(document, indent=indent).encode()
        assert scan(JsonScanner(), body, cuts) == (["DELETE"] if is_named else [])


@given(
    st.lists(st.sampled_from(["_method", "a", "file", "the_method"]), max_size=5),
    st.sampled_from(["DELETE", "--x", "\r\n--x-\r\n", "x" * 100]),
    st.lists(st.integers(0, 600), max_size=8),
)
def test_multipart_names_are_found_in_any_place(
    names: list[str], value: str, cuts: list[int]
) -> None:
    body = "".join(
        f'--x-y\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name in names
    )
    found = scan(MultipartScanner(b"x-y"), (body + "--x-y--\r\n").encode(), cuts)
    assert len(found) == names.count("_method")
    assert set(found) <= {value.strip().upper()}


@pytest.mark.parametrize(
    ("types", "codings"),
    [
        ([FORM, JSON], []),
        ([FORM + ", " + MULTIPART], []),
        ([FORM], ["gzip"]),
        ([JSON], ["identity", "br"]),
        ([JSON + "; charset=utf-16"], []),
        ([FORM + '; charset="utf-7"'], []),
        (["multipart/form-data"], []),
        (["multipart/form-data; boundary=a; boundary=b"], []),
        (['multipart/form-data; boundary="a\\b"'], []),
        (["multipart/form-data; boundary="], []),
    ],
)
def test_ambiguous_content_is_rejected(types: list[str], codings: list[str]) -> None:
    with pytest.raises(ScopeRefused):
        scanner_for(types, codings)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, b"_method=" + b"x" * 5000),
        (FORM, b"_method[" + b"x" * 5000),
        (MULTIPART, b"--x-y\r\n" + b"A: b\r\n" * 3000),
        (MULTIPART, part(NAMED + '"_method"', "x" * 5000)),
        (MULTIPART, part("Content-Disposition: form-data; name*=UTF-8''_method")),
        (MULTIPART, part("Content-Disposition: form-data; name*0=_me; name*1=thod")),
        (JSON, b'{"_method": "' + b"x" * 5000),
        (JSON, b'{"_method": ["DELETE"]}'),
        (JSON, '{"_method": "DELETE"}'.encode("utf-16")),
        (JSON, '{"_method": "DELETE"}'.encode("utf-16-le")),
    ],
)
def test_content_that_could_hide_a_method_is_rejected(kind: str, body: bytes) -> None:
    scanner = scanner_for([kind], [])
    assert scanner is not None
    with pytest.raises(ScopeRefused):
        scan(scanner, body, list(range(0, len(body), 500)))


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", "text/plain", "image/png", "text/xml"]
)
def test_contents_that_are_no_parameters_are_not_looked_at(kind: str) -> None:
    assert scanner_for([kind], ["gzip"]) is None


@pytest.mark.parametrize("kind", [FORM, MULTIPART, JSON])
@pytest.mark.parametrize(
    "piece", [b"&", b'"', b"--x-", b"&_metho", b"\\", b" ", b"%20", b'"_method" ', b"\r\n", b"+"]
)
def test_memory_and_time_are_bounded(kind: str, piece: bytes) -> None:
    """Eight megabytes of what looks most like the parameter take linear time and leave nothing."""

    def spent(size: int) -> float:
        scanner = scanner_for([kind], [])
        assert scanner is not None
        data = piece * (65536 // len(piece))
        started = time.process_time()
        try:
            for _ in range(size):
                scanner.feed(data)
                held = getattr(scanner, "_pending", b"") or getattr(scanner, "_data", b"")
                assert len(held) <= 10_000
        except ScopeRefused:
            return 0.0  # it was refused before it could grow
        return time.process_time() - started

    spent(4)
    # No wall clock: four times the data may take some four times the work, not sixteen.
    assert spent(64) <= 12 * spent(16) + 0.5
