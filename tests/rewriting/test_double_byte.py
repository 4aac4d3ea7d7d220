"""Style sheets in encodings whose second bytes may be backslashes or brackets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import PREFIX, ROOT, exchange, rewrite_body
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting.double_byte import DoubleByte
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
CODECS = ["cp932", "gb18030", "big5hkscs"]
# Characters whose second byte is 0x5C in the encoding.
BACKSLASHES = {"shift_jis": "表ソ能", "gbk": "昞", "big5": "功許"}
pieces = st.lists(
    st.one_of(st.binary(max_size=4), st.sampled_from([b"\x95\\", b"\x81\xff", b"\x81\xff\xc0"]))
).map(b"".join)


def moved(codec: str, data: bytes, size: int) -> tuple[bytes, bytes]:
    made = DoubleByte(codec)
    lifted = [made.decode(data[i : i + size], False) for i in range(0, len(data), size)]
    inner = b"".join([*lifted, made.decode(b"", True)])
    lowered = [made.encode(inner[i : i + size], False) for i in range(0, len(inner), size)]
    return inner, b"".join([*lowered, made.encode(b"", True)])


@given(pieces, st.integers(1, 9))
@pytest.mark.parametrize("codec", CODECS)
def test_every_byte_survives_wherever_the_body_is_cut(codec: str, data: bytes, size: int) -> None:
    inner, back = moved(codec, data, size)
    assert back == data
    assert inner == moved(codec, data, 1 << 20)[0]


@pytest.mark.parametrize("mount", [PREFIX, ROOT])
@pytest.mark.parametrize("how", ["header", "rule"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("label", BACKSLASHES)
def test_a_second_byte_is_not_an_escape(label: str, size: int, how: str, mount: Mount) -> None:
    text = BACKSLASHES[label]
    assert text.encode(label).endswith(b"\\")
    rule = f'@charset "{label}";' if how == "rule" else ""
    css = f'{rule}a{{font-family:"{text}";b:url("https://app.example/{text}");c:url(/{text})}}'
    kind = "text/css" if how == "rule" else f"text/css; charset={label}"
    made = rewrite_body(
        ENGINE, exchange({"Content-Type": kind}, mount=mount), css.encode(label), size
    )
    expected = css.replace("https://app.example/", mount.root)
    assert made.decode(label) == expected.replace("url(/", f"url({mount.prefix}/")


def test_an_ascii_style_sheet_stays_as_it_is() -> None:
    css = b"a{b:c\\64}"
    kind = {"Content-Type": "text/css; charset=shift_jis"}
    assert rewrite_body(ENGINE, exchange(kind), css) == css


@pytest.mark.parametrize("mount", [PREFIX, ROOT])
@pytest.mark.parametrize("how", ["header", "meta", "http-equiv"])
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("label", BACKSLASHES)
def test_styles_inside_a_page_are_read_in_its_encoding(
    label: str, size: int, how: str, mount: Mount
) -> None:
    text = BACKSLASHES[label]
    declared = {
        "header": "",
        "meta": f'<meta charset="{label}">',
        "http-equiv": f'<meta http-equiv="Content-Type" content="text/html; charset={label}">',
    }[how]
    page = (
        f'<!doctype html><head>{declared}<title>{text}</title><style>a{{font-family:"{text}";'
        f"b:url(https://app.example/{text});c:url(/{text})}}</style></head>"
        f"<p style='b:url(https://app.example/{text});c:url(/{text})'>{text}"
        f'<img src="https://app.example/{text}" alt={text}>'
    )
    kind = f"text/html; charset={label}" if how == "header" else "text/html"
    exchanged = exchange({"Content-Type": kind}, mount=mount, destination="empty")
    made = rewrite_body(ENGINE, exchanged, page.encode(label), size)
    expected = page.replace("https://app.example/", mount.root)
    assert made.decode(label) == expected.replace("url(/", f"url({mount.prefix}/")


@given(st.lists(st.one_of(pieces, st.sampled_from([b"<p>", b"\\", b"\x1b$B"]))), st.integers(1, 9))
@pytest.mark.parametrize("label", BACKSLASHES)
def test_a_page_without_addresses_survives_in_any_encoding(
    label: str, parts: list[bytes], size: int
) -> None:
    page = b"".join([b"<p>", *parts[:3], f"<meta charset={label}>".encode(), *parts])
    exchanged = exchange({"Content-Type": "text/html"}, mount=ROOT, destination="empty")
    assert rewrite_body(ENGINE, exchanged, page, size) == page
