"""``Vary`` names a request header exactly where the body depends on it; HEAD is like GET."""

from __future__ import annotations

import itertools

import pytest
from multidict import CIMultiDict

from tests.kit.engine import exchange
from tests.kit.mounts import MOUNTS, UPSTREAMS
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
UPSTREAM = UPSTREAMS[0]
U = str(UPSTREAM)
PAGE_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

BODIES = {
    "text/html": f"<!doctype html><title>x</title><a href='{U}/x'>x</a><script>a='{U}'</script>",
    "text/javascript": f"a = '{U}/x';",
    "text/css": f"a {{ background: url({U}/x) }}",
    "application/json": f'{{"a": "{U}/x"}}',
    "application/manifest+json": f'{{"start_url": "{U}/x"}}',
    "image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg"><a href="{U}/x"/></svg>',
    "application/rss+xml": f"<rss><link>{U}/x</link></rss>",
    "application/vnd.apple.mpegurl": f"#EXTM3U\n{U}/x\n",
}
# How one address of each type is asked for by pages, prefetches and service workers.
DESTINATIONS = {
    "text/html": ("document", "iframe", "empty"),
    "text/javascript": ("script", "empty"),
    "text/css": ("style", "empty"),
    "image/svg+xml": ("image", "empty"),
}


def asked(kind: str, mount: Mount, request: dict[str, str], **changes: object) -> ExchangeHead:
    response = {"Content-Type": kind, "ETag": '"1"', "Cache-Control": "max-age=60"}
    return exchange(
        response,
        request,
        mount=mount,
        mapper=UrlMapper(UPSTREAM, mount),
        destination=request.get("Sec-Fetch-Dest"),
        **changes,
    )


def got(kind: str, mount: Mount, request: dict[str, str]) -> tuple[bytes, set[str]]:
    """The body, and the names that ``Vary`` lists."""
    rewrite = ENGINE.plan(asked(kind, mount, request))
    assert rewrite is not None
    body = rewrite.feed(BODIES[kind].encode()) + rewrite.finish()
    return body, varied(rewrite.headers)


def varied(headers: list[tuple[str, str]]) -> set[str]:
    values = CIMultiDict(headers).getall("Vary", [])
    return {part.strip() for value in values for part in value.split(",")}


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", BODIES)
def test_a_response_varies_by_destination_where_the_body_does(kind: str, mount: Mount) -> None:
    destinations = DESTINATIONS.get(kind, ("document", "empty"))
    results = {d: got(kind, mount, {"Sec-Fetch-Dest": d}) for d in destinations}
    bodies = {body for body, _ in results.values()}
    for _, names in results.values():
        assert names == ({"Sec-Fetch-Dest"} if len(bodies) > 1 else set())


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", BODIES)
def test_accept_counts_only_for_requests_without_a_destination(kind: str, mount: Mount) -> None:
    accepts = (PAGE_ACCEPT, "*/*")
    for destination in (*DESTINATIONS.get(kind, ("empty",)), None):
        known = {} if destination is None else {"Sec-Fetch-Dest": destination}
        results = [got(kind, mount, {**known, "Accept": accept}) for accept in accepts]
        differ = len({body for body, _ in results}) > 1
        assert [("Accept" in names) for _, names in results] == [differ, differ]
        assert not (differ and known)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_what_a_service_worker_stored_at_install_matches_a_navigation(mount: Mount) -> None:
    """The Cache API compares the headers in ``Vary`` that requests show to scripts (``Accept``)."""
    installed = {"Sec-Fetch-Dest": "empty", "Accept": "*/*"}
    _, names = got("text/html", mount, installed)
    assert names <= {"Sec-Fetch-Dest", "Accept-Encoding"}  # never shown to scripts


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_tag_does_not_depend_on_headers_that_the_body_does_not_depend_on(mount: Mount) -> None:
    tags = set()
    for accept in (PAGE_ACCEPT, "*/*"):
        request = {"Sec-Fetch-Dest": "document", "Accept": accept}
        rewrite = ENGINE.plan(asked("text/html", mount, request))
        assert rewrite is not None
        tags.add(dict(rewrite.headers)["ETag"])
    assert len(tags) == 1


def test_a_type_that_only_the_destination_tells_varies_by_it() -> None:
    for mount, label in itertools.product(MOUNTS, ("text/plain", "text/html")):
        found = asked(label, mount, {"Sec-Fetch-Dest": "script"})
        rewrite = ENGINE.plan(found)
        assert rewrite is not None
        assert varied(rewrite.headers) == {"Sec-Fetch-Dest"}


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_workers_script_that_nothing_marks_varies_under_a_prefix(mount: Mount) -> None:
    rewrite = ENGINE.plan(asked("text/javascript", mount, {"Sec-Fetch-Dest": "worker"}))
    assert rewrite is not None
    assert varied(rewrite.headers) == (set() if mount.is_root else {"Sec-Fetch-Dest"})


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("kind", [*BODIES, "image/png", "text/plain"])
@pytest.mark.parametrize("destination", ["document", "empty", None])
def test_head_has_the_headers_of_get(kind: str, mount: Mount, destination: str | None) -> None:
    """Without the length, which only the body tells (RFC 9110, 9.3.2)."""
    request = {} if destination is None else {"Sec-Fetch-Dest": destination}
    response = {
        "Content-Type": kind,
        "Content-Length": "5",
        "ETag": '"1"',
        "Content-Security-Policy": "script-src 'nonce-abc' 'self'",
        "Link": f"<{U}/x>; rel=preload",
        "Vary": "Cookie",
    }
    changes = {"mapper": UrlMapper(UPSTREAM, mount), "destination": destination}
    get = exchange(response, request, mount=mount, **changes)
    head = exchange(response, request, mount=mount, method="HEAD", **changes)
    rewrite = ENGINE.plan(get) if ENGINE.origin_search(get) is None else None
    search = ENGINE.origin_search(get)
    if search is not None:
        expected = ENGINE.unchanged_headers(get, search)
    elif rewrite is not None:
        expected = rewrite.headers
    else:
        expected = ENGINE.map_response_headers(get)
    sent = ENGINE.map_response_headers(head)
    assert without_length(sent) == without_length(expected)


def without_length(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in headers if pair[0] != "Content-Length"]
