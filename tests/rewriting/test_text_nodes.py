"""Whole text nodes: nothing in a text is cut, wherever the upstream's writes end."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import exchange, rewrite_body
from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, TextNode
from zenzefi.plugins_testing import run
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.html.text_nodes import LONGEST
from zenzefi.rewriting.plugins.registry import Registry

PHONE = re.compile(r"\+7 \(\d{3}\) \d{3}-\d\d-\d\d")


class Mask(Plugin):
    """Masks telephone numbers."""

    name = "mask"
    matches = Match(content_types=("text/html",))
    needs = Needs.TEXT_NODES

    def text_node(self, exchange: Exchange, node: TextNode) -> Edit | None:
        masked = PHONE.sub("***", node.text)
        return node.replace(masked) if masked != node.text else None


@pytest.mark.parametrize("number", ["+7 (495) 123-45-67", "+7 (495) 123&#45;45-6&#55;"])
@pytest.mark.parametrize(
    "frame",
    [
        "<p>Call %s now</p>",
        "Call %s",
        "a < b %s < c",
        "<!--x-->%s<!--y--><b>",
        "<title>%s</title>",
        "<textarea>a %s</textarea>x",
        "<svg><text>%s</text></svg>",
        "</ %s><p>%s",
        "<? x>%s<![CDATA[x]]>",
    ],
)
def test_a_number_is_masked_wherever_the_writes_end(frame: str, number: str) -> None:
    result = run(Mask, frame.replace("%s", number).encode())
    after = frame.rpartition("%s")[2]
    assert result.text.endswith((f"***{after}", f"***{after.replace('<', '&lt;')}"))


PIECES = st.sampled_from(
    [
        "+7 (495) 123-45-67",
        "text ",
        "<b>",
        "</b>",
        "<",
        "&amp;",
        "<!--c-->",
        "é",
        "<title>",
        "</title>",
    ]
)


@given(st.lists(PIECES, max_size=12), st.integers(1, 40))
def test_texts_do_not_depend_on_how_a_page_arrives(pieces: list[str], size: int) -> None:
    page = "".join(pieces).encode()
    engine = Engine(Registry(entry_points=False, classes=[Mask]))
    head = exchange({"Content-Type": "text/html; charset=utf-8"})
    whole = rewrite_body(engine, head, page)
    assert rewrite_body(engine, head, page, size) == whole
    assert engine.registry["mask"].statistics.errors == 0


def test_other_charsets_and_characters_survive() -> None:
    page = "<p>Тел. +7 (495) 123-45-67 &lt; “x”".replace("“x”", "&ldquo;x&rdquo;").encode("cp1251")
    result = run(Mask, page, content_type="text/html; charset=windows-1251")
    assert result.body.decode("cp1251") == "<p>Тел. *** &lt; “x”"


def test_a_very_long_text_comes_in_parts_that_end_at_white_space() -> None:
    seen: list[tuple[int, bool]] = []

    class Looks(Mask):
        name = "looks"

        def text_node(self, exchange: Exchange, node: TextNode) -> None:
            seen.append((len(node.raw), node.is_whole))
            assert node.raw.startswith((b"word", b"short"))

    page = b"<p>" + b"word " * (LONGEST // 2) + b"</p>short"
    engine = Engine(Registry(entry_points=False, classes=[Looks]))
    head = exchange({"Content-Type": "text/html"})
    assert rewrite_body(engine, head, page, 4096) == page
    assert engine.registry["looks"].statistics.errors == 0
    assert sum(size for size, _ in seen) == len(page) - len("<p></p>")
    assert max(size for size, _ in seen) <= LONGEST + 4096
    assert seen[-1] == (5, True)
    assert not any(is_whole for _, is_whole in seen[:-1])


@pytest.mark.parametrize(
    ("page", "masked"),
    [
        ("<svg><script>a='%s'</script><text>%s</text></svg>", 1),
        ("<svg><script/><text>%s</text></svg>", 1),
        ("<svg><script>'%s'<p>%s<svg><text>%s</text></svg>", 2),
        ("<svg><script>'%s'</svg>%s", 1),
        ("<script>'%s'</script><style>/*%s*/</style>%s", 1),
        ("<xmp>%s</xmp>%s<plaintext>%s", 1),
    ],
)
def test_code_is_no_text(page: str, masked: int) -> None:
    number = "+7 (495) 123-45-67"
    result = run(Mask, page.replace("%s", number).encode())
    assert result.text.count("***") == masked
    assert result.text.count(number) == page.count("%s") - masked
