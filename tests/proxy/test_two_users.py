"""Two users behind one gate: nothing that was made for one of them reaches the other."""

import gzip
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.kit.proxy_gates import GateFactory, RunningGate
from zenzefi.plugins import Match, Needs, Plugin, TextEdit
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

TOKENS = {"anna": "a" * 64, "otto": "b" * 64}


class Greets(Plugin):
    """A personal plugin: its text depends on a cookie, as it says."""

    name = "greets"
    matches = Match(content_types=("text/css",))
    needs = Needs.TEXT
    varies = ("Cookie",)

    def text(self, context: Any, text: Any) -> list[Any]:
        return [TextEdit(0, 0, f"/* {context.request_headers.get('Cookie')} */")]


@pytest.fixture
def upstream_app() -> web.Application:
    """Its ETag is its release; its pages are personal, and as long for one as for the other."""

    async def respond(request: web.Request) -> web.Response:
        name = request.cookies.get("user", "")
        if request.path == "/static":
            kind, body = "text/css", b"a{b:url(/x)}" * 20
        else:
            kind, body = "text/html", b"<p>page of %b<a href=/x>" % name.encode() * 9
        headers = {"ETag": '"release-7"', "Content-Encoding": "gzip"}
        if "cache" in request.query:
            headers["Cache-Control"] = request.query["cache"]
        if request.headers.get("If-None-Match") == '"release-7"':
            return web.Response(status=304, headers={"ETag": '"release-7"'})
        body = gzip.compress(body, mtime=0)
        return web.Response(body=body, content_type=kind, headers=headers)

    app = web.Application()
    app.router.add_get("/{name}", respond)
    return app


async def start(start_gate: GateFactory, upstream: str, *plugins: type[Plugin]) -> RunningGate:
    registry = Registry([bundled("plugins")], entry_points=False, classes=plugins)
    gate = await start_gate(upstream, engine=Engine(registry))
    for token in TOKENS.values():
        gate.tokens.add(token, activated=True)
    return gate


def asking(user: str, **more: str) -> dict[str, str]:
    return {
        "X-Access-Token": TOKENS[user],
        "Cookie": f"user={user}",
        "Accept-Encoding": "gzip",
        "Sec-Fetch-Dest": "document",
        **more,
    }


@pytest.mark.parametrize("cache", ["", "?cache=public,max-age=60", "?cache=no-cache"])
async def test_a_personal_page_reaches_no_other_user(
    start_gate: GateFactory, upstream: str, client: ClientSession, cache: str
) -> None:
    gate = await start(start_gate, upstream)
    for user in ("anna", "otto", "anna", "otto"):
        async with client.get(gate.proxy_url + "/page" + cache, headers=asking(user)) as response:
            page = gzip.decompress(await response.read())
        assert page.count(b"page of " + user.encode()) == 9
        assert page.count(b"/api/v1/proxy/x") == 9


async def test_a_page_rewritten_by_cookie_reaches_no_other_user(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream, Greets)
    for user in ("anna", "otto", "anna", "otto"):
        async with client.get(gate.proxy_url + "/static", headers=asking(user)) as response:
            assert f"/* user={user} */".encode() in gzip.decompress(await response.read())
            assert "Cookie" in response.headers["Vary"]


@pytest.mark.parametrize("path", ["/page", "/static"])
async def test_a_validator_of_one_user_does_not_match_for_another(
    start_gate: GateFactory, upstream: str, client: ClientSession, path: str
) -> None:
    gate = await start(start_gate, upstream, Greets)
    async with client.get(gate.proxy_url + path, headers=asking("anna")) as response:
        tag = response.headers["ETag"]
        mine = gzip.decompress(await response.read())
    again = asking("anna", **{"If-None-Match": tag})
    async with client.get(gate.proxy_url + path, headers=again) as response:
        assert (response.status, response.headers["ETag"]) == (304, tag)
    others = asking("otto", **{"If-None-Match": tag})
    async with client.get(gate.proxy_url + path, headers=others) as response:
        assert response.status == 200
        assert gzip.decompress(await response.read()) != mine


async def test_a_document_that_is_the_same_for_all_is_rewritten_once(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start(start_gate, upstream)
    bodies = []
    for user in ("anna", "otto"):
        async with client.get(gate.proxy_url + "/static", headers=asking(user)) as response:
            bodies.append(gzip.decompress(await response.read()))
    assert bodies[0] == bodies[1] == b"a{b:url(/api/v1/proxy/x)}" * 20
