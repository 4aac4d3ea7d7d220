"""Which addresses are counted as one."""

from __future__ import annotations

import ipaddress


def rate_limit_network(address: str) -> str:
    """The network that counts as one address: the /64 of IPv6, the address itself of IPv4.

    A whole /64 is what one subscriber is normally assigned (RFC 6177), and a client can use a
    different address of it for every request (RFC 8981). A text that is not an address is returned
    unchanged.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
