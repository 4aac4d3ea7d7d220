"""The mapper against an independent URL parser (ada) and by hand-picked rules."""

import re
from typing import Any

import ada_url
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.hosts import read_host
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.internal", 8080)
GATE = Origin("https", "gate.example", 443)
PREFIX = Mount(MountKind.PREFIX, GATE, "/api/v1/proxy")
PLAIN_PREFIX = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, Origin("http", "proxied.example", 80))
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
MOUNTS = [PREFIX, PLAIN_PREFIX, ROOT, CLIENT]
PAGE = "http://app.internal:8080/shop/cart/index.html?q=1"

prefixed = UrlMapper(UPSTREAM, PREFIX)
rooted = UrlMapper(UPSTREAM, ROOT)


def resolve(url: Any, base: Any) -> Any:
    try:
        return ada_url.URL(url, base=base)
    except (ValueError, UnicodeEncodeError):
        return None


def seen(url: Any, mount: Any) -> str:
    """The browser's address of a document of the upstream's."""
    u = ada_url.URL(url)
    return f"{mount.root[:-1]}{u.pathname}{u.search}"


@pytest.mark.parametrize(
    ("url", "mapped"),
    [
        ("/x", "/api/v1/proxy/x"),
        ("/", "/api/v1/proxy/"),
        ("/?a=b#c", "/api/v1/proxy/?a=b#c"),
        ("  /x\n", "/api/v1/proxy/x"),
        ("/a\tb", "/api/v1/proxy/ab"),
        ("\\x", "/api/v1/proxy/x"),
        ("http://app.internal:8080/x", "https://gate.example/api/v1/proxy/x"),
        ("http://app.internal:8080", "https://gate.example/api/v1/proxy/"),
        ("http://app.internal:8080?x", "https://gate.example/api/v1/proxy/?x"),
        ("HTTP://APP.Internal:8080/x", "HTTPS://gate.example/api/v1/proxy/x"),
        ("http:\\\\app.internal:8080\\x", "https://gate.example/api/v1/proxy/x"),
        ("http:////app.internal:8080/x", "https://gate.example/api/v1/proxy/x"),
        ("//app.internal:8080/x", "//gate.example/api/v1/proxy/x"),
        ("/\\app.internal:8080/x", "//gate.example/api/v1/proxy/x"),
        ("http://%61pp.internal:8080/x", "https://gate.example/api/v1/proxy/x"),
        ("http://ａｐｐ.internal:08080/x", "https://gate.example/api/v1/proxy/x"),
        ("http://me:pw@app.internal:8080/x", "https://me:pw@gate.example/api/v1/proxy/x"),
        ("ws://app.internal:8080/live", "wss://gate.example/api/v1/proxy/live"),
        ("../../../x", "/api/v1/proxy/x"),
        ("../../%2e%2E/x?y", "/api/v1/proxy/x?y"),
        ("a/../../../../x", "/api/v1/proxy/x"),
        ("/../x", "/api/v1/proxy/x"),
        ("/a/../../x", "/api/v1/proxy/x"),
        ("http://app.internal:8080/../x", "https://gate.example/api/v1/proxy/x"),
        ("http:x.html", "x.html"),
        ("http:/x.html", "/api/v1/proxy/x.html"),
        ("http:a:b", "./a:b"),
        ("https:other.example/x", "https://other.example/x"),
        ("/api/v1/proxy/api/v1/proxy/x", "/api/v1/proxy/x"),
        ("http://app.internal:8080/api/v1/proxy/x", "https://gate.example/api/v1/proxy/x"),
        ("/api/v1/proxy/../../../x", "/api/v1/proxy/x"),
    ],
)
def test_an_address_of_the_upstream_goes_under_the_prefix(url: str, mapped: str) -> None:
    assert prefixed.map(url, PAGE) == mapped
    assert prefixed.map(mapped, PAGE) == mapped


@pytest.mark.parametrize(
    "url",
    [
        "",
        "#top",
        " #top",
        "?page=2",
        "x.html",
        "./x.html",
        "../x.html",
        "../../x.html",
        "a/b/../c",
        "a..b/x",
        "x/http://app.internal:8080/y",
        "?next=http://app.internal:8080/",
        "mailto:me@app.internal",
        "javascript:go('/x')",
        "data:text/plain,/x",
        "blob:http://app.internal:8080/1-2",
        "about:blank",
        "tel:+1",
        "https://app.internal:8080/x",
        "http://app.internal/x",
        "http://app.internal:8081/x",
        "http://app.internal.evil:8080/x",
        "http://app.internal:8080@evil/x",
        "http://other/?http://app.internal:8080/",
        "//cdn.example/x.js",
        "https://cdn.example/x.js",
        "http://[::1",
        "http://app.internal:99999/",
        "/api/v1/proxy/x",
        "/api/v1/proxy",
        "/api/v1/proxy?x",
        "https://gate.example/api/v1/proxy/x",
    ],
)
def test_anything_else_stays_the_very_same_under_the_prefix(url: str) -> None:
    assert prefixed.map(url, PAGE) is url


