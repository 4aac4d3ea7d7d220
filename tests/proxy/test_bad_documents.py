"""A document made to be costly passes by; the rewriting of all others goes on."""

from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.kit.proxy_gates import GateFactory
from zenzefi.plugins import Match, Needs, Plugin, TextEdit
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plugins import watchdog
from zenzefi.rewriting.plugins.registry import Registry

PAGE = b"<!doctype html><a href=/x>x</a>"
MAPPED = b"<a href=/api/v1/proxy/x>"

pytestmark = pytest.mark.timeout(90)

COSTLY = {
    "a tag without end": b"<!doctype html><p " + b"a" * 300_000,
    "a style sheet without end": b"<style>a{b:url('" + b"a" * 300_000,
    "a page of prefixes": b"<a href='" + b"/api/v1/proxy" * 4600 + b"/x'>",
    "a page of links": b"<a href=/x>" * 30_000,
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK", 0.02)
    monkeypatch.setattr(watchdog, "CPU_SECONDS", 0.1)
    monkeypatch.setattr(watchdog, "WALL_SECONDS", 0.3)


@pytest.fixture
def upstream_app() -> web.Application:
    async def page(request: web.Request) -> web.Response:
        body = COSTLY.get(request.query.get("costly", ""), PAGE)
        return web.Response(body=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/{name}", page)
    return app


@pytest.mark.parametrize("costly", sorted(COSTLY))
@pytest.mark.parametrize(
    "budget",
    [Budget(), Budget(held=4096), Budget(step=0, slow_steps=6), Budget(inserted=1000)],
    ids=["usual", "little held", "slow", "little written"],
)
async def test_no_document_switches_the_bundled_rewriting_off(
    start_gate: GateFactory, upstream: str, client: ClientSession, costly: Any, budget: Any
) -> None:
    engine = Engine(Registry([bundled("plugins")], entry_points=False), budget=budget)
    gate = await start_gate(upstream, engine=engine)
    for number in range(8):
        async with client.get(f"{gate.proxy_url}/{number}", params={"costly": costly}) as bad:
            assert bad.status == 200
            await bad.read()
    for number in range(8):
        async with client.get(f"{gate.proxy_url}/good-{number}") as good:
            assert MAPPED in await good.read()
    html = engine.registry["html"]
    assert not html.is_suspended


class Loops(Plugin):
    """A third-party plugin that comes to no end on some pages."""

    name = "loops"
    matches = Match(content_types=("text/html",))
    needs = Needs.TEXT

    def text(self, context: Any, text: Any) -> list[Any]:
        while context.path.startswith("/loop"):
            pass
        if context.path.startswith("/raise"):
            raise ValueError
        return [TextEdit(0, 0, "seen ")]


async def test_a_document_that_blocks_passes_by_and_others_do_not(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    engine = Engine(Registry(entry_points=False, classes=[Loops]))
    gate = await start_gate(upstream, engine=engine)
    statistics = engine.registry["loops"].statistics

    async def get(path: str) -> bytes:
        async with client.get(f"{gate.proxy_url}/{path}") as response:
            return await response.read()

    assert await get("loop") == PAGE
    assert (statistics.errors, statistics.skipped) == (1, 0)
    for _ in range(3):
        assert await get("loop") == PAGE
        assert await get("other") == b"seen " + PAGE
    assert (statistics.errors, statistics.skipped) == (1, 3)
    assert await get("loop-too") == PAGE  # it is the plugin, not one document
    assert await get("another") == PAGE  # the result of the other one is cached
    assert engine.registry["loops"].is_suspended


async def test_a_failure_on_one_document_does_not_disable_a_plugin(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    engine = Engine(Registry(entry_points=False, classes=[Loops]))
    gate = await start_gate(upstream, engine=engine)

    async def get(path: str) -> bytes:
        async with client.get(f"{gate.proxy_url}/{path}") as response:
            return await response.read()

    for _ in range(8):
        assert await get("raise") == PAGE
    assert engine.registry["loops"].statistics.errors == 5
    assert await get("other") == b"seen " + PAGE
    for number in range(5):
        assert await get(f"raise-{number}") == PAGE
    assert await get("another") == PAGE  # the result of the other one is cached
