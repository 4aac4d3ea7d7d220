"""``UPSTREAM_VIEW``: an application never gets two stories about the address in the browser.

Frameworks compare ``Origin`` and ``Referer`` with the host that they take for theirs. Each reads
it from another header, so each of these comparisons must succeed in both views, at every mount.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.mounts import MOUNTS, UPSTREAMS
from zenzefi.origin import Mount, Origin
from zenzefi.proxy.headers.request import Identity, RequestPolicy, request_headers
from zenzefi.rewriting.urls import UrlMapper

IDENTITY = Identity("user-1", "token-1", "203.0.113.9", "request-1")
TOKEN = "T" * 64
NAMES_THE_GATE = ("x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix")


def arrived(
    mount: Mount, upstream: Origin, sent: dict[str, str], *, is_public: bool
) -> dict[str, str]:
    """The headers at the upstream, by their names in lower case."""
    pairs = request_headers(
        [(name.encode(), value.encode()) for name, value in sent.items()],
        RequestPolicy(upstream, is_public=is_public),
        mount,
        IDENTITY,
        UrlMapper(upstream, mount),
        is_bodiless=True,
        token=TOKEN,
    )
    out = {name.decode().lower(): value.decode() for name, value in pairs}
    assert len(out) == len(pairs)
    return out


def of_page(mount: Mount, path: str = "a?b") -> dict[str, str]:
    return {"Host": "x", "Origin": str(mount.public), "Referer": mount.root + path}


def own_origin(headers: dict[str, str], upstream: Origin, *, host: str, proto: str) -> str:
    """The origin that an application takes for its address, from the sources that it reads."""
    sources = {
        "host": headers["host"],
        "x-forwarded-host": headers.get("x-forwarded-host", headers["host"]),
        "forwarded": _part(headers["forwarded"], "host") or headers["host"],
    }
    schemes = {
        "connection": upstream.scheme,
        "x-forwarded-proto": headers.get("x-forwarded-proto", upstream.scheme),
        "forwarded": _part(headers["forwarded"], "proto") or upstream.scheme,
    }
    return f"{schemes[proto]}://{sources[host]}"


def _part(forwarded: str, name: str) -> str | None:
    found = re.search(rf'(?:^|;){name}="?([^;"]*)', forwarded)
    return found[1] if found else None


PLACES = st.tuples(st.sampled_from(MOUNTS), st.sampled_from(UPSTREAMS), st.booleans())


@given(
    PLACES,
    st.sampled_from(["host", "x-forwarded-host", "forwarded"]),
    st.sampled_from(["x-forwarded-proto", "forwarded"]),
)
def test_every_comparison_of_a_pages_origin_with_the_host_succeeds(
    place: tuple[Mount, Origin, bool], host: str, proto: str
) -> None:
    mount, upstream, is_public = place
    headers = arrived(mount, upstream, of_page(mount), is_public=is_public)
    own = own_origin(headers, upstream, host=host, proto=proto)
    assert headers["origin"] == own
    referer = urlsplit(headers["referer"])
    assert f"{referer.scheme}://{referer.netloc}" == own


@given(PLACES)
def test_an_application_that_compares_hosts_only_needs_no_scheme(
    place: tuple[Mount, Origin, bool],
) -> None:
    """Server actions of React frameworks, and the sockets of editors."""
    mount, upstream, is_public = place
    headers = arrived(mount, upstream, of_page(mount), is_public=is_public)
    for host in ("host", "x-forwarded-host", "forwarded"):
        own = own_origin(headers, upstream, host=host, proto="connection")
        assert urlsplit(headers["origin"]).netloc == urlsplit(own).netloc


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("upstream", UPSTREAMS, ids=str)
def test_the_private_view_never_names_the_gate(mount: Mount, upstream: Origin) -> None:
    sent = {**of_page(mount), "Destination": mount.root + "c", "HX-Current-URL": mount.root + "d"}
    forged = dict.fromkeys(NAMES_THE_GATE, "gate.example") | {"Forwarded": "host=gate.example"}
    headers = arrived(mount, upstream, sent | forged, is_public=False)
    assert not set(NAMES_THE_GATE) & set(headers)
    assert headers["host"] == upstream.authority
    assert headers["referer"] == f"{upstream}/a?b"
    assert headers["destination"] == f"{upstream}/c"
    assert headers["hx-current-url"] == f"{upstream}/d"
    assert headers["forwarded"] == "for=203.0.113.9"
    assert headers["x-forwarded-for"] == "203.0.113.9"
    if upstream.host != mount.public.host:
        assert mount.public.host not in " ".join(headers.values())


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("upstream", UPSTREAMS, ids=str)
def test_the_public_view_names_the_mount_and_leaves_origin_and_referer(
    mount: Mount, upstream: Origin
) -> None:
    sent = {**of_page(mount), "Destination": mount.root + "c", "HX-Current-URL": mount.root + "d"}
    headers = arrived(mount, upstream, sent, is_public=True)
    public = mount.public
    assert headers["host"] == headers["x-forwarded-host"] == public.authority
    assert headers["x-forwarded-proto"] == public.scheme
    assert headers.get("x-forwarded-prefix", "") == mount.prefix
    assert headers["origin"] == sent["Origin"]
    assert headers["referer"] == sent["Referer"]
    assert headers["hx-current-url"] == sent["HX-Current-URL"]
    # The target of a request has no prefix, and neither has the other resource that it names.
    assert headers["destination"] == f"{public}/c"
    assert headers["x-forwarded-for"] == "203.0.113.9"
    assert headers["forwarded"].startswith("for=203.0.113.9;host=")


@pytest.mark.parametrize("is_public", [False, True])
@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_other_sites_keep_their_names_in_both_views(mount: Mount, is_public: bool) -> None:
    sent = {"Origin": "https://evil.example", "Referer": "https://evil.example/x"}
    headers = arrived(mount, UPSTREAMS[0], sent, is_public=is_public)
    assert (headers["origin"], headers["referer"]) == (sent["Origin"], sent["Referer"])
    assert arrived(mount, UPSTREAMS[0], {"Origin": "null"}, is_public=is_public)["origin"] == "null"


@pytest.mark.parametrize("is_public", [False, True])
@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_conditions_of_webdav_name_the_resources_of_the_upstream(
    mount: Mount, is_public: bool
) -> None:
    value = f'<{mount.root}c> (<urn:uuid:1> [W/"x"]) <{mount.prefix}/d> (Not <DAV:no-lock>)'
    headers = arrived(mount, UPSTREAMS[0], {"If": value}, is_public=is_public)
    root = mount.public if is_public else UPSTREAMS[0]
    assert headers["if"] == f'<{root}/c> (<urn:uuid:1> [W/"x"]) </d> (Not <DAV:no-lock>)'


@pytest.mark.parametrize("is_public", [False, True])
def test_a_referer_never_shows_the_token(is_public: bool) -> None:
    for mount in MOUNTS:
        sent = {"Referer": f"{mount.root}a?token={TOKEN}&b"}
        headers = arrived(mount, UPSTREAMS[0], sent, is_public=is_public)
        assert TOKEN not in headers["referer"]
        assert headers["referer"].endswith("/a?b")
