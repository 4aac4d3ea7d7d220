import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.request import (
    REQUEST_RULES,
    Identity,
    RequestPolicy,
    request_headers,
)
from zenzefi.proxy.headers.response import (
    RESPONSE_RULES,
    for_one_browser,
    private_cache_control,
    response_headers,
)
from zenzefi.rewriting.headers import TABLE
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "up.internal", 8080)
MOUNT = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
CLIENT_IDENTITY = Identity("user-1", "token-1", "203.0.113.9", "request-1")


TOKEN = "T" * 64
PLAIN = RequestPolicy(UPSTREAM)
PUBLIC = RequestPolicy(UPSTREAM, is_public=True)


def sent(
    *pairs: Any,
    policy: Any = PLAIN,
    mount: Any = MOUNT,
    identity: Any = CLIENT_IDENTITY,
    bodiless: bool = True,
) -> Any:
    return request_headers(
        list(pairs),
        policy,
        mount,
        identity,
        UrlMapper(UPSTREAM, mount),
        is_bodiless=bodiless,
        token=TOKEN,
    )


def named(pairs: Any, name: bytes) -> Any:
    return [value for key, value in pairs if key.lower() == name]


SPELLINGS = st.sampled_from(["x-user-id", "x-token-id", "x-forwarded-for", "x-access-token"])


@given(SPELLINGS, st.lists(st.sampled_from("-_. ~!"), min_size=2, max_size=2), st.booleans())
def test_no_spelling_of_an_identity_header_reaches_the_upstream(
    name: str, separators: Any, upper: Any
) -> None:
    first, second, *rest = name.split("-")
    spelled = first + separators[0] + second + separators[1] + "-".join(rest)
    spelled = spelled.upper() if upper else spelled
    pairs = sent((spelled.encode(), b"forged"), (b"A", b"kept"))
    assert b"forged" not in [value for _, value in pairs]
    assert named(pairs, b"a") == [b"kept"]


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-User",
        b"X_Forwarded_Email",
        b"X-Forwarded-Client-Cert",
        b"x-auth-request-groups",
        b"X.Auth.Request.User",
        b"Remote-User",
        b"remote_user",
        b"X-SSL-Client-Verify",
        b"Client-IP",
        b"CF_Connecting_IP",
    ],
)
def test_headers_of_a_reverse_proxy_are_dropped_if_a_browser_sends_them(name: bytes) -> None:
    assert b"forged" not in [value for _, value in sent((name, b"forged"))]


@pytest.mark.parametrize(
    "name",
    [
        b"X-Original-URL",
        b"x_rewrite_url",
        b"X-Original-URI",
        b"X-Original-Host",
        b"X-Forwarded-Uri",
        b"X-Host",
    ],
)
def test_no_routing_header_reaches_the_upstream(name: bytes) -> None:
    assert b"/admin" not in [value for _, value in sent((name, b"/admin"))]


