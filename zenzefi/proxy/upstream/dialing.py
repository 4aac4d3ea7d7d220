"""Connects a socket to a host, trying the addresses of its name in turn (RFC 8305).

``loop.create_connection`` tries one address after the other until each has failed. If the first one
drops packets, that takes the whole timeout for connecting. asyncio has an option for it, which
uvloop ignores, so both loops use this module.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, zip_longest
from typing import NamedTuple

ATTEMPT_SECONDS = 0.25
"""How long an attempt may take before the next one is started too (RFC 8305, 5 and 8)."""


class Address(NamedTuple):
    """One address to connect to; ``sockaddr`` as the family wants it."""

    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


Connect = Callable[[Address], Awaitable[socket.socket]]


async def dial(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket. ``host``: a name or an address without brackets.

    Raises ``OSError``: of the resolver, or of the first attempt that failed.
    """
    addresses = await _addresses(host, port)
    if len(addresses) == 1:
        return await _connect(addresses[0])
    return await connect_first(addresses, _connect)


async def _addresses(host: str, port: int) -> list[Address]:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return interleaved(Address(family, sockaddr) for family, _, _, _, sockaddr in found)
    if literal.version == 4:
        return [Address(socket.AF_INET, (host, port))]
    bare, _, zone = host.partition("%")
    scope = socket.if_nametoindex(zone) if zone else 0
    return [Address(socket.AF_INET6, (bare, port, 0, scope))]


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """The families alternate, beginning with that of the first address (RFC 8305, 4)."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.family, []).append(address)
    return [address for address in chain(*zip_longest(*families.values())) if address is not None]


async def connect_first(
    addresses: Iterable[Address], connect: Connect, *, delay: float = ATTEMPT_SECONDS
) -> socket.socket:
    """The first socket that is connected; the other attempts are cancelled.

    An attempt starts when the one before has failed, or has taken ``delay`` seconds. Raises the
    ``OSError`` of the first attempt that failed if all fail.
    """
    left = deque(addresses)
    running: set[asyncio.Future[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while left or running:
            if left:
                running.add(asyncio.ensure_future(connect(left.popleft())))
            done, _ = await asyncio.wait(
                running, timeout=delay if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    running.discard(attempt)
                    return attempt.result()
                running.discard(attempt)
                errors.append(error)
    finally:
        for attempt in running:
            attempt.cancel()
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, socket.socket):  # connected at the same time as another one
                result.close()
    raise errors[0] if errors else OSError("the name has no address")


async def _connect(address: Address) -> socket.socket:
    connected = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connected, address.sockaddr)
    except BaseException:
        connected.close()
        raise
    return connected
