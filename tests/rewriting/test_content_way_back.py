"""Addresses in the contents of requests: texts, forms, JSON; streamed, at every mount."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.linear_work import assert_linear
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.content_way_back import ContentWayBack, content_way_back
from zenzefi.rewriting.way_back import WayBackStream, way_back

UPSTREAM = Origin("http", "app.internal", 8080)
PREFIX = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
OWN = Mount(MountKind.ORIGIN, Origin("https", "app.gate.example", 8443))
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
MOUNTS = (PREFIX, OWN, CLIENT)
mounts = pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: mount.kind.value)
FORM = "multipart/form-data; boundary=----Bound-7'x"


def taken(found: ContentWayBack, data: bytes, size: int) -> bytes:
    """``data`` mapped in pieces of ``size`` bytes."""
    ends = range(size, len(data) + size, size)
    out = [found.feed(data[end - size : end], is_last=end >= len(data)) for end in ends]
    return b"".join(out)


def mapped(content_type: str, data: bytes, mount: Mount = PREFIX, size: int = 1 << 20) -> bytes:
    found = content_way_back(way_back(UPSTREAM, mount), content_type)
    return data if found is None else taken(found, data, size)


def form(*parts: tuple[str, bytes], boundary: str = "----Bound-7'x") -> bytes:
    """Parts with the fields of their heads, as browsers write them."""
    out = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + value + b"\r\n" for head, value in parts]
    return b"".join(out) + f"--{boundary}--\r\n".encode()


FIELD = 'Content-Disposition: form-data; name="text"'
FILE = 'Content-Disposition: form-data; name="up"; filename="a.html"\r\nContent-Type: text/html'


@mounts
@pytest.mark.parametrize(
    "content_type", ["text/html", "application/json", "text/plain;charset=UTF-8", "text/markdown"]
)
def test_a_text_gets_the_upstreams_addresses(content_type: str, mount: Mount) -> None:
    sent = f'<img src="{mount.root}i.png"> {{"a":"{mount.root}b"}}'.encode()
    assert mapped(content_type, sent, mount) == sent.replace(
        mount.root.encode(), f"{UPSTREAM}/".encode()
    )


@mounts
def test_a_form_gets_the_upstreams_addresses(mount: Mount) -> None:
    html = f'<p>é <a href="{mount.root}x?a=b&amp;c">x</a> <img src="{mount.prefix}/i">'
    own = html.replace(mount.root, f"{UPSTREAM}/").replace(f"{mount.prefix}/i", "/i")
    for sent, stored in (
        (f"a=1&html={quote_plus(html)}", f"a=1&html={quote_plus(own)}"),
        (f"url={quote_plus(mount.root)}", f"url={quote_plus(f'{UPSTREAM}/')}"),
    ):
        got = mapped("application/x-www-form-urlencoded", sent.encode(), mount)
        assert got.decode() == stored


@mounts
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_text_fields_of_a_form_are_mapped_and_files_pass(mount: Mount, size: int) -> None:
    sent = f'<img src="{mount.root}i.png">'.encode()
    own = f'<img src="{UPSTREAM}/i.png">'.encode()
    json_field = FIELD + "\r\nContent-Type: application/json; charset=utf-8"
    wide = FIELD + "\r\nContent-Type: text/plain; charset=utf-16le"
    coded = FIELD + "\r\nContent-Transfer-Encoding: base64"
    binary = FIELD + "\r\nContent-Type: application/octet-stream"
    parts = [(FIELD, sent), (FILE, sent), (json_field, sent), (wide, sent), (FIELD, b"")]
    parts += [(coded, sent), (binary, sent), ('Content-Disposition: form-data; name="f"', sent)]
    parts += [('Content-Disposition: form-data; name="a; filename=b"', sent), ("X: y", sent)]
    named = {0, 2, 7, 8}
    expected = [(head, own if i in named else value) for i, (head, value) in enumerate(parts)]
    assert mapped(FORM, form(*parts), mount, size) == form(*expected)


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "value",
    [
        b"\r\n------Bound-7'xy /api/v1/proxy/a",
        b"\r\n------Bound-7'x- /api/v1/proxy/a",
        b"\r\n-- /api/v1/proxy/a\r\n",
        b"------Bound-7'x\r\n/api/v1/proxy/a",
    ],
)
def test_a_text_that_looks_like_a_delimiter_is_text(value: bytes, size: int) -> None:
    own = value.replace(b"/api/v1/proxy", b"")
    assert mapped(FORM, form((FIELD, value)), PREFIX, size) == form((FIELD, own))


ADDRESSED = b"<a href=/api/v1/proxy/x>"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("multipart/form-data", form((FIELD, ADDRESSED))),
        (FORM + "; boundary=b", form((FIELD, ADDRESSED))),
        ("multipart/form-data; boundary=\xe9", form((FIELD, ADDRESSED))),
        (FORM, ADDRESSED),
        (FORM, b"------Bound-7'x\r\n" + FIELD.encode() + b"\r\n\r" + ADDRESSED),
        (FORM, b"------Bound-7'x\r\nX: " + b"y" * 17_000 + b"\r\n\r\n" + ADDRESSED),
        (FORM, form((FIELD, b"a")) + ADDRESSED),
        (FORM, form((FIELD, ADDRESSED)).replace(b"\r\n", b"\n")),
        ("text/html; charset=utf-16le", ADDRESSED.decode().encode("utf-16-le")),
        ("application/json; charset=UTF-32", ADDRESSED.decode().encode("utf-32")),
    ],
)
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_a_content_that_is_not_clear_passes(content_type: str, data: bytes, size: int) -> None:
    assert mapped(content_type, data, PREFIX, size) == data


def test_a_quoted_boundary_may_have_spaces() -> None:
    sent = form((FIELD, ADDRESSED), boundary="a b")
    assert b"proxy" not in mapped('multipart/form-data; boundary="a b"', sent)


def pieces(data: bytes, cuts: list[int]) -> Iterator[tuple[bytes, bool]]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end], False
    yield b"", True


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                *(b"https://gate.example", b"/api/v1/proxy", b"/x", b" ", b"\\/", b"%2Fapi"),
                *(b"y" * 4090, b"/api/v1/proxy" * 100, b"\r\n", b"\\u002f", b"https:", b"\xc3"),
            )
        ),
        max_size=30,
    ),
    st.lists(st.integers(0, 1 << 20), max_size=8),
    st.sampled_from(MOUNTS),
)
def test_a_text_in_pieces_is_mapped_like_the_whole(
    parts: list[bytes], cuts: list[int], mount: Mount
) -> None:
    data, back = b"".join(parts), way_back(UPSTREAM, mount)
    stream = WayBackStream(back)
    got = b"".join(stream.feed(piece, is_last=last) for piece, last in pieces(data, cuts))
    assert got == back.unmap(data)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r\n--b", b"--", b"\r\n", b" ", b"X: y", b"\r\n\r\n", b"--b"])),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_broken_form_passes_byte_by_byte(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    found = content_way_back(way_back(UPSTREAM, PREFIX), "multipart/form-data; boundary=b")
    assert found is not None
    assert b"".join(found.feed(p, is_last=last) for p, last in pieces(data, cuts)) == data


@pytest.mark.parametrize(
    "unit",
    [b"/api/v1/proxy", b"\r\n------Bound-7'x", b"\r\n------Bound-7'x ", b"\r\n\r\n", b"%2F"],
)
def test_the_work_is_linear_in_small_pieces(unit: bytes) -> None:
    head = b"------Bound-7'x\r\n" + FIELD.encode() + b"\r\n\r\n"
    for content_type, start in ((FORM, head), ("text/html", b"")):

        def run(data: bytes, content_type: str = content_type) -> None:
            mapped(content_type, data, PREFIX, 64)

        assert_linear(run, lambda n, s=start: s + unit * (n // len(unit)), 1 << 17)  # type: ignore[misc]


def test_the_work_is_linear_in_large_pieces() -> None:
    unit = b"\r\n--bX"

    def run(data: bytes) -> None:
        mapped("multipart/form-data; boundary=b", data + b"x", size=len(data))

    assert_linear(run, lambda n: unit * (n // len(unit)), 1 << 21)


def test_little_is_held_back() -> None:
    stream = WayBackStream(way_back(UPSTREAM, PREFIX))
    given_out = 0
    for taken_in in range(1, 64):
        given_out += len(stream.feed(b"y" * 1024, is_last=False))
        assert taken_in * 1024 - given_out < 8192
