"""Headers and addresses from outside take time in proportion to their length."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kit.linear_work import MAPPER, MOUNT, PAGE, UPSTREAM, assert_linear, repeated
from zenzefi import gate_cookies
from zenzefi.http import target
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.i18n import negotiate
from zenzefi.observability.logs import Scrubber
from zenzefi.proxy import unmounted_requests
from zenzefi.proxy.headers import request, response
from zenzefi.rewriting import charset, codecs, csp, sniff, validators
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import TABLE, map_headers
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset

VIEW = View(PAGE, MAPPER, MOUNT)
TOKEN = "t" * 64
POLICY = request.RequestPolicy.build(UPSTREAM, None, None)
IDENTITY = request.Identity("1", "2", "127.0.0.1", "id")


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
    "unmounted request": lambda v: unmounted_requests.origin_page(
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


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_header_or_address_takes_linear_work(reader: str) -> None:
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
def test_a_header_or_address_of_mixed_pieces_takes_linear_work(
    reader: str, unit: str, before: str, after: str
) -> None:
    assert_linear(READERS[reader], repeated(before, unit, after), 32 * 1024)


def test_a_head_full_of_addresses_takes_linear_work() -> None:
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
def test_long_numbers_and_hosts_are_parsed(url: str) -> None:
    assert isinstance(MAPPER.map(url, PAGE), str)
    assert map_headers([("Location", url), ("Content-Security-Policy", f"img-src {url}")], VIEW)
    policy = "img-src app.internal:" + "8" * 5000
    assert map_headers([("Content-Security-Policy", policy)], VIEW)
