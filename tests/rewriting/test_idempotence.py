"""Mapping what is already mapped changes nothing: headers, cookies and bodies, at every mount.

An application that honours ``X-Forwarded-Prefix`` or knows its public address writes the mount
itself, so the gate meets its own output.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import exchange, rewrite_body
from tests.kit.mounts import CLIENT_PREFIX, MOUNTS, UPSTREAMS
from zenzefi.origin import Mount, Origin
from zenzefi.proxy.headers.cookies import ESCAPE, map_set_cookie
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import TABLE, map_headers
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
PLACES = st.tuples(st.sampled_from(MOUNTS), st.sampled_from(UPSTREAMS))


def _hosts(mount: Mount, upstream: Origin) -> list[str]:
    return [str(upstream), str(mount.public), f"//{upstream.authority}", "https://other.example"]


def addresses(mount: Mount, upstream: Origin) -> st.SearchStrategy[str]:
    """Addresses in every relation to the mount: foreign, unmapped, mapped, mapped twice."""
    fronts = ["", *_hosts(mount, upstream)]
    prefixes = ["", mount.prefix, mount.prefix * 2, mount.prefix + "/..", "/.."]
    paths = ["", "/", "/x", "/dir/y?q=/z#f", "/x/../../y", "/*"]
    built = st.builds(
        "{}{}{}".format, st.sampled_from(fronts), st.sampled_from(prefixes), st.sampled_from(paths)
    )
    return built | st.sampled_from(["x", "../../../x", "#f", "?q", "data:,x", "javascript:x"])


def values(name: str, address: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Values of a header: of its own syntax where it has one with addresses."""
    syntaxes = {
        "Refresh": ["5; url={0}", "0;URL='{0}'", "3, {0}"],
        "Link": ["<{0}>; rel=preload", '<{0}>; anchor="{1}", <{1}>', '<{0}>; imagesrcset="{1} 2x"'],
        "Content-Security-Policy": [
            "img-src {0} {1} *.example; report-uri {1}",
            "script-src 'self' {0}; connect-src wss://app.example {1}:*",
        ],
        "Permissions-Policy": ['fullscreen=(self "{0}")'],
        "Speculation-Rules": ['"{0}", "{1}"'],
        "Reporting-Endpoints": ['a="{0}", b="{1}"'],
        "Report-To": [
            '{{"group":"g","endpoints":[{{"url":"{0}"}}]}}',
            '{{"endpoints":[{{"url":"{0}"}},{{"url":"{1}"}}]}}',
        ],
        "Clear-Site-Data": ['"*"', '"cache", "storage"'],
        "WWW-Authenticate": ['Bearer realm="{0}", resource_metadata="{1}"', 'Basic realm="{0}"'],
    }
    syntaxes["Content-Security-Policy-Report-Only"] = syntaxes["Content-Security-Policy"]
    syntaxes["Feature-Policy"] = ["camera 'self' {0}"]
    syntaxes["Timing-Allow-Origin"] = ["{0}, {1}"]
    forms = st.sampled_from(syntaxes.get(name, ["{0}"]))
    return st.builds(lambda form, a, b: form.format(a, b), forms, address, address)


@given(st.data(), PLACES, st.sampled_from([row.name for row in TABLE]))
def test_mapping_a_mapped_header_changes_nothing(
    data: st.DataObject, place: tuple[Mount, Origin], name: str
) -> None:
    mount, upstream = place
    view = View(f"{upstream}/dir/page", UrlMapper(upstream, mount), mount)
    value = data.draw(values(name, addresses(mount, upstream)))
    once = map_headers([(name, value)], view)
    assert map_headers(once, view) == once


COOKIE_NAMES = st.sampled_from(["a", "__Host-a", "__Secure-a", "zenzefi_x", "", "__Http-b"])


@given(st.data(), PLACES, COOKIE_NAMES)
def test_mapping_a_mapped_cookie_changes_nothing(
    data: st.DataObject, place: tuple[Mount, Origin], name: str
) -> None:
    mount, upstream = place
    paths = [
        "/",
        "/x",
        "/x/",
        "",
        "x",
        *(mount.prefix * n + end for n in (1, 2, 3) for end in ("", "/", "/x", "y")),
    ]
    attributes = [
        "Secure",
        "HttpOnly",
        "SameSite=None",
        "Max-Age=5",
        *(f"Path={path}" for path in paths),
        f"Domain={upstream.host}",
        f"Domain=.{mount.public.host}",
    ]
    chosen = data.draw(st.lists(st.sampled_from(attributes), max_size=5))
    once = map_set_cookie("; ".join([f"{name}=1", *chosen]), upstream, mount)
    if once is None or once.startswith(ESCAPE):
        return  # the escape of a name can be removed again, so it is added each time
    assert map_set_cookie(once, upstream, mount) == once


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("end", ["", "/", "/x", "/x/"])
def test_a_cookie_of_an_application_that_knows_its_prefix_keeps_its_path(
    mount: Mount, end: str
) -> None:
    upstream = UPSTREAMS[0]
    path = mount.prefix + end
    if not path:
        return
    for times in (1, 2, 3):
        sent = f"a=1; Path={mount.prefix * times + end}; HttpOnly"
        expected = f"a=1; Path={path}; HttpOnly"
        assert map_set_cookie(sent, upstream, mount) == expected