def test_hop_by_hop_headers_and_those_that_connection_names_stay_here() -> None:
    pairs = sent(
        (b"Connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"5"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"x"),
        (b"Accept", b"*/*"),
        (b"accept", b"text/html"),
    )
    names = [name.lower() for name, _ in pairs]
    assert not {b"connection", b"x-private", b"keep-alive", b"te", b"upgrade"} & set(names)
    assert not {b"transfer-encoding", b"content-length", b"proxy-authorization"} & set(names)
    assert named(pairs, b"accept") == [b"*/*", b"text/html"]


def test_connection_cannot_take_the_gates_own_headers_out() -> None:
    pairs = sent((b"Connection", b"X-User-Id, Host, Cookie, X-Forwarded-For"), (b"Cookie", b"a=1"))
    assert named(pairs, b"x-user-id") == [b"user-1"]
    assert named(pairs, b"host") == [b"up.internal:8080"]


def test_the_gate_sends_the_client_identity_and_address() -> None:
    assert named(sent(), b"forwarded") == [b"for=203.0.113.9"]
    pairs = sent(policy=PUBLIC)
    assert named(pairs, b"x-forwarded-for") == [b"203.0.113.9"]
    assert named(pairs, b"x-forwarded-proto") == [b"https"]
    assert named(pairs, b"x-forwarded-host") == [b"gate.example"]
    assert named(pairs, b"x-forwarded-prefix") == [b"/api/v1/proxy"]
    assert named(pairs, b"forwarded") == [b"for=203.0.113.9;host=gate.example;proto=https"]
    six = sent(identity=Identity("u", "t", "2001:db8::1", "r"), mount=CLIENT, policy=PUBLIC)
    assert named(six, b"forwarded") == [b'for="[2001:db8::1]";host="127.0.0.1:61000";proto=https']
    assert named(six, b"x-forwarded-prefix") == []


def test_basic_auth_of_the_upstream_replaces_the_browsers_authorization() -> None:
    policy = RequestPolicy.build(UPSTREAM, "user", "pässword")
    pairs = sent((b"Authorization", b"Bearer x"), (b"authorization", b"y"), policy=policy)
    assert named(pairs, b"authorization") == [b"Basic dXNlcjpww6Rzc3dvcmQ="]
    assert named(sent((b"Authorization", b"Bearer x")), b"authorization") == [b"Bearer x"]


def test_addresses_of_the_mount_become_the_upstreams() -> None:
    pairs = sent(
        (b"Origin", b"https://gate.example"),
        (b"Referer", b"https://gate.example/api/v1/proxy/a?b=%zz"),
        (b"Destination", b"https://gate.example/api/v1/proxy/c"),
    )
    assert named(pairs, b"origin") == [b"http://up.internal:8080"]
    assert named(pairs, b"referer") == [b"http://up.internal:8080/a?b=%zz"]
    assert named(pairs, b"destination") == [b"http://up.internal:8080/c"]
    htmx = sent((b"HX-Current-URL", b"https://gate.example/api/v1/proxy/a?token=" + TOKEN.encode()))
    assert named(htmx, b"hx-current-url") == [b"http://up.internal:8080/a"]
    foreign = sent((b"Origin", b"https://evil.example"), (b"Referer", b"https://evil.example/x"))
    assert named(foreign, b"origin") == [b"https://evil.example"]
    assert named(foreign, b"referer") == [b"https://evil.example/x"]


def test_no_order_to_a_server_in_front_of_the_gate_passes() -> None:
    pairs = response_headers(
        [
            (b"X-Accel-Redirect", b"/etc"),
            (b"X-Sendfile", b"/etc/passwd"),
            (b"Trailer", b"X"),
            (b"Connection", b"x-a"),
            (b"X-A", b"1"),
            (b"X-B", b"2"),
            (b"x-b", b"3"),
        ],
        UPSTREAM,
        MOUNT,
    )
    assert pairs == [(b"X-B", b"2"), (b"x-b", b"3")]
    dropped = {row.name.lower() for row in TABLE if row.verb == "drop"}
    assert {"alt-svc", "strict-transport-security"} <= dropped


@pytest.mark.parametrize(
    ("received", "sent"),
    [
        (b"public, max-age=31536000, immutable", b"max-age=31536000, immutable, private"),
        (b"max-age=60", b"max-age=60, private"),
        (b"Public", b"private"),
        (b"s-maxage=600, max-age=60", b"max-age=60, private"),
        (b'max-age=60,private="Set-Cookie, X-A"', b'max-age=60,private="Set-Cookie, X-A", private'),
        (b'public, no-cache="a\\", public"', b'no-cache="a\\", public", private'),
        (b"", b"private"),
        # A response that shared caches do not store passes unchanged.
        (b"private,max-age=60", b"private,max-age=60"),
        (b"no-store", b"no-store"),
        (b"public,  no-cache", b"public,  no-cache"),
    ],
)
def test_no_shared_cache_may_store_a_response(received: bytes, sent: bytes) -> None:
    assert private_cache_control(received) == sent
    assert private_cache_control(sent) == sent


def test_a_response_without_cache_control_becomes_private() -> None:
    assert for_one_browser([(b"A", b"1")]) == [(b"A", b"1"), (b"Cache-Control", b"private")]
    assert for_one_browser([(b"cache-control", b"public")]) == [(b"cache-control", b"private")]
    pairs = [(b"Surrogate-Control", b"max-age=9"), (b"CDN-Cache-Control", b"max-age=9")]
    assert response_headers(pairs, UPSTREAM, MOUNT) == []


@pytest.mark.parametrize("name", [b"Content-Length ", b"X A", b"X-\xe9", b"", b"X:"])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="not a token"):
        response_headers([(name, b"5")], UPSTREAM, MOUNT)


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b"])
def test_a_value_that_would_split_the_response_is_rejected(value: bytes) -> None:
    with pytest.raises(ValueError, match="control character"):
        response_headers([(b"X-A", value)], UPSTREAM, MOUNT)


def test_the_tables_are_readable_one_row_per_header_each_with_its_reason() -> None:
    for table in (REQUEST_RULES, RESPONSE_RULES):
        names = [rule.name for rule in table]
        assert len(names) == len(set(names))
        for rule in table:
            assert re.fullmatch(r"[a-z0-9-]+\*?", rule.name)
            assert len(rule.reason) > 12
    both = {rule.name for rule in RESPONSE_RULES} & {row.name.lower() for row in TABLE}
    assert both == set()


@pytest.mark.parametrize(
    ("declared", "at_client"),
    [
        ("text/html; charset=utf-8", "text/html;charset=utf-8"),
        ("text/html;\t Charset=UTF-8", "text/html;Charset=UTF-8"),
        ("text/plain; format=flowed; charset=utf-8", "text/plain; format=flowed;charset=utf-8"),
        ("text/html;charset=utf-8", "text/html;charset=utf-8"),
        ('multipart/mixed; boundary="; x"', 'multipart/mixed; boundary="; x"'),
        ("image/png", "image/png"),
    ],
)
def test_the_desktop_client_gets_a_charset_that_it_does_not_cut(
    declared: str, at_client: str
) -> None:
    pairs = [(b"Content-Type", declared.encode())]
    at = {mount: response_headers(pairs, UPSTREAM, mount) for mount in (CLIENT, MOUNT)}
    assert named(at[CLIENT], b"content-type") == [at_client.encode()]
    assert named(at[MOUNT], b"content-type") == [declared.encode()]
