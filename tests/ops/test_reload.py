"""SIGHUP changes what may change, and a mistake changes nothing."""

import pytest

from tests import kit
from tests.conftest import MakeGate
from zenzefi.config import SETTINGS
from zenzefi.ops.reload import reload
from zenzefi.proxy.setup import ENGINE


async def test_prices_scopes_and_limits_take_effect(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await make_gate()
    bearer = await kit.sign_up(gate)
    monkeypatch.setenv("TOKEN_PRICE_24H", "7.00")
    monkeypatch.setenv("SCOPES", '{"reports": ["/reports/**"]}')
    monkeypatch.setenv("DATA_DIR", str(gate.app[SETTINGS].data_dir))
    changed = await reload(gate.app)
    assert sorted(changed) == ["scopes", "token_price_24h"]
    body = {"duration_hours": 24}
    status, _ = await kit.call(gate, "POST", "/tokens/purchase", bearer=bearer, json=body)
    assert status == 402
    token = await kit.buy(gate, bearer, duration_hours=1, scope="reports")
    headers = {"X-Access-Token": str(token["token"])}
    async with gate.get("/api/v1/proxy/elsewhere", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (403, "scope_refused")


async def test_a_mistake_changes_nothing(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await make_gate()
    monkeypatch.setenv("TOKEN_PRICE_24H", "7.00")
    monkeypatch.setenv("TOKEN_PRICE_1H", "a lot")
    assert await reload(gate.app) == []
    assert gate.app[SETTINGS].token_price_24h == 0
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
    assert "plugins not reloaded: PLUGIN_OPTIONS.banner.colour" in caplog.text
    assert registry["banner"].plugin.options.text == "Closed on Sunday"  # type: ignore[attr-defined]
    options("{}")
    await reload(gate.app)
    assert "banner" not in [entry.name for entry in registry.entries]
