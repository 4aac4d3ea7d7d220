"""The cache of finished bodies: it saves work, and changes nothing of what anyone gets."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.plugins import Context, Needs, Plugin, TextEdit
from zenzefi.resources import bundled
from zenzefi.rewriting.cache import CachedResult, Key, ResultCache
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("https", "app.example", 443)
GATE = Origin("http", "gate.example", 8000)
MOUNTS = (
    Mount(MountKind.PREFIX, GATE, "/api/v1/proxy"),
    Mount(MountKind.PREFIX, GATE, "/other"),
    Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443)),
)
URL = "https://app.example/dir/page"


class Greets(Plugin):
    """Says what it depends on."""

    name = "greets"
    needs = Needs.TEXT
    varies = ("Cookie",)

    def text(self, context: Context, text: str) -> list[TextEdit]:
        return [TextEdit(0, 0, "/* " + context.request_headers.get("Cookie", "nobody") + " */")]


class Peeks(Plugin):
    """Does not say what it depends on."""

    name = "peeks"
    needs = Needs.TEXT

    def text(self, context: Context, text: str) -> list[TextEdit]:
        seen = [
            context.request_headers.get("X-Any", ""),
            context.response_headers.get("X-User", ""),
        ]
        return [TextEdit(0, 0, f"/* {seen} {context.status} {context.path} */")]


def engine_with(classes: list[type[Plugin]], *, limit: int = 1 << 20) -> Engine:
    registry = Registry([bundled("plugins")], entry_points=False, classes=classes)
    return Engine(registry, cache=ResultCache(limit))


def get(
    engine: Engine,
    body: bytes,
    response: dict[str, str],
    request: dict[str, str],
    *,
    mount: Mount = MOUNTS[0],
    user: str = "1",
    size: int = 1000,
    **fields: Any,
) -> tuple[bytes, list[tuple[str, str]]]:
    """The decoded body and the headers that a browser gets."""
    coded = gzip.compress(body, mtime=0)
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(coded)), **response}
    exchange = ExchangeHead(
        method="GET",
        url=fields.get("url", URL),
        status=200,
        mapper=UrlMapper(UPSTREAM, mount),
        mount=mount,
        destination=request.get("Sec-Fetch-Dest"),
        request_headers=CIMultiDictProxy(CIMultiDict(request)),
        response_headers=CIMultiDictProxy(CIMultiDict(headers)),
        user=user,
    )
    rewrite = engine.plan(exchange)
    assert rewrite is not None
    parts = [rewrite.feed(coded[at : at + size]) for at in range(0, len(coded), size)]
    out = b"".join(parts) + rewrite.finish()
    is_coded = any(name == "Content-Encoding" for name, _ in rewrite.headers)
    return gzip.decompress(out) if is_coded else out, rewrite.headers


CSS = b"a{b:url(/x)}" * 50
STATIC = {"Content-Type": "text/css", "ETag": '"v1"'}
ASKED = {"Accept-Encoding": "gzip"}


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_the_same_body_is_rewritten_once(size: int) -> None:
    engine = engine_with([])
    first, _ = get(engine, CSS, STATIC, ASKED, size=size)
    assert (engine.cache.hits, engine.cache.misses) == (0, 1)
    calls = engine.registry["css"].statistics.calls
    second, _ = get(engine, CSS, STATIC, {**ASKED, "Cookie": "another=user"}, user="2", size=size)
    assert first == second == CSS.replace(b"(/x", b"(/api/v1/proxy/x")
    assert (engine.cache.hits, engine.cache.misses) == (1, 1)
    assert engine.registry["css"].statistics.calls == calls


@pytest.mark.parametrize("validator", [{"ETag": 'W/"v1"'}, {"Last-Modified": "x"}, {}])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_the_digest_decides_without_a_strong_validator(
    validator: dict[str, str], encoding: str
) -> None:
    engine = engine_with([])
    head = {"Content-Type": "text/html", **validator}
    page, other = b"<a href=/x>" * 50, b"<a href=/y>" * 50
    for body, hits in [(page, 0), (page, 1), (other, 1), (other, 2), (page, 2)]:
        out, _ = get(engine, body, head, {"Accept-Encoding": encoding})
        assert out.endswith(body.replace(b"=/", b"=/api/v1/proxy/"))
        assert engine.cache.hits == hits


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_another_body_with_the_same_validator_and_length_is_another(size: int) -> None:
    """An upstream whose ETag is its release, and whose pages are personal."""
    engine = engine_with([])
    pages = [b"<p>page of %b</p><a href=/x>" % name * 9 for name in (b"anna", b"otto")]
    head = {"Content-Type": "text/html", "ETag": '"release-7"'}
    assert len(gzip.compress(pages[0])) == len(gzip.compress(pages[1]))
    for name, page in [(b"anna", pages[0]), (b"otto", pages[1]), (b"anna", pages[0])] * 2:
        out, _ = get(engine, page, head, ASKED, size=size)
        assert out.count(b"page of " + name) == 9
        assert out.count(b"<a href=/api/v1/proxy/x>") == 9


@pytest.mark.parametrize(
    "changed",
    [
        {"Cache-Control": "private"},
        {"Cache-Control": "max-age=5, No-Store"},
        {"Set-Cookie": "a=1"},
        {"Vary": "Cookie"},
        {"Vary": "*"},
        {"Content-Length": ""},
    ],
)
def test_what_a_shared_cache_may_not_store_is_not_kept(changed: dict[str, str]) -> None:
    engine = engine_with([])
    for _ in range(2):
        get(engine, CSS, {**STATIC, **changed}, ASKED)
    assert len(engine.cache) == engine.cache.hits == 0
    get(engine, CSS, STATIC, {**ASKED, "Authorization": "Basic x"})
    assert len(engine.cache) == 0


REQUESTS = st.fixed_dictionaries(
    {"Accept-Encoding": st.sampled_from(["gzip", "identity"])},
    optional={
        "Cookie": st.sampled_from(["u=anna", "u=otto"]),
        "Accept": st.sampled_from(["*/*", "text/html,application/xhtml+xml"]),
        "Sec-Fetch-Dest": st.sampled_from(["document", "empty", "style", "script"]),
        "X-Any": st.sampled_from(["1", "2"]),
        "Authorization": st.just("Basic x"),
    },
)
RESPONSES = st.fixed_dictionaries(
    {
        "Content-Type": st.sampled_from(["text/css", "text/html", "text/html; charset=utf-16le"]),
        "ETag": st.sampled_from(['"v1"', '"v2"', 'W/"v1"']),
    },
    optional={
        "Cache-Control": st.sampled_from(["public, max-age=9", "private", "no-store", "max-age=1"]),
        "Vary": st.sampled_from(["Cookie", "Accept-Encoding", "*"]),
        "X-User": st.sampled_from(["anna", "otto"]),
        "X-Content-Type-Options": st.just("nosniff"),
    },
)
BODIES = st.sampled_from([b"<p>anna<a href=/x>", b"<p>otto<a href=/x>", CSS, b"a{b:url(/y)}" * 50])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            BODIES,
            RESPONSES,
            REQUESTS,
            st.sampled_from(MOUNTS),
            st.sampled_from(["1", "2"]),
            st.sampled_from([7, 5000]),
            st.sampled_from([URL, URL + "?q", "https://app.example/a/b/c"]),
        ),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from([[], [Greets], [Peeks], [Greets, Peeks]]),
)
@example(
    [(CSS, STATIC, {**ASKED, "Cookie": f"u={n}"}, MOUNTS[0], "1", 7, URL) for n in "ab"], [Greets]
)
@example([(CSS, STATIC, {**ASKED, "X-Any": n}, MOUNTS[0], "1", 7, URL) for n in "ab"], [Peeks])
@example([(CSS, {**STATIC, "X-User": n}, ASKED, MOUNTS[0], "1", 7, URL) for n in "ab"], [Peeks])
def test_with_the_cache_everybody_gets_what_they_would_get_without(
    asked: list[Any], plugins: list[type[Plugin]]
) -> None:
    with_cache, without = engine_with(plugins), engine_with(plugins, limit=0)
    for body, response, request, mount, user, size, url in asked * 2:
        arguments = {"mount": mount, "user": user, "size": size, "url": url}
        got = get(with_cache, body, response, request, **arguments)
        assert got == get(without, body, response, request, **arguments)
    assert without.cache.hits == 0


def test_a_body_that_a_resting_plugin_did_not_see_is_not_kept() -> None:
    engine = engine_with([Greets])
    for number in range(5):
        engine.registry["greets"].failed("no", f"/{number}")
    request = {**ASKED, "Cookie": "u=anna"}
    assert b"anna" not in get(engine, CSS, STATIC, request)[0]
    engine.registry["greets"].succeeded()
    assert b"anna" in get(engine, CSS, STATIC, request)[0]


def test_the_memory_of_bodies_is_bounded() -> None:
    cache = ResultCache(limit=1000, largest=600)
    for number in range(20):
        cache.put(Key(str(number), "", 1, ""), CachedResult(b"", b"x" * 300))
        assert cache.size <= 1000
    assert len(cache) == 3
    cache.put(Key("large", "", 1, ""), CachedResult(b"", b"x" * 601))
    assert cache.get(Key("large", "", 1, "")) is None
    assert cache.get(Key("19", "", 1, "")) == CachedResult(b"", b"x" * 300)


# --- derived validators -------------------------------------------------------------------------


def asked_with(engine: Engine, tag: str, request: dict[str, str], user: str) -> str | None:
    """``If-None-Match`` as the upstream gets it."""
    headers = CIMultiDict({**request, "If-None-Match": tag})
    exchange = ExchangeHead(
        method="GET",
        url=URL,
        status=0,
        mapper=UrlMapper(UPSTREAM, MOUNTS[0]),
        mount=MOUNTS[0],
        destination=request.get("Sec-Fetch-Dest"),
        request_headers=CIMultiDictProxy(headers),
        response_headers=CIMultiDictProxy(CIMultiDict()),
        user=user,
    )
    changed = CIMultiDict(headers)
    engine.prepare_request(exchange, changed)
    return changed.get("If-None-Match")


@given(
    st.sampled_from([[], [Greets]]),
    REQUESTS,
    REQUESTS,
    st.sampled_from("12"),
    st.sampled_from("12"),
)
def test_a_derived_tag_is_good_for_who_got_it_alone(
    plugins: list[type[Plugin]],
    first: dict[str, str],
    second: dict[str, str],
    user: str,
    other: str,
) -> None:
    engine = engine_with(plugins)
    _, headers = get(engine, CSS, STATIC, first, user=user)
    tag = dict(headers)["ETag"]
    names = {"Sec-Fetch-Dest", *(["Cookie"] if plugins else [])}
    if "Sec-Fetch-Dest" not in first:  # only then Accept decides
        names.add("Accept")
    is_same = user == other and all(first.get(name) == second.get(name) for name in names)
    assert asked_with(engine, tag, second, other) == ('"v1"' if is_same else None)
