"""A script of the application floods the cookie jar and plants an attacker's cookies.

In a real Chromium: under the prefix, at a second port and at its origin, over https and plain
http. The visitor may end up signed out, and never signed in as the attacker without being told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.kit.hostile_site import PASSWORD, Trap, Where, run, trap

# A browser that the gate does not know to keep the seal. It is the same Chromium.
OLD = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.0.0"
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
FLOOD_AND_PLANT = """
const [pairs] = args;
const write = (name, value, more) => {
  for (const path of ['/', '/account', '/login', '/api/v1/proxy'])
    document.cookie = `${name}=${value}; Path=${path}${more}`;
};
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=x; Path=/; Secure`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=x; Path=/`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=; Path=/; Max-Age=0; Secure`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=; Path=/; Max-Age=0`;
for (const [stored, value] of pairs) {
  const bare = stored.replace(/^__Host-Http-/, '');
  for (const prefix of ['', '__Host-', '__Http-', '__Host-Http-', '__host-http-'])
    for (const more of ['', '; Secure']) write(prefix + bare, value, more);
}
document.cookie = 'planted=1; Path=/';
// Writes are queued on their way to the cookie jar; a read waits for them.
return await loot(() => document.cookie.includes('planted=1') && 'done');
"""


@asynccontextmanager
async def attacked(
    folder: Path, database: str, where: Where, scheme: str, host: str = "127.0.0.1"
) -> AsyncIterator[Trap]:
    async with trap(
        folder, database, where=where, scheme=scheme, host=host, trusted_proxies="127.0.0.1"
    ) as found:
        yield found


async def gate_cookies(context: BrowserContext) -> list[list[str]]:
    """The gate's cookies in this profile: an attacker copies them from another browser."""
    return [
        [cookie["name"], cookie["value"]]
        for cookie in await context.cookies()
        if "zenzefi" in cookie["name"]
    ]


async def texts(page: Page, gate: str) -> str:
    await page.goto(f"{gate}/account/profile")
    return await page.locator("body").inner_text()


CASES: list[Any] = [
    pytest.param("prefix", "https", "127.0.0.1", None, id="prefix, https, sealed"),
    pytest.param("prefix", "http", "127.0.0.1", None, id="prefix, loopback, sealed"),
    pytest.param("prefix", "http", "127.0.0.1", OLD, id="prefix, loopback, not sealed"),
    pytest.param("port", "https", "127.0.0.1", None, id="second port, https, sealed"),
    pytest.param("port", "http", "127.0.0.1", OLD, id="second port, loopback, not sealed"),
    pytest.param("port", "http", "gate.example", None, id="second port, plain http"),
    pytest.param("own", "http", "127.0.0.1", None, id="own origin, loopback, sealed"),
    pytest.param("own", "http", "127.0.0.1", OLD, id="own origin, loopback, not sealed"),
]


@pytest.mark.parametrize(("where", "scheme", "host", "agent"), CASES)
async def test_no_user_is_silently_signed_in_as_the_attacker(
    chromium: Browser,
    sqlite_database: str,
    tmp_path: Path,
    where: Where,
    scheme: str,
    host: str,
    agent: str | None,
) -> None:
    async with attacked(tmp_path / "gate", sqlite_database, where, scheme, host) as gate:
        options: dict[str, Any] = {"user_agent": agent} if agent else {}
        # Where no script can write the names, the attacker may even share the network.
        is_sealed = agent is None and host == "127.0.0.1"
        far = {} if is_sealed else {"extra_http_headers": ELSEWHERE}
        attacker = await gate.visitor(chromium, "mallory", **options, **far)
        loot = await gate_cookies(attacker.context)
        assert any("session" in name for name, _ in loot)
        assert any("sign_in" in name for name, _ in loot)
        victim = await gate.visitor(chromium, "marta", **options)
        await victim.goto(gate.url())
        before = {tuple(pair) for pair in await gate_cookies(victim.context)}

        assert await run(victim, FLOOD_AND_PLANT, loot) == "done"
        async with asyncio.timeout(20):  # the flood and the planting took effect
            while before <= {  # noqa: ASYNC110 - it happens in the browser
                tuple(pair) for pair in await gate_cookies(victim.context)
            }:
                await asyncio.sleep(0.1)

        opened = await victim.goto(gate.url("/after"))
        assert opened is not None
        assert opened.status == 401
        # The attacker's token would have shown the attacker's own sessions.
        shown = await texts(victim, gate.gate)
        assert "mallory" not in shown
        if "Is this you?" in shown:
            assert "m•••y" in shown
            assert not is_sealed
            await victim.get_by_role("button", name="Sign in as yourself").click()
            await victim.wait_for_url("**/login")
        else:
            assert victim.url.startswith((f"{gate.gate}/login", f"{gate.gate}/account"))
            assert where == "own" or "/login" in victim.url
        # Not locked out either: the visitor signs in, and uses the application as themselves.
        if "/login" in victim.url:
            await victim.locator("#f-email").fill("marta@example.com")
            await victim.locator("#f-password").fill(PASSWORD)
            await victim.locator("main form button").click()
            await victim.wait_for_url(lambda url: "/account" in url)
        assert "marta" in await texts(victim, gate.gate)


