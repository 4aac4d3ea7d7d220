"""An upstream that authenticates TCP connections (NTLM, Negotiate): no client gets another's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import random
import re
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, RawConnection
from tests.kit.visiting_browser import VisitingBrowser
from tests.kit.waiting import until
from zenzefi.proxy.upstream.connection_auth import has_credentials, is_challenged

pytestmark = pytest.mark.every_loop

OTHER = "O" * 64
_NONCES = itertools.count(1)


class AuthenticatingUpstream(asyncio.Protocol):
    """Three legs authenticate the connection; afterwards it serves all requests on it."""

    scheme = "NTLM"
    challenge = "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n"
    always = ""
    server: ClassVar[asyncio.Server]
    url: ClassVar[str]
    open: ClassVar[set[AuthenticatingUpstream]]
    made: ClassVar[int]
    heads: ClassVar[list[tuple[AuthenticatingUpstream, str]]]

    @classmethod
    async def serve(cls, **attributes: Any) -> Any:
        kind: Any = type("Upstream", (cls,), {"open": set(), "made": 0, "heads": [], **attributes})
        kind.server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0)
        kind.url = f"http://127.0.0.1:{kind.server.sockets[0].getsockname()[1]}"
        return kind

    @classmethod
    async def stop(cls) -> None:
        cls.server.close()
        cls.hang_up()
        await asyncio.sleep(0.01)

    @classmethod
    def hang_up(cls) -> None:
        for connection in list(cls.open):
            connection.transport.abort()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""
        self.user: str | None = None
        self.nonce: int | None = None
        type(self).made += 1
        type(self).open.add(self)

    def connection_lost(self, exc: Any) -> None:
        type(self).open.discard(self)

    def data_received(self, data: Any) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end].decode("latin-1"), self.data[end + 4 :]
            type(self).heads.append((self, head))
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            fields = {name.lower(): value for name, _, value in lines}
            self.data = self.data[int(fields.get("content-length", 0)) :]
            self.respond(head.split(" ")[1].partition("?")[0], fields)

    def respond(self, path: str, fields: Any) -> None:
        scheme, _, credentials = fields.get("authorization", "").partition(" ")
        if path == "/break":
            self.transport.abort()
            return
        if path == "/half":
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 9\r\n\r\nx"
            )
            self.transport.close()
            return
        if scheme.lower() == self.scheme.lower():
            leg, _, rest = credentials.partition(".")
            if leg == "1":
                self.user, self.nonce = None, next(_NONCES)
                self.send_response(
                    401, f"WWW-Authenticate: {self.scheme} nonce.{self.nonce}\r\n", "more"
                )
                return
            user, _, nonce = rest.partition(".")
            if nonce != str(self.nonce):
                self.send_response(401, self.challenge, "wrong connection")
                return
            self.user = user
        if "upgrade" in fields and path == "/socket" and self.user is not None:
            self.upgrade(fields)
        elif self.user is None and path != "/open":
            self.send_response(401, self.challenge, "who are you")
        else:
            closing = "Connection: close\r\n" if path == "/close" else ""
            self.send_response(200, closing, f"you are {self.user or 'nobody'}")
            if closing:
                self.transport.close()

    def send_response(self, status: Any, lines: Any, text: Any) -> None:
        self.transport.write(
            f"HTTP/1.1 {status} S\r\nContent-Type: image/png\r\nContent-Length: {len(text)}\r\n"
            f"{self.always}{lines}\r\n{text}".encode()
        )

    def upgrade(self, fields: Any) -> None:
        key = fields["sec-websocket-key"].encode()
        accept_key = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        text = f"you are {self.user}".encode()
        self.transport.write(
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(accept_key) + b"\r\n\r\n"
            b"\x81" + bytes([len(text)]) + text
        )


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    running = []

    async def start(**attributes: Any) -> Any:
        running.append(await AuthenticatingUpstream.serve(**attributes))
        return running[-1]

    yield start
    for upstream in running:
        await upstream.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    browsers = []

    async def connect(gate: RunningGate) -> RawConnection:
        browser = RawConnection(*await asyncio.open_connection("127.0.0.1", gate.port))
        browsers.append(browser)
        return browser

    yield connect
    for browser in browsers:
        browser.close()


async def first_legs(
    browser: Any, token: str = TOKEN, scheme: str = "NTLM", path: str = "/page"
) -> Any:
    """The challenge's nonce, after two of three legs."""
    assert (await browser.request(PREFIX + path, token=token)).start.startswith(b"HTTP/1.1 401")
    response = await browser.request(PREFIX + path, f"Authorization: {scheme} 1.", token=token)
    assert response.start.startswith(b"HTTP/1.1 401")
    line = next(h for h in response.headers if h.lower().startswith(b"www-authenticate"))
    return line.decode().rpartition(".")[2]


async def sign_in(browser: Any, user: Any, token: str = TOKEN, scheme: str = "NTLM") -> None:
    nonce = await first_legs(browser, token, scheme)
    last = f"Authorization: {scheme} 3.{user}.{nonce}"
    response = await browser.request(PREFIX + "/page", last, token=token)
    assert response.body == f"you are {user}".encode()


