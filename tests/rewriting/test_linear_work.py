"""Whatever reads foreign bytes takes time in proportion to them: headers, addresses, bodies.

Work is measured, not time: the processor time of the same call over inputs that grow fourfold.
Linear work grows fourfold too, quadratic work sixteenfold. Only a growth that is seen again and
again counts, and only of calls that take long enough to be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi import gate_cookies
from zenzefi.http import target
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.i18n import negotiate
from zenzefi.observability.logs import Scrubber
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy import unmounted_requests
from zenzefi.proxy.headers import request, response
from zenzefi.resources import bundled
from zenzefi.rewriting import charset, codecs, csp, sniff, validators
from zenzefi.rewriting.engine import Engine, Exchange
from zenzefi.rewriting.headers import TABLE, View, map_headers
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.internal", 8080)
MOUNT = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
PAGE = "http://app.internal:8080/shop/cart?q=1"
MAPPER = UrlMapper(UPSTREAM, MOUNT)
VIEW = View(PAGE, MAPPER, MOUNT)
TOKEN = "t" * 64
POLICY = request.RequestPolicy.build(UPSTREAM, None, None)
IDENTITY = request.Identity("1", "2", "127.0.0.1", "id")
FOURFOLD = 9.0
"""Between the growth of linear work and that of quadratic work."""
PER_CHARACTER = 3e-6
"""Seconds; what is quicker is not judged, for reading may become dearer once, beyond a limit."""

_T = TypeVar("_T", str, bytes)


def cpu(run: Callable[[_T], object], text: _T) -> float:
    start = time.thread_time()
    run(text)
    return time.thread_time() - start


def assert_linear(run: Callable[[_T], object], make: Callable[[int], _T], most: int) -> None:
    """``run(make(n))`` over n from ``most``/64 to ``most``: its work grows as n does."""
    size = most // 64
    before = cpu(run, make(size))
    while size < most:
        size *= 4
        text = make(size)
        after = cpu(run, text)
        if after > 0.02 + PER_CHARACTER * size and after > FOURFOLD * before:
            smaller = make(size // 4)
            for _ in range(3):
                before = max(before, cpu(run, smaller))
                after = min(after, cpu(run, text))
            assert after <= FOURFOLD * before, (
                f"{len(text)} characters took {after / before:.0f} times the work of a quarter"
            )
        before = after


def request_header(name: bytes) -> Callable[[str], object]:
    def run(value: str) -> object:
        raw = [(name, value.encode("latin-1", "replace"))]
        return request.request_headers(
            raw, POLICY, MOUNT, IDENTITY, MAPPER, is_bodiless=True, token=TOKEN
        )

    return run


def response_header(name: bytes) -> Callable[[str], object]:
    def run(value: str) -> object:
        raw = [(name, value.encode("latin-1", "replace").translate(None, b"\r\n\0"))]
        return response.for_one_browser(response.response_headers(raw, UPSTREAM, MOUNT))

    return run


def refused(call: Callable[[str], object]) -> Callable[[str], object]:
    """A refusal is a result too."""

    def run(text: str) -> object:
        try:
            return call(text)
        except AmbiguousRequest:
            return None

    return run


READERS: dict[str, Callable[[str], object]] = {
    **{row.name: lambda v, row=row: map_headers([(row.name, v)], VIEW) for row in TABLE},  # type: ignore[misc]
    "policy and runtime": lambda v: csp.permit([v], MOUNT.public, "n"),
    "If-None-Match": lambda v: validators.if_none_match(v, "0" * 8),
    "If-Match": lambda v: validators.if_match(v, "0" * 8),
    "If-Range": validators.if_range,
    "ETag": lambda v: validators.derive(v, "0" * 8),
    "Range": lambda v: validators.wants_whole(v, None, None),
    "Accept-Encoding": lambda v: (codecs.choose(v, ["gzip"]), codecs.forwardable(v)),
    "Content-Encoding": codecs.decoders,
    "Content-Type": lambda v: (charset.label(v), sniff.by_label(sniff.essence(v), "style", False)),
    "Accept-Language": negotiate,
    "Set-Cookie": response_header(b"set-cookie"),
    "Cache-Control": response_header(b"cache-control"),
    "Connection": response_header(b"connection"),
    **{
        f"request {name.decode()}": request_header(name)
        for name in (*request._REQUEST_MAPS, b"connection", b"x-anything")
    },
    "Cookie of the gate": lambda v: gate_cookies.values_of([v], gate_cookies.ACCESS),
    "stray": lambda v: unmounted_requests.origin_page(
        {"Referer": v}, "gate.example", has_cookie=False
    ),
    "log line": Scrubber(["secret"]),
    "map": lambda v: MAPPER.map(v, PAGE),
    "map as base": lambda v: MAPPER.map("x", v),
    "map from a base": lambda v: MAPPER.map("../x", PAGE + v),
    "unmap": MAPPER.unmap,
    "resolve": lambda v: MAPPER.resolve(v, PAGE),
    "is_own": MAPPER.is_own,
    "srcset": lambda v: map_srcset(v, lambda url: MAPPER.map(url, PAGE)),
    "refresh": lambda v: map_refresh(v, lambda url: MAPPER.map(url, PAGE)),
    "path": refused(target.check_path),
    "target": refused(lambda v: target.split_target(v, "gate.example")),
    "target under the prefix": lambda v: target.under_prefix(target.Target(v), MOUNT.prefix),
    "token parameter": lambda v: target.without_token(target.Target("/", v), TOKEN.__eq__),
}

# What opens, closes, separates, escapes and repeats in the syntaxes above.
UNITS = (
    *"<>\"'\\;,=(){}[]:/%&#@.-*~?! \ta0",
    "/api/v1/proxy",
    "\\api/v1/proxy",
    "https://gate.example/api/v1/proxy",
    "http://app.internal:8080",
    "//app.internal",
    "/..",
    "/%2e%2e",
    "%25",
    "a.",
    "-a",
    "xn--a",
    "\u00fc",
    '\\"',
    '"\\',
    "(a, ",
    "a, (",
    '; anchor="',
    '; imagesrcset="',
    '"url":"',
    '"url" ',
    "url= ",
    "0;url=",
    "'nonce-",
    "'sha256-",
    "script-src ",
    "*.a",
    "W/",
    '"~zs00000000"',
    "~zs",
    "q=0",
    "gzip,",
    ';charset="',
    "; charset = ",
    "token=",
    "&token=a",
    "zenzefi",
    "zup-",
    "; Path=/",
    "eyJ",
    "cookie ",
    "bearer ",
    "://a:",
)
PLACES = (
    "{}",
    "/api/v1/proxy{}",
    "http://app.internal:8080{}",
    "http://{}",
    '"{}',
    "<{}",
    "0;url={}",
)


def repeated(before: str, unit: str, after: str) -> Callable[[int], str]:
    return lambda size: before + unit * (size // len(unit)) + after


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_header_or_address_costs_what_it_is_long(reader: str) -> None:
    for place in PLACES:
        before, _, after = place.partition("{}")
        for unit in UNITS:
            assert_linear(READERS[reader], repeated(before, unit, after), 32 * 1024)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(sorted(READERS)),
    st.lists(st.sampled_from(UNITS), min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from(UNITS), max_size=2).map("".join),
    st.lists(st.sampled_from(UNITS), max_size=2).map("".join),
)
@example("Link", "<", "", "")
@example("Link", '"\\', "", "")
@example("Location", "/api/v1/proxy", "", "")
@example("srcset", "(a, ", "a, ", "")
@example("request referer", "/api/v1/proxy", "https://gate.example", "/x")
def test_so_does_one_made_of_any_pieces(reader: str, unit: str, before: str, after: str) -> None:
    assert_linear(READERS[reader], repeated(before, unit, after), 32 * 1024)


def test_a_head_full_of_addresses_costs_what_it_is_long() -> None:
    """As many lines as the parser lets through, each as long as it lets through."""
    line = "https://gate.example" + "/api/v1/proxy" * 600

    def run(text: str) -> object:
        raw = [(name, text.encode()) for name in (b"referer", b"hx-current-url")] * 60
        return request.request_headers(
            raw, POLICY, MOUNT, IDENTITY, MAPPER, is_bodiless=True, token=TOKEN
        )

    assert_linear(run, lambda size: line[: max(20, size)], 8192)


@pytest.mark.parametrize(
    "url",
    [
        "http://app.internal:" + "0" * 5000 + "8080/x",
        "http://" + "9" * 5000 + "/x",
        "http://" + "\u00fc\u00df" * 30000 + "/x",
        "http://" + "a." * 30000 + "/x",
    ],
)
def test_no_number_and_no_host_is_too_long_to_be_read(url: str) -> None:
    assert isinstance(MAPPER.map(url, PAGE), str)
    assert map_headers([("Location", url), ("Content-Security-Policy", f"img-src {url}")], VIEW)
    policy = "img-src app.internal:" + "8" * 5000
    assert map_headers([("Content-Security-Policy", policy)], VIEW)


# --- bodies -------------------------------------------------------------------------------------

REGISTRY = Registry([bundled("plugins")], entry_points=False)
KINDS = {
    "text/html": (
        *("<a ", "<a", "<!--", "<!-", "<![CDATA[", "<!doctype ", "<script>", "</script", "<style>"),
        *("<svg>", "<math>", "<svg><style>", '<a href="', "<a href='/x' ", '<a title=">', "<a\n/"),
        *("<base href='a/'>", "<link href=x integrity=y>", "<meta http-equiv=refresh content=0 "),
        *('<img srcset="a, (', "(a, ", "&#0", "&amp", "&", "<p style='url(", "<?", "</", "<", "-"),
        *(
            "<table><svg><a>",
            "<script><!--<script>",
            "<iframe srcdoc='<a href=/x>'>",
            "=",
            "' ",
            '"',
        ),
        *("<a href=/api/v1/proxy/x>", "/api/v1/proxy", "<noscript>", "<template>", "<plaintext>"),
    ),
    "text/css": (
        *(
            "url(",
            "url('",
            'url("',
            "/*",
            "/**\t",
            "*",
            "@import ",
            "@import '",
            "image-set(",
            "\\",
        ),
        *("\\61", "src(", "((", "'", '"', "@namespace ", "-", "a-", "@", "/", "url(a)", ")", "{}"),
    ),
    "text/javascript": (
        *("app.internal", "//app.internal", "https://", "http:\\/\\/app.internal:8080", "\\", "/"),
        *("@app.internal", "a@", "%2f%2f", "\\u002f", "://", "http", "//u@"),
    ),
    "application/json": (
        *(
            "[",
            "{",
            '"',
            '"\\',
            '{"a":',
            "[[1],",
            "1,",
            "-",
            "1",
            "t",
            '"http://app.internal:8080/",',
        ),
        *(" ", "}", "]", ":", ",", '"a":"b",'),
    ),
    "image/svg+xml": (
        *("<a", "<a ", "<", "</", "<!--", "<![CDATA[", "<?", "<?xml-stylesheet ", "<!DOCTYPE ["),
        *("<a href='", "<a href='/x'>", "<g xml:base='a/'>", "<style>", "<style><![CDATA[", 'a="'),
        *("<a style='url(", " ", "'", '"', "]]>", "<use xlink:href='/x'/>", ":", "a:"),
    ),
    "application/dash+xml": (
        *("<BaseURL>a/</BaseURL>", "<P><BaseURL>a/</BaseURL>", "<BaseURL>", "<Location>", "<P>"),
        *("<Location> <![CDATA[x]]> ", "<SegmentTemplate media='/x'/>", "<BaseURL><![CDATA["),
    ),
    "application/rss+xml": ("<link>", "<link><![CDATA[", "<link>/x</link>", "<loc> ", "<![CDATA["),
    "application/xml": ("<loc>", "<loc><![CDATA[", "<!DOCTYPE", "<!DOCTYPE a '", "<loc>/x</loc>"),
    "application/vnd.apple.mpegurl": (
        *(
            "#",
            ",URI=",
            ':URI="',
            ',A-URI="',
            "A-",
            "a",
            "\n",
            "/x\n",
            '#EXT-X-KEY:URI="/x"\n',
            " ",
        ),
    ),
    "application/manifest+json": ('{"icons":[', '{"src":"/x"},', '{"start_url":"/x",'),
}


def run_body(kind: str, size: int) -> Callable[[bytes], bytes]:
    def run(body: bytes) -> bytes:
        exchange = Exchange(
            method="GET",
            url=PAGE,
            status=200,
            mapper=MAPPER,
            mount=MOUNT,
            destination="document" if kind == "text/html" else None,
            request_headers=CIMultiDictProxy(CIMultiDict()),
            response_headers=CIMultiDictProxy(CIMultiDict({"Content-Type": kind})),
        )
        rewrite = ENGINE.plan(exchange)
        assert rewrite is not None
        parts = [rewrite.feed(body[at : at + size]) for at in range(0, len(body), size)]
        return b"".join(parts) + rewrite.finish()

    return run


ENGINE = Engine(REGISTRY)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_a_body_costs_what_it_is_long(kind: str, size: int) -> None:
    run = run_body(kind, size)
    for unit in KINDS[kind]:
        for before in (
            "",
            "<r>" if "xml" in kind else "<!doctype html><p>" if "html" in kind else "",
        ):
            make = repeated(before, unit, "")
            assert_linear(run, lambda length, make=make: make(length).encode(), 128 * 1024)  # type: ignore[misc]


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(deadline=None, max_examples=15)
@given(st.data())
def test_so_does_one_made_of_any_elements(kind: str, data: Any) -> None:
    pieces = st.lists(st.sampled_from(KINDS[kind]), min_size=1, max_size=4).map("".join)
    make = repeated(data.draw(pieces), data.draw(pieces), data.draw(pieces))
    assert_linear(run_body(kind, 16384), lambda length: make(length).encode(), 64 * 1024)


@pytest.mark.parametrize(
    "body",
    [
        "<a href='&#" + "0" * 5000 + "47;x'><a href='&#" + "9" * 5000 + ";'>",
        "<script type=speculationrules>" + '{"a":' * 400 + "1" + "}" * 400 + "</script>",
        "<script type=importmap>" + '{"imports":' * 900 + "{}" + "}" * 900 + "</script>",
        "<a href='http://app.internal:" + "0" * 5000 + "8080/'>",
        "<meta http-equiv=content-security-policy content='img-src a:" + "8" * 5000 + "'>",
        "<base href='" + "a/" * 30000 + "'>" + "<link href=x integrity=y>" * 1000,
    ],
)
def test_no_content_makes_a_bundled_plugin_fail(body: str) -> None:
    before = sum(entry.statistics.errors for entry in REGISTRY.entries)
    run_body("text/html", 16384)(b"<!doctype html>" + body.encode())
    assert sum(entry.statistics.errors for entry in REGISTRY.entries) == before


def test_a_line_of_a_playlist_that_is_no_line_passes_and_the_next_one_is_mapped() -> None:
    kind, long = "application/vnd.apple.mpegurl", b"/" + b"a" * 200_000
    for size in (1000, 1 << 20):
        out = run_body(kind, size)(b"#EXTM3U\n/x\n" + long + b"\n/y\r\n/z")
        assert out == b"#EXTM3U\n/api/v1/proxy/x\n" + long + b"\n/api/v1/proxy/y\r\n/api/v1/proxy/z"


def test_alternative_bases_of_a_manifest_stand_beside_each_other() -> None:
    """ISO/IEC 23009-1, 5.6: each resolves against the parent's base; the first one is used."""
    body = (
        b"<MPD><BaseURL>a/b/</BaseURL><BaseURL>../../../c/</BaseURL><S media='../../../x'/></MPD>"
    )
    out = run_body("application/dash+xml", 7)(body)
    assert out == body.replace(b"../../../c/", b"/api/v1/proxy/c/")
