"""The style sheet rewriter by the rules of CSS Syntax, with tinycss2 as the oracle."""

from typing import Any

import pytest
import tinycss2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.scanner_feed import ScannerFeed
from zenzefi.rewriting.css import CARRY_LIMIT, CssScanner, rewrite_css


def mark(url: Any) -> Any:
    """A mapper that changes every rooted address."""
    text = url.strip()
    return "/m" + text if text.startswith("/") and not text.startswith("/m/") else url


def rewrite(css: str | bytes, size: int | None = None) -> str:
    data = css.encode() if isinstance(css, str) else css
    if size is None:
        return rewrite_css(data, mark).decode("utf-8", "surrogateescape")
    rewriter = ScannerFeed(CssScanner(mark))
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    out = b"".join(map(rewriter.feed, chunks)) + rewriter.finish()
    return out.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("a{b:url(/x)}", "a{b:url(/m/x)}"),
        ("a{b:URL( '/x' )}", "a{b:URL( '/m/x' )}"),
        ('a{b:url("/x")}', 'a{b:url("/m/x")}'),
        ("a{b:url(\n/x\t)}", "a{b:url(\n/m/x\t)}"),
        ("a{b:u\\72 l(/x)}", "a{b:u\\72 l(/m/x)}"),
        ("a{b:\\75\\52\\4c(/x)}", "a{b:\\75\\52\\4c(/m/x)}"),
        ("a{b:\\url(/x)}", "a{b:\\url(/m/x)}"),
        ("a{b:url(\\2fx)}", "a{b:url(/m\\2fx)}"),
        ("a{b:url(/x\\)y)}", "a{b:url(/m/x\\)y)}"),
        ("a{b:url(/x\0y)}", "a{b:url(/m/x\\fffd y)}"),
        ("a{b:image\\-set('/x' 1x)}", "a{b:image\\-set('/m/x' 1x)}"),
        ('a{b:url("/x\\"y\\\nz")}', 'a{b:url("/m/x\\"y\\\nz")}'),
        ('a{b:url("/\\e9 x")}', 'a{b:url("/m/\\e9 x")}'),
        ("a{b:url(/x", "a{b:url(/m/x"),
        ("a{b:url('/x", "a{b:url('/m/x"),
        ("a{b:src('/x')}", "a{b:src('/m/x')}"),
        ("a{b:src(/**/ '/x')}", "a{b:src(/**/ '/m/x')}"),
        ("@import '/x';", "@import '/m/x';"),
        ('@IMPORT/* c */"/x"screen;', '@IMPORT/* c */"/m/x"screen;'),
        ("@\\69mport '/x';", "@\\69mport '/m/x';"),
        ("@import url(/x) layer(y);", "@import url(/m/x) layer(y);"),
        ("a{b:image-set('/x' 1x,url(/y) 2x)}", "a{b:image-set('/m/x' 1x,url(/m/y) 2x)}"),
        (
            "a{b:-webkit-image-set('/x' type('/t'),var(--a,'/s')) '/z'}",
            "a{b:-webkit-image-set('/m/x' type('/t'),var(--a,'/s')) '/z'}",
        ),
        ("a{b:image-set(src('/x') 1x, '/y' 2x)}", "a{b:image-set(src('/m/x') 1x, '/m/y' 2x)}"),
        ("a{b:image-set(url('/x') 1x, '/y' 2x)}", "a{b:image-set(url('/m/x') 1x, '/m/y' 2x)}"),
        ("a{--x:url(/x)}", "a{--x:url(/m/x)}"),
        ("@font-face{src:local('/l'),url(/x)}", "@font-face{src:local('/l'),url(/m/x)}"),
        (".md\\:x{b:url(/x)}", ".md\\:x{b:url(/m/x)}"),
        ("a{b:url(/x)url(/y)}", "a{b:url(/m/x)url(/m/y)}"),
        ("'a\nb{c:url(/x)}", "'a\nb{c:url(/m/x)}"),
        ("<!-- @import '/x'; -->", "<!-- @import '/m/x'; -->"),
        ("@namespace p url(; ;);a{b:url(/x)}", "@namespace p url(; ;);a{b:url(/m/x)}"),
        ("@namespace p url('/x\n);a{b:url(/x)}", "@namespace p url('/x\n);a{b:url(/m/x)}"),
    ],
)
def test_addresses_are_mapped_and_nothing_else_changes(css: str, expected: str) -> None:
    assert rewrite(css) == expected
    assert rewrite(expected) == expected
    for size in (1, 2, 3, 7):
        assert rewrite(css, size) == expected


