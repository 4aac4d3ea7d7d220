"""The bundled plugins, run as their authors would run them."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from zenzefi import plugins_testing as kit
from zenzefi.plugins import Plugin
from zenzefi.plugins_testing import run
from zenzefi.rewriting.plugins.registry import Registry

FOUND = Registry.for_gate().found
GATE = "https://gate.example/api/v1/proxy"


def bundled_plugin(name: str) -> type[Plugin]:
    return FOUND[name][0]


def body(name: str, source: str, content_type: str, **arguments: Any) -> str:
    return run(bundled_plugin(name), source.encode(), content_type=content_type, **arguments).text


# --- JSON


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{"a": "https://app.example/x"}', f'{{"a": "{GATE}/x"}}'),
        ('{"a": "//app.example/x"}', '{"a": "//gate.example/api/v1/proxy/x"}'),
        (
            r'{"a": "https:\/\/app.example\/x"}',
            r'{"a": "https:\/\/gate.example\/api\/v1\/proxy\/x"}',
        ),
        ('{"a": "see https://app.example/x"}', '{"a": "see https://app.example/x"}'),
        (r'{"a": "\"https://app.example/x"}', r'{"a": "\"https://app.example/x"}'),
        ('{"a": "/x", "b": 1.50e+3, "a": null}', '{"a": "/x", "b": 1.50e+3, "a": null}'),
        (')]}\'\n{"a": "https://app.example/"}', f')]}}\'\n{{"a": "{GATE}/"}}'),
        ('\ufeff["https://app.example"]', '\ufeff["https://gate.example"]'),
        ('{"a":"https://app.example/1"}\n{"a":2}\n', f'{{"a":"{GATE}/1"}}\n{{"a":2}}\n'),
        ('cb({"a": "see https://app.example/"})', f'cb({{"a": "see {GATE}/"}})'),
        (')]}\',\n["https://app.example/"]', f')]}}\',\n["{GATE}/"]'),
        ("{url: 'see https://app.example/'}", f"{{url: 'see {GATE}/'}}"),
        ("{\n'u': 'https://app.example/'}", f"{{\n'u': '{GATE}/'}}"),
        ("", ""),
    ],
)
def test_json_changes_only_strings_that_are_addresses_of_the_upstream(
    source: str, expected: str
) -> None:
    assert body("json", source, "application/json") == expected


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.just("https://app.example/é"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_json_stays_json_with_only_its_addresses_mapped(value: Any, ascii_: bool) -> None:
    def mapped(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: mapped(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [mapped(inner) for inner in item]
        return f"{GATE}/é" if item == "https://app.example/é" else item

    source = json.dumps(value, ensure_ascii=ascii_)
    data = source.encode("utf-8", "surrogatepass")
    out = run(bundled_plugin("json"), data, content_type="application/json").body
    assert json.loads(out.decode("utf-8", "surrogatepass")) == mapped(value)


def test_json_is_known_by_its_beginning() -> None:
    for guard in ("while(1);", "for (;;);", ")]}'\n", "\ufeff", "  \n"):
        source = guard + '{"a": "see https://app.example/", "b": "https://app.example/"}'
        expected = source.replace('"https://app.example', f'"{GATE}')
        assert body("json", source, "application/json") == expected


def test_rooted_strings_of_json_are_mapped_where_options_name_them() -> None:
    options = {"keys": ["*_url"], "pointers": ["/items/*/link"]}
    source = '{"next_url": "/n", "items": [{"link": "/l", "text": "/t"}], "self_url": "//x/y"}'
    out = body("json-rooted", source, "application/json", options=options)
    assert json.loads(out) == {
        "next_url": "/api/v1/proxy/n",
        "items": [{"link": "/api/v1/proxy/l", "text": "/t"}],
        "self_url": "//x/y",
    }
    assert body("json-rooted", source, "application/json", options=options, mount="root") == source
    assert body("json-rooted", source, "application/json") == source


# --- manifests, playlists, XML


def test_a_web_manifest_stays_under_the_mount() -> None:
    manifest = {
        "name": "/not an address",
        "start_url": "/app?x=1",
        "scope": "/",
        "icons": [{"src": "/i.png", "sizes": "/"}, {"src": "rel.png"}],
        "shortcuts": [{"url": "/s", "icons": [{"src": "/si.png"}]}],
        "share_target": {"action": "/share"},
    }
    out = json.loads(body("webmanifest", json.dumps(manifest), "application/manifest+json"))
    assert out["name"] == "/not an address"
    assert out["start_url"] == "/api/v1/proxy/app?x=1"
    assert out["scope"] == "/api/v1/proxy/"
    assert [icon["src"] for icon in out["icons"]] == ["/api/v1/proxy/i.png", "rel.png"]
    assert out["icons"][0]["sizes"] == "/"
    assert out["shortcuts"][0]["icons"][0]["src"] == "/api/v1/proxy/si.png"
    assert out["share_target"]["action"] == "/api/v1/proxy/share"


def test_a_playlist_changes_only_its_addresses() -> None:
    source = (
        '#EXTM3U\r\n#EXT-X-KEY:METHOD=AES-128,URI="/key?a=1,b",IV=0x1\r\n# URI="/comment"\r\n'
        "#EXTINF:5,/title\r\n  /seg1.ts  \r\nhttps://app.example/seg2.ts\r\nseg3.ts\r\n\r\n"
        '#EXT-X-DATERANGE:ID="a",X-ASSET-URI="/ad.m3u8",X-COM="/x"\r\n'
    )
    expected = (
        source.replace('URI="/key', 'URI="/api/v1/proxy/key')
        .replace("/seg1.ts", "/api/v1/proxy/seg1.ts")
        .replace("https://app.example", GATE)
        .replace("/ad.m3u8", "/api/v1/proxy/ad.m3u8")
    )
    assert body("hls", source, "application/vnd.apple.mpegurl") == expected


def test_a_playlist_that_begins_with_a_mark_is_read_from_its_first_line() -> None:
    expected = '\ufeff#EXT-X-MAP:URI="/api/v1/proxy/a"\n/api/v1/proxy/b\n'
    source = expected.replace("/api/v1/proxy", "")
    assert body("hls", source, "application/x-mpegurl") == expected
    assert body("hls", "\ufeff/a\n", "application/x-mpegurl") == "\ufeff/api/v1/proxy/a\n"


def test_a_manifest_of_segments_resolves_against_its_base() -> None:
    source = (
        "<MPD><BaseURL>https://cdn.example/v/</BaseURL><Period>"
        '<SegmentTemplate media="/m/$Number$"/></Period></MPD>'
    )
    assert body("dash", source, "application/dash+xml") == source
    source = '<MPD><Location>/l.mpd</Location><S sourceURL="/a&amp;b"/></MPD>'
    expected = source.replace("/l.mpd", "/api/v1/proxy/l.mpd").replace("/a&", "/api/v1/proxy/a&")
    assert body("dash", source, "application/dash+xml") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<a href="/x"/>', '<a href="/api/v1/proxy/x"/>'),
        ("<a href='/x&apos;'/>", "<a href='/api/v1/proxy/x&apos;'/>"),
        (
            '<a xlink:href="/x" xmlns:url="/ns"/>',
            '<a xlink:href="/api/v1/proxy/x" xmlns:url="/ns"/>',
        ),
        ("<link> /x </link>", "<link> /api/v1/proxy/x </link>"),
        ("<link><![CDATA[/x]]></link>", "<link><![CDATA[/api/v1/proxy/x]]></link>"),
        ("<link>/x<b/></link>", "<link>/x<b/></link>"),
        ("<id>https://app.example/1</id>", "<id>https://app.example/1</id>"),
        ("<guid>https://app.example/1</guid>", "<guid>https://app.example/1</guid>"),
        ("<!-- <a href='/x'/> -->", "<!-- <a href='/x'/> -->"),
        ("<![CDATA[<a href='/x'/>]]>", "<![CDATA[<a href='/x'/>]]>"),
        (
            '<f xml:base="https://other.example/"><a href="/x"/></f><a href="/x"/>',
            '<f xml:base="https://other.example/"><a href="/x"/></f><a href="/api/v1/proxy/x"/>',
        ),
        (
            '<?xml-stylesheet href="/s.css"?><x/>',
            '<?xml-stylesheet href="/api/v1/proxy/s.css"?><x/>',
        ),
        ("<style>a{b:url(/x)}</style>", "<style>a{b:url(/api/v1/proxy/x)}</style>"),
        ('<p style="b:url(&quot;/x&quot;)"/>', '<p style="b:url(&quot;/api/v1/proxy/x&quot;)"/>'),
        (
            '<!DOCTYPE x [<!ENTITY e "<a href=\'/x\'>">]><a href="/y"/>',
            '<!DOCTYPE x [<!ENTITY e "<a href=\'/x\'>">]><a href="/api/v1/proxy/y"/>',
        ),
        (
            '<a href="/x" xml:base="/y/" src="/z"/>',
            '<a href="/api/v1/proxy/x" xml:base="/api/v1/proxy/y/" src="/api/v1/proxy/z"/>',
        ),
        ("a < b <a href='/x'", "a < b <a href='/x'"),
        ("<a href='/x\ny'/>", "<a href='/api/v1/proxy/x\ny'/>"),
        ("<a href='https\n://app.example/x'/>", "<a href='https\n://app.example/x'/>"),
        ("<a id='url(/x)' fill='url(/y)'/>", "<a id='url(/x)' fill='url(/api/v1/proxy/y)'/>"),
    ],
)
def test_xml_is_read_by_structure(source: str, expected: str) -> None:
    assert body("xml", source, "application/xml") == expected


@given(st.text("<>ab/=\"'!-[]?& x", max_size=60))
def test_broken_xml_loses_nothing(source: str) -> None:
    assert len(body("xml", source, "text/xml")) >= len(source)


@given(st.binary(max_size=120))
def test_xml_without_addresses_is_identical(data: bytes) -> None:
    if b"=" not in data and b"<l" not in data.lower():
        assert run(bundled_plugin("xml"), data, content_type="text/xml").body == data


def test_xhtml_knows_srcset_and_refresh() -> None:
    source = (
        '<html><meta http-equiv="Refresh" content="3; url=/r"/>'
        '<img srcset="/a 1x, /b 2x"/><form action="/f"/></html>'
    )
    expected = source.replace("=/r", "=/api/v1/proxy/r").replace('"/f', '"/api/v1/proxy/f')
    expected = expected.replace("/a 1x, /b", "/api/v1/proxy/a 1x, /api/v1/proxy/b")
    assert body("svg", source, "application/xhtml+xml") == expected


# --- the examples


def test_the_theme_swaps_colours_at_any_cut() -> None:
    options = {"colours": {"#ff0000": "#aa0044", "red": "blue"}}
    source = "a{color:#FF0000;b:red;c:red-ish;d:#ff00001}"
    expected = "a{color:#aa0044;b:blue;c:red-ish;d:#ff00001}"
    assert body("css-theme", source, "text/css", options=options) == expected


def test_the_mask_hides_members_by_name() -> None:
    source = '{"password": "p", "deep": [{"api_token": 12}], "other": "x", "secret": null}'
    out = body("json-mask", source, "application/json")
    assert (
        out == '{"password": "***", "deep": [{"api_token": "***"}], "other": "x", "secret": null}'
    )


def test_the_header_policy_works_both_ways() -> None:
    options = {"set": {"X-A": "1"}, "request_set": {"X-B": "2"}}
    result = run(
        bundled_plugin("header-policy"), options=options, headers={"Server": "x", "X-C": "3"}
    )
    assert "Server" not in result.headers
    assert result.headers["X-A"] == "1"
    assert result.headers["X-C"] == "3"
    engine, _ = kit.engine_for(bundled_plugin("header-policy"), options)
    sent = CIMultiDict({"Accept": "*/*"})
    engine.prepare_request(kit.exchange(status=0), sent)
    assert sent["X-B"] == "2"


def test_the_outline_is_made_and_pages_without_headings_stay() -> None:
    plugin = bundled_plugin("outline")
    out = run(plugin, b"<body><h2>One & two</h2></body>", destination="document").text
    assert '<li><a href="#section-1">One &amp; two</a></li>' in out
    plain = b"<BODY ><p>No heading</BODY>"
    assert run(plugin, plain, destination="document").body == plain


def test_maintenance_responds_by_itself() -> None:
    options = {"paths": ["/reports/*"]}
    response = kit.early(bundled_plugin("maintenance"), "https://app.example/reports/1", options)
    assert response is not None
    assert response.status == 503
    assert kit.early(bundled_plugin("maintenance"), "https://app.example/x", options) is None


def test_the_message_log_passes_every_message(caplog: pytest.LogCaptureFixture) -> None:
    plugin = bundled_plugin("websocket-log")
    with caplog.at_level(logging.INFO):
        assert kit.message(plugin, "secret words") == "secret words"
        assert kit.message(plugin, b"\0\1") == b"\0\1"
    assert "to_browser text, 12 long" in caplog.text
    assert "secret words" not in caplog.text


@pytest.mark.parametrize("direction", ["to_upstream", "to_browser", "both"])
def test_messages_carry_the_addresses_of_the_side_that_reads_them(
    direction: Literal["to_upstream", "to_browser", "both"],
) -> None:
    plugin = bundled_plugin("websocket-addresses")
    options = {"direction": direction}

    def sent(text: str | bytes, to: Literal["to_upstream", "to_browser"]) -> str | bytes | None:
        return kit.message(plugin, text, options, direction=to)

    shown, own = f'{{"url": "{GATE}/a/b?c"}}', '{"url": "https://app.example/a/b?c"}'
    assert sent(shown, "to_upstream") == (shown if direction == "to_browser" else own)
    assert sent(own, "to_browser") == (own if direction == "to_upstream" else shown)
    assert sent(shown.encode(), "to_upstream") == shown.encode()
    assert sent("hello", "to_upstream") == "hello"


def test_plugins_import_only_the_public_api() -> None:
    allowed = ("zenzefi.plugins", "multidict", "pydantic", "bs4")
    for plugin_class, source in FOUND.values():
        if not source.endswith(".py"):
            continue

        tree = ast.parse(Path(source).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert name in allowed or top in sys.stdlib_module_names, (plugin_class, name)
