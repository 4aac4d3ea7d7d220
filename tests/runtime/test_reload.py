"""SIGHUP changes what may change, and a mistake changes nothing."""

import asyncio
from pathlib import Path

import pytest

from tests.kit import api
from tests.kit.gates import MakeGate
from zenzefi.proxy.setup import ENGINE
from zenzefi.runtime.reload import reload
from zenzefi.settings import SETTINGS

KEY = "Qm8-xV2rTz6Lk9WdPq5hB3nYc7Jf1GsA"


async def test_prices_scopes_and_limits_take_effect(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await make_gate()
    bearer = await api.sign_up(gate)
    monkeypatch.setenv("TOKEN_PRICE_24H", "7.00")
    monkeypatch.setenv("TOKEN_PRICE_1H", "0.00")
    monkeypatch.setenv("SCOPES", '{"reports": ["/reports/**"]}')
    monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))
    changed = await reload(gate.app)
    assert sorted(changed) == ["scopes", "token_price_1h", "token_price_24h"]
    body = {"duration_hours": 24}
    status, _ = await api.call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert status == 402
    token = await api.buy(gate, bearer, duration_hours=1, scope="reports")
    headers = {"X-Access-Token": str(token["token"])}
    async with gate.get("/api/v1/proxy/elsewhere", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (403, "scope_refused")


SHOUT = """
from zenzefi.plugins import *

class Shout(Plugin):
    name = "shout"
    needs = Needs.TEXT

    def text(self, context, text):
        yield from ()
"""


async def test_plugins_come_go_and_change(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "plugins"
    await asyncio.to_thread(folder.mkdir)
    gate = await make_gate(plugin_dir=folder)
    registry = gate.app[ENGINE].registry
    monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))
    monkeypatch.setenv("PLUGIN_DIR", str(folder))

    def names() -> set[str]:
        return {entry.name for entry in registry.entries}

    assert "json-mask" not in names()
    monkeypatch.setenv("PLUGIN_OPTIONS", '{"json-mask": {"enabled": true}}')
    monkeypatch.setenv("PLUGINS_DISABLED", "css")
    await asyncio.to_thread((folder / "shout.py").write_text, SHOUT)
    assert sorted(await reload(gate.app)) == ["plugin_options", "plugins_disabled"]
    assert {"json-mask", "shout"} <= names()
    assert "css" not in names()

    before = names()
    monkeypatch.setenv("PLUGIN_OPTIONS", '{"json-mask": {"enabled": true, "colour": 1}}')
    monkeypatch.setenv("TOKEN_PRICE_24H", "7.00")
    assert await reload(gate.app) == []
    assert names() == before
    assert gate.app[SETTINGS].token_price_24h is None
    assert "colour" not in gate.app[SETTINGS].plugin_options["json-mask"]

    await asyncio.to_thread((folder / "shout.py").unlink)
    monkeypatch.delenv("PLUGIN_OPTIONS")
    await reload(gate.app)
    assert names() == before - {"shout", "json-mask"}


async def test_a_broken_plugin_file_leaves_the_old_ones_in_place(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = await make_gate(plugin_dir=tmp_path)
    monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))
    monkeypatch.setenv("PLUGIN_DIR", str(tmp_path))
    await asyncio.to_thread((tmp_path / "broken.py").write_text, "import nothing_like_this")
    generation = gate.app[ENGINE].registry.generation
    assert await reload(gate.app) == []
    assert gate.app[ENGINE].registry.generation == generation


async def test_a_reload_does_not_let_everybody_in_for_nothing(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await make_gate(
        backend_url="https://gate.example", registration="closed", debug=False, secret_key=KEY
    )
    monkeypatch.setenv("BACKEND_URL", "https://gate.example")
    monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))
    assert await reload(gate.app) == []
    assert gate.app[SETTINGS].registration == "closed"
    assert "settings not reloaded" in caplog.text
    monkeypatch.setenv("FREE_FOR_ALL", "true")
    assert sorted(await reload(gate.app)) == ["free_for_all", "registration"]


async def test_a_mistake_changes_nothing(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await make_gate()
    monkeypatch.setenv("TOKEN_PRICE_24H", "7.00")
    monkeypatch.setenv("TOKEN_PRICE_1H", "a lot")
    assert await reload(gate.app) == []
    assert gate.app[SETTINGS].token_price_24h is None
    assert "settings not reloaded" in caplog.text


async def test_plugins_take_effect_without_a_restart(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await make_gate()
    registry = gate.app[ENGINE].registry

    def options(text: str) -> None:
        monkeypatch.setenv("PLUGIN_OPTIONS", text)
        monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))

    assert "banner" not in [entry.name for entry in registry.entries]
    options('{"banner": {"enabled": true, "text": "Closed on Sunday"}}')
    await reload(gate.app)
    assert registry["banner"].plugin.options.text == "Closed on Sunday"  # type: ignore[attr-defined]
    options('{"banner": {"enabled": true, "colour": 1}}')
    await reload(gate.app)
    problems = [p for record in caplog.records for p in getattr(record, "problems", ())]
    assert any("PLUGIN_OPTIONS.banner.colour" in problem for problem in problems)
    assert registry["banner"].plugin.options.text == "Closed on Sunday"  # type: ignore[attr-defined]
    options("{}")
    await reload(gate.app)
    assert "banner" not in [entry.name for entry in registry.entries]