LOG_IN_BY_SCRIPT = """
const [pairs, csrf, email, password, waits] = args;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=x; Path=/; Secure`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=x; Path=/`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=; Path=/; Max-Age=0; Secure`;
for (let i = 0; i < 400; i++) document.cookie = `flood${i}=; Path=/; Max-Age=0`;
for (const [stored, value] of pairs) {
  const bare = stored.replace(/^__Host-Http-/, '');
  for (const prefix of ['', '__Host-', '__Host-Http-'])
    document.cookie = prefix + bare + '=' + value + '; Path=/' + (prefix ? '; Secure' : '');
}
document.cookie = 'planted=1; Path=/';
await loot(() => document.cookie.includes('planted=1'));
history.replaceState(null, '', '/login');  // the Referer says so
const form = document.createElementNS('http://www.w3.org/1999/xhtml', 'form');
form.method = 'post';
form.action = '/login';
for (const [key, value] of Object.entries({csrf, email, password, next: '/account'})) {
  const field = document.createElementNS('http://www.w3.org/1999/xhtml', 'input');
  field.name = key; field.value = value;
  form.append(field);
}
document.body.append(form);
if (waits) document.addEventListener('click', () => form.submit());
else form.submit();
return 'done';
"""


@pytest.mark.parametrize("agent", [None, OLD], ids=["sealed", "not sealed"])
@pytest.mark.parametrize(
    ("is_clicked", "is_far"),
    [(False, False), (False, True), (True, True)],
    ids=["by script", "by script, from elsewhere", "by a stolen click, from elsewhere"],
)
async def test_a_script_under_the_mount_can_not_sign_its_visitor_in(
    chromium: Browser,
    sqlite_database: str,
    tmp_path: Path,
    agent: str | None,
    is_clicked: bool,
    is_far: bool,
) -> None:
    """It plants the visit cookie of its author, and sends the form that its author was given."""
    async with attacked(tmp_path / "gate", sqlite_database, "prefix", "http") as gate:
        options: dict[str, Any] = {"user_agent": agent} if agent else {}
        far = {"extra_http_headers": ELSEWHERE} if is_far else {}
        await (await gate.visitor(chromium, "mallory", **options)).context.close()
        author = await (await gate.profile(chromium, **options, **far)).new_page()
        await author.goto("/login")
        token = await author.locator("main input[name=csrf]").get_attribute("value")
        loot = await gate_cookies(author.context)
        assert len(loot) == 1

        victim = await gate.visitor(chromium, "marta", **options)
        await victim.goto(gate.url())
        arguments = (loot, token, "mallory@example.com", PASSWORD, is_clicked)
        async with victim.expect_response(lambda r: r.request.method == "POST") as sent:
            if is_clicked:
                assert await run(victim, LOG_IN_BY_SCRIPT, *arguments) == "done"
                await victim.locator("#here").click()
            else:  # in the document itself: what a test evaluates counts as a user's gesture
                script = f"(async args => {{{LOG_IN_BY_SCRIPT}}})({json.dumps(arguments)})"
                await victim.goto(gate.url(body=script), wait_until="commit")
        response = await sent.value
        assert response.url == f"{gate.gate}/login"
        assert response.status == 403
        assert response.headers.get("set-cookie", "").count("zenzefi_session") == 0
        await victim.wait_for_load_state()
        assert "mallory" not in await texts(victim, gate.gate)

        # The same form, in the browser that it was made for, signs in: the test can fail.
        if not is_clicked and not is_far:
            await author.locator("#f-email").fill("mallory@example.com")
            await author.locator("#f-password").fill(PASSWORD)
            await author.locator("main form button").click()
            await author.wait_for_url("**/account")
