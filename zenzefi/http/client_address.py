"""The client's address, and whether its forwarded headers are trusted.

``X-Forwarded-For`` is read from the right. While an address is a trusted proxy, the address before
it is used; the first address that is not a trusted proxy is the client. The clients of a Unix
socket have no address: ``unix`` in ``TRUSTED_PROXIES`` trusts all of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.settings import SETTINGS, Network
from zenzefi.settings.values import UNIX_PEERS

_MAX_HOPS = 16


class ClientAddress(NamedTuple):
    """The client's address in text (``""`` on a Unix socket) and whether a trusted proxy spoke."""

    address: str
    is_behind_trusted_proxy: bool = False


CLIENT_ADDRESS = web.RequestKey("peer", ClientAddress)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=1024)  # only addresses: an error is not kept
def _address(text: str) -> tuple[_Address, str]:
    """An address, and its canonical text. Raises ``ValueError``."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address, str(mapped or address)


def _parse(text: str) -> tuple[_Address, str] | None:
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return _address(text.partition("%")[0])
    except ValueError:
        return None


def resolve_client_address(
    remote: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]
) -> ClientAddress:
    """The client behind ``remote`` (the socket's address).

    ``forwarded_for`` holds the received ``X-Forwarded-For`` lines. A malformed entry ends the walk:
    the entries to its left were not written by a trusted proxy.
    """
    direct = _parse(remote or "")
    if direct is None:
        if UNIX_PEERS not in trusted:
            return ClientAddress("")
        direct = UNIX_PEERS.network_address, ""
    client, known = direct
    if not trusted or not any(client in network for network in trusted):
        return ClientAddress(known)
    for entry in reversed(",".join(forwarded_for).split(",")[-_MAX_HOPS:]):
        found = _parse(entry)
        if found is None:
            break
        client, known = found
        if not any(client in network for network in trusted):
            break
    return ClientAddress("" if client in UNIX_PEERS else known, is_behind_trusted_proxy=True)


def socket_address(request: web.BaseRequest) -> str:
    """The address of the socket's other end; ``""`` on a Unix socket.

    There it is a name that the client chose, which may look like an address.
    """
    transport = request.transport
    if transport is not None and not isinstance(transport.get_extra_info("peername"), tuple):
        return ""
    return request.remote or ""


def client_address_of(request: web.BaseRequest) -> ClientAddress:
    """The peer of this request, resolved once."""
    if CLIENT_ADDRESS in request:
        return request[CLIENT_ADDRESS]
    return ClientAddress(socket_address(request))


@web.middleware
async def client_address_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Resolve the client's address for the middlewares and handlers that follow."""
    request[CLIENT_ADDRESS] = resolve_client_address(
        socket_address(request),
        request.headers.getall("X-Forwarded-For", ()),
        request.app[SETTINGS].trusted_proxies,
    )
    return await handler(request)
