"""``UPSTREAM_VIEW`` with the checks that applications make against requests of other sites."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, WSMsgType, web

from tests.kit.applications import python_app
from tests.kit.echo_upstream import serving
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate

OWN_ORIGIN = "app.gate.test"
VIEWS = ("private", "public")
MOUNTS = ("prefix", "own-origin", "client")


@dataclass(frozen=True)
class Seen:
    """Where a browser sees the application, and the headers that take a request there."""

    url: str
    origin: str
    page: str
    headers: dict[str, str]


def seen(gate: RunningGate, mount: str) -> Seen:
    token = {"X-Access-Token": TOKEN}
    if mount == "prefix":
        return Seen(gate.url + PREFIX, gate.url, gate.url + PREFIX, token)
    if mount == "own-origin":
        origin = f"http://{OWN_ORIGIN}"
        return Seen(gate.url, origin, origin, {**token, "Host": OWN_ORIGIN})
    origin = "https://127.0.0.1:61000"
    return Seen(gate.url + PREFIX, origin, origin, {**token, "X-Device-ID": "d" * 20})


def application(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def opened(start_gate: GateFactory, upstream: str, mount: str, view: str) -> Seen:
    gate = await start_gate(upstream, proxy_host=OWN_ORIGIN, upstream_view=view)
    return seen(gate, mount)


# Django decides by these settings where it takes its host and its scheme from.
FLAGS = [(), ("host",), ("proto",), ("host", "proto")]


@pytest.mark.apps
@pytest.mark.timeout(300)
@pytest.mark.parametrize("flags", FLAGS, ids="+".join)
async def test_djangos_csrf_check(start_gate: GateFactory, flags: tuple[str, ...]) -> None:
    async with python_app("django_csrf.py", "/form", *flags) as upstream, ClientSession() as http:
        for view, mount in itertools.product(VIEWS, MOUNTS):
            at = await opened(start_gate, upstream, mount, view)
            if view == "public" and mount == "client" and "proto" not in flags:
                continue  # Django does not know that the browser uses https
            async with http.get(at.url + "/form", headers=at.headers) as response:
                token = await response.text()
                cookie = response.headers["Set-Cookie"].partition(";")[0]
            form = {
                **at.headers,
                "Cookie": cookie,
                "X-CSRFToken": token,
                "Referer": at.page + "/form",
            }
            for page in (at.origin, None):  # a browser without Origin is checked by its Referer
                headers = {**form, "Origin": page} if page else form
                async with http.post(at.url + "/form", headers=headers) as response:
                    assert response.status == 200, (view, mount, await response.text())
                    own_address = await response.text()
            assert own_address == (f"{upstream}/" if view == "private" else f"{at.origin}/")
            evil = {**form, "Origin": "https://evil.example"}
            async with http.post(at.url + "/form", headers=evil) as response:
                assert response.status == 403


async def rails(request: web.Request) -> web.Response:
    """``valid_request_origin?``: ``Origin`` is ``base_url``, from the forwarded headers if any."""
    headers = request.headers
    host = headers.get("X-Forwarded-Host", headers["Host"]).split(",")[-1].strip()
    scheme = headers.get("X-Forwarded-Proto", "http").split(",")[0].strip()
    is_same = headers.get("Origin") in (None, f"{scheme}://{host}")
    return web.Response(status=200 if is_same else 422)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mount", MOUNTS)
async def test_the_check_of_rails(start_gate: GateFactory, mount: str, view: str) -> None:
    async with serving(application(rails)) as upstream, ClientSession() as http:
        at = await opened(start_gate, upstream, mount, view)
        for origin, status in ((at.origin, 200), ("https://evil.example", 422)):
            headers = {**at.headers, "Origin": origin}
            async with http.post(at.url + "/form", headers=headers) as response:
                assert response.status == status


async def editor(request: web.Request) -> web.StreamResponse:
    """The check of editors in the browser before they accept a socket."""
    headers = request.headers
    host = headers.get("X-Forwarded-Host", headers["Host"])
    if headers["Origin"].partition("://")[2] != host:
        return web.Response(status=403)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("open")
    await socket.close()
    return socket


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mount", MOUNTS)
async def test_the_socket_of_an_editor(start_gate: GateFactory, mount: str, view: str) -> None:
    async with serving(application(editor)) as upstream, ClientSession() as http:
        at = await opened(start_gate, upstream, mount, view)
        headers = {**at.headers, "Origin": at.origin}
        async with http.ws_connect(at.url + "/socket", headers=headers) as socket:
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.TEXT, "open")


@pytest.mark.parametrize("mount", MOUNTS)
async def test_an_application_that_honours_the_prefix_links_to_itself(
    start_gate: GateFactory, mount: str
) -> None:
    """Redirects and cookies of an application in the public view come out once."""

    async def login(request: web.Request) -> web.Response:
        prefix = request.headers.get("X-Forwarded-Prefix", "")
        root = f"{request.headers['X-Forwarded-Proto']}://{request.headers['X-Forwarded-Host']}"
        location = f"{root}{prefix}/home"
        cookie = f"sid=1; Path={prefix}/; Domain={request.host.partition(':')[0]}"
        return web.Response(status=302, headers={"Location": location, "Set-Cookie": cookie})

    async with serving(application(login)) as upstream, ClientSession() as http:
        at = await opened(start_gate, upstream, mount, "public")
        url = at.url + "/login"
        async with http.post(url, headers=at.headers, allow_redirects=False) as response:
            assert response.headers["Location"] == at.page + "/home"
            path = at.page.removeprefix(at.origin)
            assert response.headers["Set-Cookie"].startswith(f"sid=1; Path={path}/")