@pytest.mark.parametrize(
    "css",
    [
        "/* url(/x) @import '/y' */a{}",
        "a{b:'url(/x)'}",
        'a:after{content:"/x"}',
        "@namespace '/x';",
        "@namespace svg url(/x);",
        "@namespace svg/**/url('/x');",
        "@charset '/x';",
        "a{b:xurl(/x)}",
        "a{b:x\\:url(/x)}",
        "a{b:\\66url(/x)}",
        "a{b:-url(/x)}",
        "a{b:éurl(/x)}",
        "a{b:url (/x)}",
        "@import-normalize '/x';",
        "@importx '/x';",
        "a{b:url(/x y)}",
        "a{b:url(/x'y)}",
        "a{b:url(/x(y)}",
        "a{b:calc(1px / 2)}",
        "a{b:url('/x\n)}",
        "a{b:format('/x')}",
        "a{b:cross-set('/x')}",
        "a{b:url()}",
        "a{b:url('')}",
        "@media (x){a{b:c}}",
        "a{b:url(#x) url(data:,/x) url(https://y/x) url(x/y)}",
        "\\",
        "@",
        "a/",
        "@namespace p src(/* c */'/x');",
        "@namespace p src(/* c */'/x'\n);",
    ],
)
def test_text_that_is_not_an_address_is_unchanged(css: str) -> None:
    assert rewrite(css) == css
    for size in (1, 2, 3, 7):
        assert rewrite(css, size) == css


def test_bytes_beyond_ascii_survive_in_any_encoding() -> None:
    assert rewrite_css(b"a{b:url(/\xe9\xff)}\x81", mark) == b"a{b:url(/m/\xe9\xff)}\x81"


def test_output_comes_with_the_first_chunk() -> None:
    rewriter = ScannerFeed(CssScanner(mark))
    assert rewriter.feed(b"a{b:url(/x)} c{d:ur") == b"a{b:url(/m/x)} c{d:"


@pytest.mark.parametrize(
    "opening",
    [
        b"a{b:url(",
        b'a{b:url("',
        b"/*",
        b"'",
        b"@import ",
        b"@import /*",
        b"@namespace ",
        b"\\",
        b"a{b:image-set('",
        b"a{b:url(/x ",
    ],
)
@pytest.mark.parametrize("filler", [b"x", b"\\", b"/*", b"*", b" ", b"(", b"a\\", b"\\66 "])
def test_an_unfinished_token_is_bounded_and_costs_linear_work(
    opening: bytes, filler: bytes
) -> None:
    seen = 0

    class Counting(CssScanner):
        def scan(self, window: bytes, final: bool) -> Any:
            nonlocal seen
            seen += len(window)
            return super().scan(window, final)

    rewriter = ScannerFeed(Counting(mark))
    piece = filler * (4096 // len(filler))
    total, out = len(opening), [rewriter.feed(opening)]
    for _ in range(2 * CARRY_LIMIT // len(piece) + 64):
        out.append(rewriter.feed(piece))
        total += len(piece)
        assert len(rewriter._carry) <= 2 * CARRY_LIMIT + len(piece)
    out.append(rewriter.finish())
    assert sum(map(len, out)) == total
    assert seen < 5 * total


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ('a[href="/x"]{}', 'a:is([href="/x"],[href="/m/x"]){}'),
        ("a[ HREF = '/x' i ]{}", "a:is([ HREF = '/x' i ],[HREF=\"/m/x\" i]){}"),
        ("a[href=\\/x]{}", 'a:is([href=\\/x],[href="/m/x"]){}'),
        ('[src^="/r/"]{}', ':is([src^="/r/"],[src^="/m/r/"]){}'),
        ('[xlink\\:href="/x"]{}', ':is([xlink\\:href="/x"],[xlink\\:href="/m/x"]){}'),
        ('[*|href="/x"]{}', ':is([*|href="/x"],[*|href="/m/x"]){}'),
        ('a:not([href="/x"]){}', 'a:not(:is([href="/x"],[href="/m/x"])){}'),
        (
            'a[href^="/m"]{}',
            'a:is([href^="/m"]:where(:not([href^="/m/"])),[href^="/m/m"]){}',
        ),
        (
            'a[href*="/m/"]{}',
            'a[href*="/m/"]{}',
        ),
        ('a[href$="/x"]{}', 'a[href$="/x"]{}'),
        ('a[href^="/"]{}', 'a[href^="/"]{}'),
        ('a[href="x"]{}', 'a[href="x"]{}'),
        ("a[href=/x]{}", "a[href=/x]{}"),
        ('a[href="/m/x"]{}', 'a[href="/m/x"]{}'),
        ('a[data-href="/x"]{}', 'a[data-href="/x"]{}'),
        ('a[title="/x"]{}', 'a[title="/x"]{}'),
        ("a[title='[href=\"/x\"]']{}", "a[title='[href=\"/x\"]']{}"),
        ('/* a[href="/x"] */', '/* a[href="/x"] */'),
        ("a{content:\"[href='/x']\"}", "a{content:\"[href='/x']\"}"),
        ('a[href="/x]{b:url(/y)}', 'a[href="/x]{b:url(/y)}'),
    ],
)
def test_an_attribute_selector_finds_what_the_author_wrote(css: str, expected: str) -> None:
    assert rewrite(css) == expected
    assert rewrite(expected) == expected
    for size in (1, 2, 3, 7):
        assert rewrite(css, size) == expected


