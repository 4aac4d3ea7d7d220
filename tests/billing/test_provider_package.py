"""The payment provider of docs/how-to/add-a-payment-provider.md works as printed."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.kit.api import call, sign_up, sign_up_admin
from tests.kit.gates import SECRET_KEY, GateClient, running_gate
from tests.kit.payments import assert_whole, balance_of, payment_of
from zenzefi.billing.providers.load import load_providers
from zenzefi.settings import Settings, SettingsError, load_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-payment-provider.md"


def blocks(language: str) -> list[str]:
    """The code of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page, installed as pip leaves one: modules and entry points."""
    (code,), (project,) = blocks("python"), blocks("toml")
    site = tmp_path / "site"
    info = site / "acme_zenzefi-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_zenzefi.py").write_text(code, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-zenzefi\nVersion: 1.0\n")
    ((group, points),) = tomllib.loads(project)["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("ACME_KEY", "key-of-acme")
    monkeypatch.setenv("ACME_WEBHOOK_SECRET", "secret-of-acme")
    monkeypatch.delitem(sys.modules, "acme_zenzefi", raising=False)
    return site


class Acme:
    """The service on the other side."""

    def __init__(self) -> None:
        self.payments: dict[str, dict[str, Any]] = {}
        self.keys: list[str | None] = []

    async def respond(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer key-of-acme"
        self.keys.append(request.headers.get("Idempotency-Key"))
        if request.path.endswith("/refunds"):
            payment = self.payments[request.path.split("/")[2]]
            payment |= {"status": "refunded", "refunded": (await request.json())["amount"]}
            return web.json_response({})
        if request.method == "POST":
            made = await request.json() | {"id": "acme-1", "status": "open"}
            self.payments["acme-1"] = made
            return web.json_response(made | {"url": "https://acme.example/pay/acme-1"})
        return web.json_response(self.payments[request.path.rpartition("/")[2]])

    def webhook(self, event: str) -> dict[str, Any]:
        raw = json.dumps({"event": event, "payment": self.payments["acme-1"]}).encode()
        good = hmac.new(b"secret-of-acme", raw, hashlib.sha256).hexdigest()
        return {"data": raw, "headers": {"X-Acme-Signature": good}}


@pytest.fixture
async def acme(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Acme]:
    service = Acme()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", service.respond)
    async with TestServer(app) as server:
        monkeypatch.setenv("ACME_URL", str(server.make_url("/")).rstrip("/"))
        yield service


@pytest.fixture
async def gate(
    package: Path, acme: Acme, sqlite_database: str, tmp_path: Path
) -> AsyncIterator[GateClient]:
    settings = {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate"}
    async with running_gate(**settings, payment_providers=["acme"]) as running:
        yield running


async def test_a_payment_by_a_package_is_paid_checked_and_given_back(
    gate: GateClient, acme: Acme
) -> None:
    bearer, admin = await sign_up(gate), await sign_up_admin(gate)
    body = {"amount_znc": "10"}
    status, opened = await call(gate, "POST", "/currency/purchase", bearer=bearer, json=body)
    assert (status, opened["payment_url"]) == (201, "https://acme.example/pay/acme-1")
    path = f"/currency/payments/{opened['payment_id']}"
    assert (await call(gate, "POST", f"{path}/check", bearer=bearer))[1]["status"] == "pending"

    acme.payments["acme-1"]["status"] = "paid"
    hook = "/webhooks/payment/acme"
    forged = acme.webhook("e-1") | {"headers": {"X-Acme-Signature": "é"}}
    assert (await call(gate, "POST", hook, **forged))[0] == 400
    for outcome in ("credited", "replay"):
        assert (await call(gate, "POST", hook, **acme.webhook("e-1")))[1]["outcome"] == outcome
    assert await balance_of(gate, bearer) == "10.00"

    refund = f"/admin/payments/{opened['payment_id']}/refund"
    assert (await call(gate, "POST", refund, bearer=admin))[0] == 200
    assert (await call(gate, "POST", hook, **acme.webhook("e-2")))[1]["outcome"] == "refunded"
    assert await balance_of(gate, bearer) == "0.00"
    assert (await payment_of(gate, bearer))["status"] == "refunded"
    assert acme.keys[0] == f"checkout-{opened['payment_id']}"
    await assert_whole(gate)


async def test_what_is_signed_but_unreadable_is_refused_and_not_our_failure(
    gate: GateClient, acme: Acme
) -> None:
    raw = b'{"event": "e-1"}'
    good = hmac.new(b"secret-of-acme", raw, hashlib.sha256).hexdigest()
    status, response = await call(
        *(gate, "POST", "/webhooks/payment/acme"), data=raw, headers={"X-Acme-Signature": good}
    )
    assert (status, response["code"]) == (400, "webhook_rejected")


def _settings(*names: str) -> Settings:
    return load_settings(
        {"secret_key": SECRET_KEY, "debug": True, "payment_providers": list(names)}
    )


def test_a_package_whose_settings_are_missing_says_which(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACME_KEY")
    with pytest.raises(
        SettingsError, match=r"'acme' failed to load \(key: Field required\)"
    ) as told:
        load_providers(_settings("acme"))
    assert "secret-of-acme" not in str(told.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('no licence')", "'acme' failed to load (RuntimeError: no licence)"),
        ("import nothing_like_it", "'acme' failed to load (ModuleNotFoundError: No module named"),
        ("class AcmeProvider:\n    name = 'other'\n    def __init__(self, _): ...", "has the name"),
        (
            "class AcmeProvider:\n    name = 'acme'\n    def __init__(self, _): ...",
            "'acme' lacks methods: close, create_checkout, fetch_status, refund, verify_webhook",
        ),
        ("", "'acme' failed to load (AttributeError"),
    ],
)
def test_a_package_that_is_not_a_provider_is_reported_in_one_line(
    package: Path, code: str, says: str
) -> None:
    (package / "acme_zenzefi.py").write_text(code)
    with pytest.raises(SettingsError) as told:
        load_providers(_settings("manual", "acme", "nowhere"))
    first, second = told.value.problems
    assert says in first
    assert second.startswith("PAYMENT_PROVIDERS: provider 'nowhere' is not installed")