def test_a_path_that_only_looks_like_the_prefix_is_mapped() -> None:
    assert prefixed.map("/api/v1/proxyx", PAGE) == "/api/v1/proxy/api/v1/proxyx"


@pytest.mark.parametrize(
    "url", ["/x", "x", "../../../x", "/\tx", "//cdn.example/", "\\x", "http:x"]
)
def test_in_a_root_mount_of_the_same_scheme_relative_addresses_stay(url: str) -> None:
    assert rooted.map(url, PAGE) is url


@pytest.mark.parametrize(
    ("url", "mapped"),
    [
        ("http://app.internal:8080/x", "http://proxied.example/x"),
        ("http://app.internal:8080", "http://proxied.example"),
        ("//app.internal:8080/x", "//proxied.example/x"),
    ],
)
def test_in_a_root_mount_absolute_addresses_change_their_origin(url: str, mapped: str) -> None:
    assert rooted.map(url, PAGE) == mapped
    assert rooted.map(mapped, PAGE) is mapped


def test_a_scheme_alone_is_the_document_wherever_it_is_seen() -> None:
    for page in ("http://app.internal:8080/dir/page?q=1#f", "http://app.internal:8080"):
        mapper = UrlMapper(UPSTREAM, Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000)))
        tail = page[len("http://app.internal:8080") :].partition("#")[0] or "/"
        assert mapper.map("http:", page) == "https://127.0.0.1:61000" + tail
        assert mapper.map("http:#x", page) == "#x"


def test_a_declared_alias_is_the_upstream() -> None:
    mapper = UrlMapper(UPSTREAM, PREFIX, [Origin("https", "www.shop.example", 443)])
    assert mapper.map("https://www.shop.example/x", PAGE) == "https://gate.example/api/v1/proxy/x"
    assert mapper.map("https://shop.example/x", PAGE) == "https://shop.example/x"


def test_references_below_a_foreign_base_stay() -> None:
    base = "https://cdn.example/static/"
    assert prefixed.map("/x", base) == "/x"
    assert prefixed.map("../../x", base) == "../../x"
    assert prefixed.map("http://app.internal:8080/x", base) == "https://gate.example/api/v1/proxy/x"
    assert prefixed.map("//app.internal:8080/x", "http://cdn.example/") == (
        "https://gate.example/api/v1/proxy/x"
    )


def test_references_of_a_document_without_a_hierarchy_stay() -> None:
    assert prefixed.map("/x", "data:text/html,hello") == "/x"
    assert prefixed.map("http:x", "about:srcdoc") == "http:x"


@pytest.mark.parametrize(
    ("url", "back"),
    [
        ("https://gate.example/api/v1/proxy/x?y#z", "http://app.internal:8080/x?y#z"),
        ("https://GATE.example:443/api/v1/proxy/x", "http://app.internal:8080/x"),
        ("https://gate.example/api/v1/proxy", "http://app.internal:8080/"),
        ("https://gate.example", "http://app.internal:8080"),
        ("https://gate.example/", "http://app.internal:8080/"),
        ("https://gate.example/api/v1/proxy/api/v1/proxy/x", "http://app.internal:8080/x"),
        ("wss://gate.example/api/v1/proxy/x", "ws://app.internal:8080/x"),
        ("/api/v1/proxy/dav/x", "/dav/x"),
    ],
)
def test_what_the_browser_sends_is_mapped_back(url: str, back: str) -> None:
    assert prefixed.unmap(url) == back


@pytest.mark.parametrize(
    "url", ["https://gate.example/account", "https://evil.example/api/v1/proxy/x", "null", "", "x"]
)
def test_what_is_not_under_the_mount_is_not_mapped_back(url: str) -> None:
    assert prefixed.unmap(url) == url


def test_unmapping_in_a_root_mount() -> None:
    assert rooted.unmap("http://proxied.example/x") == "http://app.internal:8080/x"
    assert rooted.unmap("http://gate.example/x") == "http://gate.example/x"


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("x", "http://app.internal:8080/shop/cart/x"),
        ("../x?y#z", "http://app.internal:8080/shop/x?y#z"),
        ("/x", "http://app.internal:8080/x"),
        ("?y", "http://app.internal:8080/shop/cart/index.html?y"),
        ("", "http://app.internal:8080/shop/cart/index.html?q=1"),
        ("//cdn.example/a/../b", "http://cdn.example/b"),
        ("https:cdn.example", "https://cdn.example/"),
        ("/api/v1/proxy/x/", "http://app.internal:8080/x/"),
        ("https://gate.example/api/v1/proxy/x/", "http://app.internal:8080/x/"),
        ("http://[", None),
        ("data:,x", "data:,x"),
    ],
)
def test_a_base_is_resolved_in_the_upstreams_view(url: str, absolute: str | None) -> None:
    assert prefixed.resolve(url, PAGE) == absolute


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_the_host_parser_is_found_for_numeric_and_v6_upstreams(mount: Any) -> None:
    mapper = UrlMapper(Origin("http", "127.0.0.1", 9000), mount)
    for spelling in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.01", "127.0.0.1."):
        assert mapper.map(f"http://{spelling}:9000/x", "http://127.0.0.1:9000/") == (
            f"{mount.root}x"
        )
    mapper = UrlMapper(Origin("http", "[::1]", 9000), mount)
    assert mapper.map("http://[0:0::0:1]:9000/x", "http://[::1]:9000/") == f"{mount.root}x"