def test_a_part_of_the_mount_is_no_part_of_an_address() -> None:
    def mount(url: str) -> str:
        return "/api/v1/proxy" + url if url.startswith("/") and "/api/v1/proxy/" not in url else url

    rewritten = rewrite_css(b'a[href*="/api/"]{}', mount)
    assert rewritten == (
        b'a:is([href*="/api/"]:where(:not([href^="/api/v1/proxy/"])),'
        b'[href^="/api/v1/proxy/api/"]){}'
    )
    assert rewrite_css(rewritten, mount) == rewritten


def test_a_selector_does_not_name_the_upstream() -> None:
    def own(url: str) -> str:
        return url.replace("http://up.example/", "https://gate.example/")

    css = b"a[href=\"http://up.example/x\"],a[href^='http://up.example/']{}"
    expected = b'a[href="https://gate.example/x"],a[href^="https://gate.example/"]{}'
    assert rewrite_css(css, own) == rewrite_css(expected, own) == expected


selector_pieces = st.sampled_from(
    [
        *"\"'[]=^*,():a /\\\n",
        "[href=",
        '"/x"',
        "'/y'",
        "]",
        "[src^=",
        ":is(",
        '[href="/x"]',
        ':is([href="/x"],[href="/m/x"])',
        "\\/x",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(selector_pieces, max_size=12).map("".join), st.integers(1, 9))
def test_selectors_are_the_same_wherever_a_chunk_ends_and_mapped_once(css: Any, size: int) -> None:
    once = rewrite(css)
    assert rewrite(css, size) == once
    assert rewrite(once) == once


pieces = st.sampled_from(
    [
        *"\"'()\\/*@{};:, \n\r\faux\x00\x7fé",
        "\r\n",
        "\\\n",
        "\\\r\n",
        '\\"',
        "\\66 ",
        "\\75",
        "\\2f ",
        "url(",
        "URL(",
        "u\\52 l(",
        "src(",
        "image-set(",
        "-webkit-image-set(",
        "@import ",
        "@import",
        "@namespace ",
        "/*",
        "*/",
        "<!--",
        "-->",
        "/x",
        "'/y'",
        '"/z"',
        "url(/w)",
        "url('/v')",
        "--",
        "type(",
        "[",
        "]",
        "}",
        "a{b:",
    ]
)
sheets = st.lists(pieces, max_size=24).map("".join)


@settings(max_examples=600, deadline=None)
@given(sheets, st.integers(1, 9))
@example("@import/", 1)
@example("url(\\", 1)
def test_chunk_boundaries_make_no_difference(css: Any, size: int) -> None:
    assert rewrite(css, size) == rewrite(css)


@settings(max_examples=500, deadline=None)
@given(sheets)
def test_rewriting_is_idempotent(css: Any) -> None:
    once = rewrite(css)
    assert rewrite(once) == once


@settings(max_examples=500, deadline=None)
@given(sheets)
def test_a_mapper_that_changes_nothing_changes_no_byte(css: Any) -> None:
    assert rewrite_css(css.encode(), lambda url: url) == css.encode()


def tokens(nodes: Any, found: Any, in_set: bool = False) -> Any:
    """Every token, in order; addresses apart."""
    previous = None
    for node in nodes:
        if node.type == "url":
            found.append(("url", node.value))
        elif node.type == "string":
            found.append(("string", node.value))
        elif node.type == "function":
            found.append(("function", node.lower_name))
            tokens(node.arguments, found)
        elif getattr(node, "content", None) is not None and node.type.endswith("block"):
            found.append((node.type,))
            tokens(node.content, found)
        else:
            found.append((node.type, node.serialize() if node.type != "error" else node.kind))
        previous = node
    return previous


@settings(max_examples=600, deadline=None)
@given(sheets)
def test_the_oracle_sees_the_same_tokens_but_for_mapped_addresses(css: Any) -> None:
    css = css.replace("\x00", "").encode().decode()
    before: list[Any] = []
    after: list[Any] = []
    tokens(tinycss2.parse_component_value_list(css), before)
    tokens(tinycss2.parse_component_value_list(rewrite(css)), after)
    assert len(before) == len(after), (css, rewrite(css), before, after)
    for a, b in zip(before, after, strict=True):
        assert a == b or (a[0] == b[0] and a[0] in ("url", "string") and b[1] == mark(a[1])), (
            a,
            b,
            css,
            rewrite(css),
        )
