"""An upstream that authenticates TCP connections (NTLM, Negotiate): no client uses another's."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re

import pytest

from tests.kit.authenticating_upstream import ServeAuthenticating, body, first_legs, sign_in
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.raw_connections import Connect
from tests.kit.visiting_browser import VisitingBrowser
from tests.kit.waiting import until

pytestmark = pytest.mark.every_loop


OTHER = "O" * 64


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate", "ntlm"])
async def test_two_users_over_one_pool_stay_who_they_are(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, scheme: str
) -> None:
    upstream = await serve(scheme=scheme)
    gate = await start_gate(upstream.url)
    gate.tokens.add(OTHER, activated=True)
    alice, bob, third = [await connect(gate) for _ in range(3)]
    assert await body(third, "/open") == b"you are nobody"
    await sign_in(alice, "alice", scheme=scheme)
    assert await body(bob, token=OTHER) == b"who are you"
    assert await body(third, "/open") == b"you are nobody"
    await sign_in(bob, "bob", OTHER, scheme=scheme)
    for path in ("/page", "/open", "/page?x=1"):
        for method in ("GET", "POST"):
            assert await body(alice, path, method=method) == b"you are alice"
            assert await body(bob, path, token=OTHER, method=method) == b"you are bob"
            assert await body(third, "/open", method=method) == b"you are nobody"
    # The same headers of the third leg do not authenticate another client.
    last = next(h for _, h in upstream.heads if " 3.alice" in h)
    line = next(line for line in last.split("\r\n") if line.startswith("Authorization"))
    assert await body(third, "/page", line) == b"wrong connection"


@pytest.mark.parametrize("seed", range(6))
async def test_no_client_is_served_as_another_user_under_random_interleaving(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, seed: int
) -> None:
    """Clients of three users that come, sign in by halves, meet errors, and leave; interleaved."""
    chance = random.Random(seed)
    upstream = await serve()
    gate = await start_gate(upstream.url, upstream_max_connections=40)
    users = {"alice": TOKEN, "bob": OTHER, "carol": OTHER}
    gate.tokens.add(OTHER, activated=True)
    served = []

    async def browse(user: str) -> None:
        token = users[user]
        for _ in range(6):
            browser = await connect(gate)
            for _ in range(chance.randrange(1, 6)):
                what = chance.choice(
                    ("in", "half", "request", "open", "break", "cut", "close", "post")
                )
                with contextlib.suppress(AssertionError, OSError, RuntimeError, StopIteration):
                    if what == "in":
                        await sign_in(browser, user, token)
                    elif what == "half":
                        await first_legs(browser, token)
                    else:
                        path = {
                            "open": "/open",
                            "break": "/break",
                            "cut": "/half",
                            "close": "/close",
                        }.get(what, "/page")
                        method = "POST" if what == "post" else "GET"
                        received = await body(browser, path, token=token, method=method)
                        if received.startswith(b"you are"):
                            served.append((user, received))
                await asyncio.sleep(chance.random() / 100)
            browser.close()

    await asyncio.gather(*(browse(user) for user in users for _ in range(3)))
    assert served
    for user, received in served:
        assert received in (f"you are {user}".encode(), b"you are nobody")
    # Authenticated connections were closed with their clients; the rest have no user.
    await until(lambda: all(connection.user is None for connection in upstream.open))
    await until(lambda: gate.gate.upstream.budget.long_lived == 0)


async def test_both_connections_end_together(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    await sign_in(browser, "alice")
    assert gate.gate.upstream.budget.held(gate.tokens.known[TOKEN].token_id) == (0, 1)
    browser.close()
    await until(lambda: not any(c.user for c in upstream.open))
    other = await connect(gate)
    await sign_in(other, "alice")
    upstream.hang_up()
    assert await other.reader.read() == b"", "a browser sees it as it would without the gate"
    await until(lambda: gate.gate.upstream.budget.open == 0)


async def test_another_token_on_the_same_client_connection_gets_another_connection(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    gate.tokens.add(OTHER, activated=True)
    browser = await connect(gate)
    await sign_in(browser, "alice")
    assert await body(browser, "/open", token=OTHER) == b"you are nobody"
    assert await body(browser, "/open") == b"you are nobody", "it was closed, not put aside"
    await until(lambda: not any(c.user for c in upstream.open))


@pytest.mark.parametrize("line", ["X-Device-ID: another-one", "User-Agent: another"])
async def test_another_user_of_the_same_token_gets_another_connection(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, line: str
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    await sign_in(browser, "alice")
    assert await body(browser, "/open", line) == b"you are nobody"


async def test_a_browser_known_by_cookie_continues_on_the_connection_that_challenged_it(
    start_gate: GateFactory, serve: ServeAuthenticating
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url, browser_mount="prefix")
    signed_in = VisitingBrowser(gate).sign_in()
    cookies = "; ".join(f"{k}={v}" for k, v in signed_in.cookies["127.0.0.1"].items())
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    received = []
    for line in ("X-Plain: 1", "X-Plain: 1", "Authorization: NTLM 1.", "X-Plain: 1"):
        writer.write(
            f"GET {PREFIX}/page HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\nCookie: {cookies}\r\n"
            f"User-Agent: {signed_in.agent}\r\nSec-Fetch-Site: same-origin\r\n"
            f"{line}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(value) for value in re.findall(rb"(?i)content-length: ([0-9]+)", head))
        received.append((head[9:12], await reader.readexactly(length)))
    writer.close()
    assert received == [(b"401", b"who are you")] * 2 + [
        (b"401", b"more"),
        (b"401", b"who are you"),
    ]
    assert len({connection for connection, _ in upstream.heads}) == upstream.made == 1


async def test_without_keep_alive_no_upstream_connection_is_kept(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    for line in ("Authorization: NTLM 1.", "Authorization: Negotiate abc", "X-Plain: 1"):
        response = await gate.request(PREFIX + "/page", line)
        assert response.startswith(b"HTTP/1.1 401")
        await until(lambda: not upstream.open)
    assert gate.gate.upstream.budget.open == 0


async def test_behind_a_reverse_proxy_connections_are_shared_by_browsers(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url, trusted_proxies="127.0.0.1")
    browser = await connect(gate)
    forwarded = "X-Forwarded-For: 192.0.2.1"
    response = await browser.request(PREFIX + "/page", "Authorization: NTLM 1.", forwarded)
    assert response.start.startswith(b"HTTP/1.1 401")
    await until(lambda: not upstream.open)
    assert await body(browser, "/page", forwarded) == b"who are you"
    await until(lambda: not upstream.open)


@pytest.mark.parametrize("signed_in", [True, False], ids=["signed in", "stranger"])
async def test_a_websocket_goes_over_the_authenticated_connection(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, signed_in: bool
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser, other = await connect(gate), await connect(gate)
    await sign_in(browser, "alice")
    who = browser if signed_in else other
    made = upstream.made
    who.send(
        PREFIX + "/socket",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    head = await who.reader.readuntil(b"\r\n\r\n")
    if not signed_in:
        assert head.startswith(b"HTTP/1.1 401")
        return
    assert head.startswith(b"HTTP/1.1 101")
    assert (await who.reader.readexactly(15))[2:] == b"you are alice"
    assert upstream.made == made
    who.close()
    await until(lambda: not any(c.user for c in upstream.open))
    await until(lambda: gate.gate.upstream.budget.long_lived == 0)


async def test_a_handshake_may_be_made_by_upgrades_alone(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    response = await browser.request(PREFIX + "/socket", "Authorization: NTLM 1.", *upgrade)
    line = next(h for h in response.headers if h.lower().startswith(b"www-authenticate"))
    nonce = line.decode().rpartition(".")[2]
    browser.send(PREFIX + "/socket", f"Authorization: NTLM 3.alice.{nonce}", *upgrade)
    assert (await browser.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    assert (await browser.reader.readexactly(15))[2:] == b"you are alice"


async def test_the_middle_of_a_handshake_is_not_sent_on_another_connection(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    nonce = await first_legs(browser)
    for connection in list(upstream.open):
        connection.transport.abort()
    browser.send(PREFIX + "/page", f"Authorization: NTLM 3.alice.{nonce}")
    rest = b""
    with contextlib.suppress(ConnectionError):
        rest = await browser.reader.read()
    assert not rest or rest.startswith(b"HTTP/1.1 502")
    assert not any(" 3.alice" in head for _, head in upstream.heads)


async def test_a_dead_pooled_connection_does_not_swallow_credentials(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    assert await body(browser, "/open") == b"you are nobody"
    assert await body(browser, "/open", method="POST") == b"you are nobody"
    made = upstream.made
    response = await browser.request(PREFIX + "/page", "Authorization: NTLM 1.")
    assert b"more" in response.body
    assert upstream.made == made + 1


async def test_the_gates_own_credentials_are_per_request(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(
        upstream.url, zenzefi_basic_auth_user="gate", zenzefi_basic_auth_password="secret"
    )
    for _ in range(3):
        browser = await connect(gate)
        received = await body(browser, "/open", "Authorization: NTLM 1.")
        assert received == b"you are nobody"
    assert upstream.made <= 2  # each path has a separate pool
    assert not any("NTLM" in head for _, head in upstream.heads)


async def test_owned_connections_are_bounded(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url, upstream_max_connections=4)
    browsers = [await connect(gate) for _ in range(3)]
    line = "Authorization: NTLM 1."
    responses = [(await b.request(PREFIX + "/page", line)).start.split()[1] for b in browsers]
    assert responses == [b"401", b"429", b"429"]
    assert len(upstream.open) <= 4
    assert await body(browsers[1], "/open") == b"you are nobody"
