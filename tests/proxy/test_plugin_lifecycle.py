"""Plugins are started before the first request and stopped after the last."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests.kit.proxy_gates import TOKEN, GateFactory
from tests.kit.waiting import until
from zenzefi.plugins import Exchange, OutgoingRequest, Plugin, PluginServices
from zenzefi.proxy import plugin_lifecycle
from zenzefi.proxy.plugin_lifecycle import PluginLifecycle
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ASKED = {"X-Access-Token": TOKEN}


@pytest.fixture
def upstream_app() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("X-Group", "none"))

    async def group(request: web.Request) -> web.Response:
        return web.Response(text=f"group of {request.query['user']}")

    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2_000_000)

    app = web.Application()
    app.router.add_get("/group", group)
    app.router.add_get("/long", long)
    app.router.add_get("/{path:.*}", echo)
    return app


class Groups(Plugin):
    """Looks up the group of each user once."""

    name = "groups"
    on_failure = "refuse"
    base = ""
    _stopped = 0

    async def startup(self, services: PluginServices) -> None:
        self._http = services.http
        self._groups = services.cache(100, 60.0)

    async def shutdown(self) -> None:
        type(self)._stopped += 1

    async def request(self, exchange: Exchange, request: OutgoingRequest) -> None:
        user = exchange.client.user_id

        async def look_up() -> str:
            answer = await self._http.request("GET", f"{self.base}/group?user={user}")
            return answer.body.decode()

        request.headers["X-Group"] = str(await self._groups.get(user, look_up))


async def test_a_look_up_is_awaited_and_remembered_for_each_user(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    Groups.base = upstream
    gate = await start_gate(upstream, engine=Engine(Registry(entry_points=False, classes=[Groups])))
    other = "b" * 64
    gate.tokens.add(other, activated=True)
    for token in (TOKEN, other, TOKEN, other):
        user = gate.tokens.known[token].user_id
        async with client.get(gate.proxy_url + "/x", headers={"X-Access-Token": token}) as response:
            assert await response.text() == f"group of {user}"


async def test_a_plugin_that_can_not_start_refuses_until_it_can(
    start_gate: GateFactory,
    upstream: str,
    client: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waits(Groups):
        name = "waits"
        may_start = False

        async def startup(self, services: PluginServices) -> None:
            if not self.may_start:
                raise OSError("not yet")
            await super().startup(services)

    monkeypatch.setattr(plugin_lifecycle, "EVERY", 0.02)
    Waits.base = upstream
    gate = await start_gate(upstream, engine=Engine(Registry(entry_points=False, classes=[Waits])))
    async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
        assert response.status == 503
    Waits.may_start = True

    async def status() -> int:
        async with client.get(gate.proxy_url + "/x", headers=ASKED) as response:
            return response.status

    entry = gate.app[plugin_engine()].registry["waits"]
    await until(lambda: entry.is_started)
    assert await status() == 200


def plugin_engine() -> web.AppKey[Engine]:
    from zenzefi.proxy.setup import ENGINE

    return ENGINE


async def test_a_reload_starts_what_is_new_and_stops_what_is_gone(tmp_path: Path) -> None:
    source = (
        "from zenzefi.plugins import Plugin\n"
        "from helper_of_said import SAID\n"
        "class Said(Plugin):\n"
        "    name = 'said'\n"
        "    def startup(self, services): SAID.append('started')\n"
        "    async def shutdown(self): SAID.append('stopped')\n"
        "    def request_headers(self, context, headers): pass\n"
    )
    (tmp_path / "helper_of_said.py").write_text("SAID = []\n")
    (tmp_path / "said.py").write_text(source)
    registry = Registry([tmp_path], entry_points=False)
    lifecycle = PluginLifecycle(Engine(registry))
    await lifecycle.update()
    first = registry["said"].plugin.startup.__globals__["SAID"]
    assert first == ["started"]
    (tmp_path / "said.py").write_text(source + "\n")
    assert registry.reload_if_changed()
    await lifecycle.update()
    second = registry["said"].plugin.startup.__globals__["SAID"]
    assert (first, second) == (["started", "stopped"], ["started"])
    await lifecycle.close()
    assert second == ["started", "stopped"]


async def test_an_answer_that_is_too_long_is_refused(upstream: str) -> None:
    http = plugin_lifecycle.AiohttpClient()
    try:
        with pytest.raises(OSError, match="longer than"):
            await http.request("GET", upstream + "/long")
        with pytest.raises(OSError, match="no response"):
            await http.request("GET", "http://127.0.0.1:9/")
    finally:
        await http.close()