# --- properties, with ada as the oracle -------------------------------------------------------

atoms = st.sampled_from(
    [
        *"/\\.:?#@%&= \t\nab",
        "..",
        "../",
        "/..",
        "%2e",
        "%2E%2e/",
        "//",
        "http:",
        "https:",
        "HTTP://",
        "http://",
        "https://",
        "ws://",
        "app.internal",
        "APP.internal",
        "%61pp.internal",
        ":8080",
        ":08080",
        ":80",
        "gate.example",
        "cdn.example",
        "user:pw@",
        "/api/v1/proxy",
        "/api/v1/proxy/",
        "mailto:",
        "x.html",
        "é",
        "\u3002",
        "[::1]",
        "\x00",
        "\x1f",
    ]
)
urls = st.lists(atoms, max_size=9).map("".join)
hostile = st.one_of(urls, st.text(max_size=12))
pages = st.sampled_from(
    [
        PAGE,
        "http://app.internal:8080/",
        "http://app.internal:8080/a/b/c/d/",
        "http://app.internal:8080/x?http://y/",
        "http://cdn.example/x/y",
        "https://cdn.example/x/y",
    ]
)


@settings(max_examples=800, deadline=None)
@given(hostile, pages, st.sampled_from(MOUNTS))
@example("./api/v1/proxy", "http://app.internal:8080/", PREFIX)
@example("http:/\\app.internal:8080", PAGE, PREFIX)
@example("http: /", PAGE, PREFIX)
@example("/\t/cdn.example/x", PAGE, PREFIX)
def test_a_mapped_address_resolves_to_the_same_resource_behind_the_gate(
    url: Any, page: Any, mount: Any
) -> None:
    mapper = UrlMapper(UPSTREAM, mount)
    mapped = mapper.map(url, page)
    want = resolve(url, page)
    where = seen(page, mount) if page.startswith(str(UPSTREAM)) else page
    got = resolve(mapped, where)
    if want is None:
        return
    assert got is not None
    if want.origin in (str(UPSTREAM), "ws://app.internal:8080"):
        parts = re.fullmatch(r"\w+://([^@/]*@)?[^/]*(/.*)", want.href, re.S)
        assert parts is not None
        userinfo, path = parts.groups()
        while mount.prefix and re.match(re.escape(mount.prefix) + r"(?:[/?#]|\Z)", path):
            path = re.sub("^(?!/)", "/", path[len(mount.prefix) :])  # the upstream put it there
        expected = f"{got.protocol}//{userinfo or ''}{mount.public.authority}{mount.prefix}"
        href = got.href
        while mount.prefix and re.match(re.escape(expected + mount.prefix) + r"(?:[/?#]|\Z)", href):
            href = expected + href[len(expected + mount.prefix) :]  # what is relative may double it
        # The upstream's root may be spelled with the mount's own final slash or without.
        assert href in (expected + path, expected + re.sub("^/", "", path))
        assert href == expected + path or path[1:2] in ("", "?", "#")
        assert got.protocol.rstrip("s:") == want.protocol.rstrip("s:")
        assert got.protocol.endswith("s:") is (mount.public.scheme == "https")
    else:
        assert re.sub("^https?", "", got.href) == re.sub("^https?", "", want.href)
        if not re.match(r"[\x00-\x20]*[/\\]", url):
            assert got.href == want.href or page.startswith(str(UPSTREAM))


@settings(max_examples=800, deadline=None)
@given(hostile, pages, st.sampled_from(MOUNTS))
def test_mapping_is_idempotent(url: Any, page: Any, mount: Any) -> None:
    mapper = UrlMapper(UPSTREAM, mount)
    once = mapper.map(url, page)
    assert mapper.map(once, page) == once


@settings(max_examples=500, deadline=None)
@given(hostile, pages, st.sampled_from(MOUNTS))
def test_no_input_makes_the_mapper_raise(url: Any, page: Any, mount: Any) -> None:
    mapper = UrlMapper(UPSTREAM, mount)
    mapper.unmap(url)
    mapper.resolve(url, page)
    assert isinstance(mapper.map("/x", url), str)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.lists(
            st.sampled_from([*"aZ0.%x-_", "é", "ß", "。", "%C3%A9", "xn--", "0x", "256", "☃"]),
            min_size=1,
            max_size=8,
        ).map("".join),
        st.ip_addresses(v=6).map(lambda a: f"[{a}]"),
        st.integers(0, 2**33).map(str),
    )
)
def test_hosts_are_read_as_the_oracle_reads_them(host: Any) -> None:
    try:
        want = ada_url.URL(f"http://{host}/").hostname
    except ValueError:
        return
    assert read_host(host) == want or host.isascii() is False or "xn--" in host
