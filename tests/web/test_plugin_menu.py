"""Entries of plugins on the account page."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from tests.kit.gates import MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor
from zenzefi.plugins import Exchange, Plugin, Response, RouteRequest, route
from zenzefi.proxy.setup import ENGINE
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.web.plugin_menu import plugin_pages


class Desk(Plugin):
    """Two pages, one of them with an entry."""

    name = "desk"

    @route("/help", menu={"en": "Help & more", "ru": "Помощь"})
    def front(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response()

    @route("/other")
    def other(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response()


def app_with(**options: object) -> web.Application:
    app = web.Application()
    registry = Registry(entry_points=False, classes=[Desk], options={"desk": options})
    app[ENGINE] = Engine(registry)
    return app


def test_an_entry_is_in_the_readers_language() -> None:
    href = "/api/v1/proxy/.zenzefi/plugins/desk/help"
    assert plugin_pages(app_with(), "en") == [(href, "Help & more")]
    assert plugin_pages(app_with(), "ru") == [(href, "Помощь")]


def test_without_plugins_there_is_no_entry() -> None:
    assert plugin_pages(web.Application(), "en") == []
    assert plugin_pages(app_with(shadow=True), "en") == []
    assert plugin_pages(app_with(enabled=False), "en") == []


async def test_the_account_page_links_to_a_plugins_page_and_the_page_opens(
    make_gate: MakeGate, upstream: RecordingUpstream, tmp_path: Path
) -> None:
    (tmp_path / "desk.py").write_text(
        "from zenzefi.plugins import Plugin, Response, route\n"
        "class Desk(Plugin):\n"
        "    name = 'desk'\n"
        "    @route('/help', menu='Help <b>')\n"
        "    def help(self, exchange, request):\n"
        "        return Response.text(f'for {exchange.client.user_id}')\n"
    )
    gate = await make_gate(zenzefi_target_url=upstream.origin, plugin_dir=tmp_path)
    visitor = await Visitor(gate).register()
    await visitor.open("/account")
    assert "Help <b>" not in visitor.text  # without a token there is nothing to open
    await visitor.buy(24)
    token = visitor.soup.find(id="token-value").get_text()
    await visitor.open("/account")
    (link,) = [one for one in visitor.soup.find_all("a") if one.get_text() == "Help <b>"]
    page = await gate.get(link["href"], headers={"X-Access-Token": token})
    assert (page.status, (await page.text())[:4]) == (200, "for ")
