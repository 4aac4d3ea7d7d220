"""A canary in every secret: the logs contain none, in success and failure."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.gate_process import GateProcess

# Each looks unlike a token or a key: nothing but knowing better may keep it out of the log.
SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "canary-key-Zq8vTn3Lx0RwYb6Kd2HmPs4",
    "PREVIOUS_SECRET_KEYS": "canary-former-Ab3kTy7Ue1QwZx5Cv9BnMp2",
    "NEXT_SECRET_KEY": "canary-next-Mc7uJk4Ws9DfXe3Rv6TgNq8",
    "ZENZEFI_BASIC_AUTH_USER": "upstream",
    "ZENZEFI_BASIC_AUTH_PASSWORD": "canary basic auth",
    "STRIPE_SECRET_KEY": "sk_test_canarystripe",
    "STRIPE_WEBHOOK_SECRET": "whsec_canaryhook",
    "STRIPE_API_BASE": "http://127.0.0.1:1",
    "PAYMENT_PROVIDERS": "manual,stripe",
    "MAIL_URL": "smtp://me:canary-mail-pass@127.0.0.1:1",
    "ZENZEFI_TARGET_URL": "http://127.0.0.1:1",
    "BROWSER_MOUNT": "prefix",
    "PROXY_HOST": "app.test",
}
HIDDEN = {
    *(SETTINGS["SECRET_KEY"], SETTINGS["PREVIOUS_SECRET_KEYS"], SETTINGS["NEXT_SECRET_KEY"]),
    "canary basic auth",
    *("sk_test_canarystripe", "whsec_canaryhook", "canary-mail-pass"),
}
PASSWORD = "canary pass phrase"
PLUGIN = """
from zenzefi.plugins import *

class Leaky(Plugin):
    name = "leaky"

    def request_headers(self, context, headers):
        raise RuntimeError("with " + str(dict(headers)))
"""


@pytest.fixture(params=["json", "pretty"])
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GateProcess]:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "leaky.py").write_text(PLUGIN)
    running = GateProcess(
        str(tmp_path),
        LOG_FORMAT=request.param,
        LOG_LEVEL="DEBUG",
        PLUGIN_DIR=str(plugins),
        **SETTINGS,
    )
    yield running
    running.stop()


async def _signed_in_at_the_own_origin(client: aiohttp.ClientSession, origin: str) -> set[str]:
    """Redeem a ticket there, once more than it works; returns the ticket and the nonce."""
    own, enter = {"Host": "app.test"}, "/.well-known/zenzefi/enter"
    async with client.get(origin + enter, headers=own, allow_redirects=False) as begun:
        back = origin + enter + begun.headers["Location"].partition(enter)[2]
        nonce = next(iter(begun.cookies.values())).value
    async with client.get(back, allow_redirects=False) as issued:
        query = issued.headers["Location"].partition("?")[2]
    for status in (303, 401):
        async with client.get(
            f"{origin}{enter}?{query}", headers=own, allow_redirects=False
        ) as entered:
            assert entered.status == status
    return {nonce, query.partition("ticket=")[2].partition("&")[0].removesuffix("%3D%3D")}


async def test_no_secret_gets_into_the_log(gate: GateProcess) -> None:
    origin = f"http://127.0.0.1:{gate.port}"
    api = f"{origin}/api/v1"
    hidden = {*HIDDEN, PASSWORD}
    jar = aiohttp.CookieJar(unsafe=True)
    async with asyncio.timeout(60), aiohttp.ClientSession(cookie_jar=jar) as client:

        async def call(method: str, url: str, expected: int, **options: object) -> object:
            options.setdefault("allow_redirects", False)
            async with client.request(method, url, **options) as response:  # type: ignore[arg-type]
                assert response.status == expected, await response.text()
                return await response.json() if response.content_type.endswith("json") else None

        who = {"email": "ann@example.com", "password": PASSWORD}
        await call("POST", f"{api}/auth/register", 201, json={**who, "username": "ann"})
        signed_in = await call("POST", f"{api}/auth/login", 200, json=who)
        assert isinstance(signed_in, dict)
        bearer = {"Authorization": f"Bearer {signed_in['access_token']}"}
        hidden.add(str(signed_in["access_token"]))
        wrong = {**who, "password": "canary wrong guess"}
        hidden.add("canary wrong guess")
        await call("POST", f"{api}/auth/login", 401, json=wrong)
        await call("POST", f"{api}/auth/login", 422, data=f'{{"password": "{PASSWORD}"')
        await call("GET", f"{api}/users/me", 401, headers={"Authorization": "Bearer canary.jwt.x"})
        hidden.add("canary.jwt.x")
        # Through the pages: the session's cookie, the mail that can't be sent.
        navigation = {
            "Accept": "text/html",
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-User": "?1",
        }
        async with client.get(f"{origin}/login", headers=navigation) as page:
            assert page.status == 200
        headers = {**navigation, "Origin": origin}
        async with client.post(f"{origin}/login", data=who, headers=headers) as page:
            await page.read()
        async with client.post(
            f"{origin}/login/forgotten", data={"email": who["email"]}, headers=headers
        ) as page:
            await page.read()
        purchase = await call(
            "POST", f"{api}/tokens/purchase", 201, json={"duration_hours": 1}, headers=bearer
        )
        assert isinstance(purchase, dict)
        token = str(purchase["token"])
        hidden.add(token)
        # Proxied requests, with a token in every place; the upstream is down.
        await call("POST", f"{api}/proxy/authenticate", 200, json={"token": token})
        hidden |= await _signed_in_at_the_own_origin(client, origin)
        await call("GET", f"{api}/proxy/page?token={token}", 502, headers={"X-Access-Token": token})
        await call("GET", f"{api}/proxy/page", 502, headers={"Referer": f"{api}/x?token={token}"})
        await call(
            "GET", f"{origin}/stray?token={token}", 307, headers={"Referer": f"{api}/proxy/"}
        )
        await call("GET", f"{api}/proxy/{token}", 502)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(f"{api}/proxy/live?token={token}")
        unknown = secrets.token_urlsafe(48)
        hidden.add(unknown)
        await call("GET", f"{api}/proxy/page", 401, headers={"X-Access-Token": unknown})
        await call("GET", f"{api}/proxy/page", 401, headers={"X-Access-Token": "canary?short"})
        hidden.add("canary?short")
        # Money: a provider that is away, a signature that does not fit.
        payment = {"amount_znc": "10.00", "return_url": f"{origin}/", "provider": "stripe"}
        async with client.post(
            f"{api}/currency/purchase", json=payment, headers=bearer
        ) as response:
            await response.read()
        signature = {"Stripe-Signature": "t=1,v1=canarysignature"}
        hidden.add("canarysignature")
        async with client.post(
            f"{api}/webhooks/payment/stripe", data=b"{}", headers=signature
        ) as response:
            assert response.status >= 400
        await call("DELETE", f"{api}/tokens/{purchase['id']}", 200, headers=bearer)
        hidden |= {cookie.value for cookie in jar if len(cookie.value) > 15}
    await asyncio.to_thread(gate.stop)
    said = gate.output + gate.announcement
    assert "/api/v1/proxy/page" in said
    assert "leaky" in said
    found = {secret for secret in hidden if secret in said}
    assert found == set()
    assert len(hidden) > 12