async def body(
    browser: Any, path: str = "/page", *headers: str, token: str = TOKEN, method: str = "GET"
) -> Any:
    return (await browser.request(PREFIX + path, *headers, token=token, method=method)).body


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate", "ntlm"])
async def test_two_users_over_one_pool_stay_who_they_are(
    start_gate: GateFactory, serve: Any, connect: Connect, scheme: str
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
async def test_whatever_happens_in_between_nobody_is_served_as_another(
    start_gate: GateFactory, serve: Any, connect: Connect, seed: Any
) -> None:
    """Clients of three users that come, sign in by halves, meet errors, and leave; interleaved."""
    chance = random.Random(seed)
    upstream = await serve()
    gate = await start_gate(upstream.url, upstream_max_connections=40)
    users = {"alice": TOKEN, "bob": OTHER, "carol": OTHER}
    gate.tokens.add(OTHER, activated=True)
    served = []

    async def browse(user: Any) -> None:
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
    start_gate: GateFactory, serve: Any, connect: Connect
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


async def test_another_token_on_the_same_connection_gets_another_one(
    start_gate: GateFactory, serve: Any, connect: Connect
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
async def test_so_does_another_user_of_the_same_token(
    start_gate: GateFactory, serve: Any, connect: Connect, line: str
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    browser = await connect(gate)
    await sign_in(browser, "alice")
    assert await body(browser, "/open", line) == b"you are nobody"


async def test_a_browser_known_by_cookie_goes_on_over_the_connection_that_challenged_it(
    start_gate: GateFactory, serve: Any
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


async def test_without_keep_alive_nothing_is_kept(
    start_gate: GateFactory, serve: Any, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url)
    for line in ("Authorization: NTLM 1.", "Authorization: Negotiate abc", "X-Plain: 1"):
        response = await gate.request(PREFIX + "/page", line)
        assert response.startswith(b"HTTP/1.1 401")
        await until(lambda: not upstream.open)
    assert gate.gate.upstream.budget.open == 0


async def test_behind_a_reverse_proxy_connections_are_shared_by_browsers(
    start_gate: GateFactory, serve: Any, connect: Connect
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
    start_gate: GateFactory, serve: Any, connect: Connect, signed_in: bool
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
    start_gate: GateFactory, serve: Any, connect: Connect
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
    start_gate: GateFactory, serve: Any, connect: Connect
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
    start_gate: GateFactory, serve: Any, connect: Connect
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


@pytest.mark.parametrize(
    "lines",
    [
        "WWW-Authenticate: NTLM",
        'www-authenticate: Basic realm="x", nEgOtIaTe',
        "WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: Negotiate YII=",
        "Proxy-Authenticate: NTLM",
        "Proxy-Authenticate: Basic realm=x,NTLM TlRM",
        "Persistent-Auth: true",
    ],
)
@pytest.mark.parametrize("path", ["/open", "/page"])
async def test_a_connection_that_has_seen_a_sign_is_not_shared(
    start_gate: GateFactory, serve: Any, connect: Connect, lines: str, path: str
) -> None:
    upstream = await serve(always=lines + "\r\n", challenge="")
    gate = await start_gate(upstream.url)
    for number in range(1, 4):
        browser = await connect(gate)
        await browser.request(PREFIX + path)
        await browser.request(PREFIX + path)
        assert upstream.made == number, "its own is kept, another client's is not used"
    assert gate.gate.upstream.budget.idle == 0


@pytest.mark.parametrize(
    "lines", ['WWW-Authenticate: Basic realm="NTLM-free"', "WWW-Authenticate: Digest realm=x"]
)
async def test_other_schemes_share_connections(
    start_gate: GateFactory, serve: Any, connect: Connect, lines: str
) -> None:
    upstream = await serve(always=lines + "\r\n", challenge="")
    gate = await start_gate(upstream.url)
    for _ in range(3):
        browser = await connect(gate)
        await browser.request(PREFIX + "/page", "Authorization: Basic dTpw")
    assert upstream.made == 1


async def test_the_gates_own_credentials_are_per_request(
    start_gate: GateFactory, serve: Any, connect: Connect
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
    start_gate: GateFactory, serve: Any, connect: Connect
) -> None:
    upstream = await serve()
    gate = await start_gate(upstream.url, upstream_max_connections=4)
    browsers = [await connect(gate) for _ in range(3)]
    line = "Authorization: NTLM 1."
    responses = [(await b.request(PREFIX + "/page", line)).start.split()[1] for b in browsers]
    assert responses == [b"401", b"429", b"429"]
    assert len(upstream.open) <= 4
    assert await body(browsers[1], "/open") == b"you are nobody"


_SCHEMES = st.sampled_from(["Basic", "Digest", "Bearer", "NTLM", "Negotiate", "nTLM", "Kerberos"])
_BOUND = {"ntlm", "negotiate", "kerberos"}


@given(
    schemes=st.lists(_SCHEMES, min_size=1, max_size=5),
    separator=st.sampled_from([",", ", ", " ,\t"]),
    parameters=st.sampled_from(["", " TlRMTVNTUA==", ' realm="a, b"']),
    name=st.sampled_from([b"WWW-Authenticate", b"www-authenticate", b"PROXY-AUTHENTICATE"]),
)
def test_a_scheme_is_found_wherever_it_stands_in_the_list(
    schemes: list[str], separator: str, parameters: str, name: bytes
) -> None:
    value = separator.join(scheme + parameters for scheme in schemes).encode()
    expected = any(scheme.lower() in _BOUND for scheme in schemes)
    assert is_challenged([(b"X", b"y"), (name, value)]) == expected
    assert not is_challenged([(b"X-" + name, value)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"NTLM TlRM", True),
        (b"  negotiate\tYII", True),
        (b"Negotiate", True),
        (b"NTLMv2x abc", False),
        (b"Basic NTLM", False),
        (b"", False),
    ],
)
def test_credentials_are_told_by_their_scheme(value: bytes, expected: bool) -> None:
    assert has_credentials([(b"authorization", value)]) is expected
    assert has_credentials([(b"Proxy-Authorization", value)]) is expected
    assert not has_credentials([(b"x-authorization", value)])