def test_a_path_that_only_begins_like_the_prefix_is_another_one() -> None:
    sent = f"a=1; Path={CLIENT_PREFIX.prefix}-2"
    expected = f"a=1; Path={CLIENT_PREFIX.prefix}{CLIENT_PREFIX.prefix}-2"
    assert map_set_cookie(sent, UPSTREAMS[0], CLIENT_PREFIX) == expected


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_cookie_for_the_host_that_the_browser_sees_is_kept(mount: Mount) -> None:
    host = mount.public.host
    kept = map_set_cookie(f"a=1; Domain={host}; Path={mount.prefix}/", UPSTREAMS[0], mount)
    assert kept == f"a=1; Path={mount.prefix}/"
    assert map_set_cookie("a=1; Domain=other.example", UPSTREAMS[0], mount) is None


# --- bodies --------------------------------------------------------------------------------------

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><style>rect{{fill:url({0})}}</style>'
    '<a href="{1}"><rect fill="url({0})" /></a><script href="{1}"/></svg>'
)
_RULES = '{{"prefetch":[{{"urls":["{0}"]}},{{"where":{{"href_matches":["{1}"]}}}}]}}'
BODIES = {
    "text/html": [
        '<!doctype html><base href="{0}"><a href="{1}"><img srcset="{0} 1x, {1} 2x">',
        '<meta http-equiv=refresh content="1;url={0}"><style>@import "{1}";</style>',
        '<div style="background:url({0})"></div><iframe srcdoc="<a href=&quot;{1}&quot;>">',
        '<script type=importmap>{{"imports":{{"{0}":"{1}","a":"{0}"}}}}</script>',
        f"<script type=speculationrules>{_RULES}</script>",
        "<script>const a = '{0}', b = \"{1}\";</script>" + _SVG,
        '<link rel=stylesheet integrity=sha256-x href="{0}"><script src="{1}" integrity=sha256-y>',
    ],
    "text/css": ['@import "{0}"; a {{ background: url({1}) image-set("{0}" 1x) }}'],
    "text/javascript": ["const a = '{0}', b = \"{1}\";"],
    "application/json": ['{{"a":"{0}","b":["{1}"]}}'],
    "application/manifest+json": [
        '{{"start_url":"{0}","scope":"{1}","icons":[{{"src":"{0}"}}],"share_target":{{"action":"{1}"}}}}'
    ],
    "application/speculationrules+json": [_RULES],
    "application/vnd.apple.mpegurl": ['#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{0}"\n{1}\n'],
    "application/dash+xml": [
        "<MPD><BaseURL>{0}</BaseURL><Period><BaseURL>{1}</BaseURL>"
        '<SegmentTemplate media="{0}"/></Period></MPD>'
    ],
    "application/rss+xml": ["<rss><channel><link>{0}</link><enclosure url='{1}'/></channel></rss>"],
    "application/xml": ["<a><loc>{0}</loc><b href='{1}' xml:base='{0}'><c src='{1}'/></b></a>"],
    "image/svg+xml": [_SVG],
    "application/opensearchdescription+xml": [
        '<OpenSearchDescription><Url type="text/html" template="{0}?q={{searchTerms}}"/>'
        "<Image>{1}</Image></OpenSearchDescription>"
    ],
}


@given(st.data(), PLACES, st.sampled_from(list(BODIES)))
def test_mapping_a_mapped_body_changes_nothing(
    data: st.DataObject, place: tuple[Mount, Origin], kind: str
) -> None:
    mount, upstream = place
    form = data.draw(st.sampled_from(BODIES[kind]))
    address = addresses(mount, upstream)
    first, second = data.draw(address), data.draw(address)
    if "json" in kind:
        first, second = json.dumps(first)[1:-1], json.dumps(second)[1:-1]
    exchanged = exchange(
        {"Content-Type": kind},
        mount=mount,
        url=f"{upstream}/dir/page",
        mapper=UrlMapper(upstream, mount),
    )
    once = rewrite_body(ENGINE, exchanged, form.format(first, second).encode())
    assert rewrite_body(ENGINE, exchanged, once) == once


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("destination", ["worker", "sharedworker", "serviceworker"])
@pytest.mark.parametrize("size", [1, 7, 65536])
def test_a_worker_that_has_its_runtime_gets_no_second_one(
    mount: Mount, destination: str, size: int
) -> None:
    exchanged = exchange({"Content-Type": "text/javascript"}, mount=mount, destination=destination)
    once = rewrite_body(ENGINE, exchanged, b"'use strict'; self.onmessage = null;", size)
    assert rewrite_body(ENGINE, exchanged, once, size) == once
