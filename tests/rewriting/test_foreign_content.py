"""SVG and MathML in HTML, documents in XML, and misplaced base elements, at every mount."""

from __future__ import annotations

import pytest

from tests.kit.engine import exchange, rewrite_body
from tests.kit.mounts import MOUNTS, UPSTREAMS
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
UPSTREAM = UPSTREAMS[0]
PRESENTATION = (
    "fill",
    "stroke",
    "filter",
    "mask",
    "clip-path",
    "cursor",
    "marker",
    "marker-start",
    "marker-mid",
    "marker-end",
)
SIZES = (1, 7, 65536)


def rewritten(kind: str, mount: Mount, source: str, size: int = 65536) -> str:
    exchanged = exchange(
        {"Content-Type": kind},
        mount=mount,
        mapper=UrlMapper(UPSTREAM, mount),
        destination="empty",  # no runtime
        url=f"{UPSTREAM}/dir/page",
    )
    return rewrite_body(ENGINE, exchanged, source.encode(), size).decode()


def check(kind: str, mount: Mount, template: str) -> None:
    """``{0}`` stands for a rooted and for an absolute address; all else stays."""
    for size in SIZES:
        for old, new in (("/a", f"{mount.prefix}/a"), (f"{UPSTREAM}/a", f"{mount.root}a")):
            out = rewritten(kind, mount, template.replace("{0}", old), size)
            assert out == template.replace("{0}", new)
        for same in ("a", "https://x.example/a", "//x.example/a"):
            text = template.replace("{0}", same)
            assert rewritten(kind, mount, text, size) == text


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("name", PRESENTATION)
def test_presentation_attributes_of_inline_svg(name: str, mount: Mount) -> None:
    for element in ("path", "g", "rect", "unknown"):
        check("text/html", mount, f"<p><svg><{element} {name}='url({{0}}#b)' d=M0/></svg>")
        check("text/html", mount, f"<svg><{element} id=x {name}=\"url('{{0}}#b') none\"></svg>")
    check("text/html", mount, f'<svg {name}="url({{0}}#b)"></svg>')
    check("text/html", mount, f'<svg><g><use {name.upper()} = " url( {{0}} )"/></g></svg>')
    for text in (f'<svg><g {name}="url(#a)"/></svg>', f'<p {name}="url(/a)">'):
        assert rewritten("text/html", mount, text) == text


STYLES = [
    "<svg><style>{mark}a{fill:url({0})}</style><path></svg>",
    "<svg><style><![CDATA[a{fill:url({0})}]]></style></svg>",
    "<svg><style>\n<![CDATA[ a > b{fill:url({0})} ]]>\n</style><style>b{fill:url('{0}')}</style>",
    "<svg><style>a:before{content:'&amp;&lt;'} b{fill:url({0})}</style></svg>",
]


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("template", STYLES)
def test_style_sheets_in_svg(template: str, mount: Mount) -> None:
    template = template.replace("{mark}", "")
    check("text/html", mount, template)
    check("image/svg+xml", mount, template)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml"])
def test_character_references_in_style_sheets_of_svg(kind: str, mount: Mount) -> None:
    source = "<svg><style>a{fill:url(&#x2f;a?b&amp;c)}</style></svg>"
    for size in SIZES:
        out = rewritten(kind, mount, source, size)
        front = source if mount.is_root else f"<svg><style>a{{fill:url({mount.prefix}"
        assert out.startswith(front)
        assert "?b&amp;c)" in out


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml"])
@pytest.mark.parametrize(
    "template",
    [
        "<svg><a><set attributeName='href' to='{0}'/></a></svg>",
        "<svg><a><animate attributeName='xlink:href' from='{0}' to='{0}' dur='1s'/></a></svg>",
        "<svg><image><animate values='{0};b; {0}' attributeName='href'/></image></svg>",
        "<svg><g><animate attributeName='fill' values='url({0}#a);red'/></g></svg>",
    ],
)
def test_animated_addresses(template: str, kind: str, mount: Mount) -> None:
    check(kind, mount, template)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_an_animation_of_something_else_stays(mount: Mount) -> None:
    for kind in ("text/html", "image/svg+xml"):
        text = "<svg><g><set attributeName='class' to='/a'/><animate to='/a'/></g></svg>"
        assert rewritten(kind, mount, text) == text


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_links_of_mathml(mount: Mount) -> None:
    for template in (
        "<math href='{0}'><mi>x</mi></math>",
        "<math><mrow href='{0}'><mi href=\"{0}\">x</mi></mrow></math><a href='{0}'>y</a>",
    ):
        check("text/html", mount, template)
    text = "<p><mi href='/a'>x</mi>"
    assert rewritten("text/html", mount, text) == text


NO_BASES = [
    "<template><base href='/x/y/'></template>",
    "<template><template></template><base href='/x/y/'></template>",
    "<svg><base href='/x/y/'/></svg>",
    "<svg><base href='/x/y/'></base><g></g></svg>",
    "<head><noscript><base href='/x/y/'></noscript></head>",
    "<base target=_top>",
    "<base href='data:text/html,x'><base href='/x/y/'>",
    "<base href='javascript:x'>",
]


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("no_base", NO_BASES)
def test_what_is_no_base_changes_no_address(no_base: str, mount: Mount) -> None:
    """Against ``/x/y/`` the reference would stay; against ``/dir/`` it leaves the root."""
    for size in SIZES:
        out = rewritten("text/html", mount, f"{no_base}<a href='../../a'>", size)
        assert out.endswith(
            f"<a href='{mount.prefix}/a'>" if mount.prefix else "<a href='../../a'>"
        )


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    "before",
    ["", "<template><p></template>", "<noscript></noscript>", "<svg></svg>", "<template/>"],
)
def test_a_real_base_still_counts(before: str, mount: Mount) -> None:
    for size in SIZES:
        page = f"{before}</template><base href='/x/y/'><a href='../../a'>"
        out = rewritten("text/html", mount, page, size)
        assert out == f"{before}</template><base href='{mount.prefix}/x/y/'><a href='../../a'>"


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", ["application/xhtml+xml", "image/svg+xml", "application/xml"])
def test_scripts_of_xml_documents_map_the_upstreams_origin(kind: str, mount: Mount) -> None:
    root = "svg" if kind == "image/svg+xml" else "html"
    space = {"svg": "http://www.w3.org/2000/svg", "html": "http://www.w3.org/1999/xhtml"}[root]
    forms = (
        "<script>go('{0}', 1 &lt; 2)</script>",
        "<script><![CDATA[ go('{0}', 1 < 2 && 3) ]]></script>",
        "<script type='text/javascript'>//<![CDATA[\ngo('{0}', 1 < 2)\n//]]></script>",
    )
    for form in forms:
        page = f'<{root} xmlns="{space}">{form}</{root}>'
        for size in SIZES:
            source = page.replace("{0}", f"{UPSTREAM}/a")
            assert rewritten(kind, mount, source, size) == page.replace("{0}", f"{mount.root}a")
            for same in ("/a", "https://x.example/a"):
                text = page.replace("{0}", same)
                assert rewritten(kind, mount, text, size) == text
