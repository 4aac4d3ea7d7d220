"""Both sides of a WebSocket end in any order; nothing reaches the event loop as an error."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.raw_websockets import ACCEPTED, HANDSHAKE, frame, receive_head, reset
from tests.kit.waiting import until
from zenzefi.plugins import Plugin
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

pytestmark = [pytest.mark.every_loop, pytest.mark.usefixtures("loop_errors")]


class Reads(Plugin):
    """Reads each message and changes none."""

    name = "reads-messages"
    messages = True

    def websocket_message(self, context: Any, message: Any) -> Any:
        return message.data


@pytest.fixture
def at_once() -> bool:
    """As by default: a task serves WebSockets in both cases."""
    return True


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


class Pair:
    """The sockets of a browser and of an upstream; each method may come at any time."""

    def __init__(self, gate: RunningGate, listener: socket.socket) -> None:
        self.gate = gate
        self.listener = listener
        self.browser = socket.create_connection(("127.0.0.1", gate.port))
        self.browser.setblocking(False)
        self.browser.send(HANDSHAKE)
        self.upstream: socket.socket | None = None

    def actions(self) -> list[Callable[[], None]]:
        sides = [self._of(self.browser, masked=True)]
        if self.upstream is not None:
            sides.append(self._of(self.upstream, masked=False))
        return [*(action for side in sides for action in side), self._revoke, self._accept]

    def _of(self, sock: socket.socket, *, masked: bool) -> list[Callable[[], None]]:
        whole = frame(b"z" * 300, masked=masked)
        return [
            lambda: self._quietly(sock.send, whole),
            lambda: self._quietly(sock.send, whole[:100]),
            lambda: self._quietly(sock.send, frame(b"z" * 200_000, masked=masked)),
            lambda: self._quietly(sock.send, b"\xff" * 50),
            lambda: self._quietly(sock.send, frame(b"\x03\xe8", opcode=8, masked=masked)),
            lambda: self._quietly(sock.recv, 100_000),
            lambda: self._quietly(sock.shutdown, socket.SHUT_WR),
            lambda: self._quietly(reset, sock),
            sock.close,
        ]

    def _quietly(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except OSError:
            return

    def _revoke(self) -> None:
        if self.gate.tokens.known:
            self.gate.tokens.revoke()

    def _accept(self) -> None:
        self.has_accepted()

    def has_accepted(self) -> bool:
        """Whether the upstream has accepted the connection and the handshake."""
        if self.upstream is None:
            try:
                self.upstream, _ = self.listener.accept()
            except BlockingIOError:
                return False
            self.upstream.setblocking(False)
            self._quietly(self.upstream.send, ACCEPTED)
        return True

    def close(self) -> None:
        for sock in (self.browser, self.upstream):
            if sock is not None:
                sock.close()


@pytest.mark.parametrize("is_read", [False, True], ids=["relayed", "read by a plugin"])
@pytest.mark.parametrize("seed", range(6))
async def test_any_order_of_events(
    start_gate: GateFactory, listener: socket.socket, seed: int, is_read: bool
) -> None:
    rng = random.Random(seed)
    options: dict[str, Any] = {}
    if is_read:
        options["engine"] = Engine(Registry(classes=[Reads], entry_points=False))
    gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}", **options)
    for _ in range(25):
        gate.tokens.known.clear()
        gate.tokens.add(activated=rng.random() < 0.5)
        pair = Pair(gate, listener)
        if rng.random() < 0.8:
            await until(pair.has_accepted)
        for _ in range(rng.randrange(1, 9)):
            rng.choice(pair.actions())()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        pair.close()
    await until(lambda: not gate.gate.websockets.open_count)
    await until(lambda: not gate.gate.upstream.budget.long_lived)


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_closed_websocket_leaves_no_reference_cycle(
    start_gate: GateFactory, listener: socket.socket, is_revoked: bool
) -> None:
    """Garbage collections do not visit what has lived for long (zenzefi.runtime.memory)."""
    gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")

    async def open_and_close() -> None:
        gate.tokens.known.clear()
        gate.tokens.add(activated=True)
        pair = Pair(gate, listener)
        pair.upstream, _ = await asyncio.get_running_loop().sock_accept(listener)
        await receive_head(pair.upstream)
        pair.upstream.send(ACCEPTED)
        assert (await receive_head(pair.browser)).startswith(b"HTTP/1.1 101 ")
        if is_revoked:
            gate.tokens.revoke()
            pair.browser.send(frame(b"\x11\x31", opcode=8, masked=True))
        else:
            pair.close()
        await until(lambda: not gate.gate.websockets.open_count)
        pair.close()
        await until(lambda: not gate.gate.upstream.budget.long_lived)

    await open_and_close()
    gc.collect()
    gc.disable()
    try:
        await open_and_close()
        await asyncio.sleep(0.1)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = {type(one).__module__ for one in gc.garbage}
        assert not [name for name in found if name.startswith("zenzefi.proxy")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
