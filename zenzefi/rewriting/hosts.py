"""Hosts and origins, parsed by the WHATWG URL Standard, https://url.spec.whatwg.org/."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

import idna

from zenzefi.origin import DEFAULT_PORTS, Origin

_FORBIDDEN_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^`{|}\x7f]")
_PLAIN_HOST = re.compile(
    r"[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*\.[a-z_\-]*[a-z][a-z0-9_\-]*|[a-z][a-z0-9_\-]*"
)
_PORT = re.compile(r"0*([0-9]{0,5})")
_LONGEST_HOST = 1024
"""Most characters of a host: a name has at most 253 (RFC 1035), and one may be percent-encoded as
several. The time of "domain to ASCII" grows with the square of the length."""


def read_origin(scheme: str, hostport: str) -> Origin | None:
    """The origin of ``scheme`` and ``host[:port]`` (sections 3.5 and 4.4), None if it is invalid.

    WebSocket schemes count as their HTTP counterparts.
    """
    default = DEFAULT_PORTS[scheme]
    host, port = hostport, default
    colon = hostport.rfind(":")
    if colon > hostport.rfind("]"):
        digits = _PORT.fullmatch(hostport, colon + 1)
        if digits is None:
            return None
        host = hostport[:colon]
        if colon + 1 < len(hostport):
            port = int(digits[1] or "0")
            if port > 65535:
                return None
    name = read_host(host)
    if name is None:
        return None
    return Origin({"ws": "http", "wss": "https"}.get(scheme, scheme), name, port)


def read_host(host: str) -> str | None:
    """The host parser for special schemes (section 3.5): normalised ASCII, None if invalid.

    Also None if it is longer than any name in the DNS.
    """
    if len(host) > _LONGEST_HOST:
        return None
    low = host.lower()
    if _PLAIN_HOST.fullmatch(low):
        return low
    if host.startswith("["):
        if not host.endswith("]"):
            return None
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
        if address.scope_id is not None:
            return None
        return f"[{_ipv6(address)}]"
    try:
        name = unquote_to_bytes(host.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeError:
        return None
    name = name.lower() if name.isascii() else _to_ascii(name)
    if not name or _FORBIDDEN_HOST.search(name):
        return None
    labels = name.split(".")
    last = labels[-1] or (labels[-2] if len(labels) > 1 else "")
    if last.isdigit() or re.fullmatch(r"0[xX][0-9a-fA-F]*", last):
        return _ipv4(labels)
    return name


def _to_ascii(name: str) -> str:
    """Domain to ASCII (section 3.3); empty if it fails."""
    try:
        return idna.encode(name, uts46=True, transitional=False).decode("ascii")
    except (UnicodeError, idna.IDNAError):
        pass
    try:  # the URL Standard accepts names that IDNA 2008 rejects, such as emoji
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
    except (UnicodeError, idna.IDNAError):
        return ""
    labels = mapped.split(".")
    return ".".join(s if s.isascii() else "xn--" + s.encode("punycode").decode() for s in labels)


def _ipv4(labels: list[str]) -> str | None:
    """The IPv4 parser (section 3.5): fewer parts, octal and hexadecimal numbers included."""
    if not labels[-1] and len(labels) > 1:
        labels = labels[:-1]
    if len(labels) > 4:
        return None
    numbers = []
    for label in labels:
        if not label.isascii() or not label:
            return None
        try:
            if label[:2] in ("0x", "0X"):
                numbers.append(int(label[2:] or "0", 16))
            elif len(label) > 1 and label[0] == "0":
                numbers.append(int(label, 8))
            else:
                numbers.append(int(label, 10))
        except ValueError:
            return None
    if any(n > 255 for n in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        return None
    value = numbers[-1]
    for i, n in enumerate(numbers[:-1]):
        value += n * 256 ** (3 - i)
    return str(ipaddress.IPv4Address(value))


def _ipv6(address: ipaddress.IPv6Address) -> str:
    """The serialisation of section 3.7: always hexadecimal pieces."""
    pieces = [f"{int(p, 16):x}" for p in address.exploded.split(":")]
    best, length = -1, 1
    i = 0
    while i < 8:
        j = i
        while j < 8 and pieces[j] == "0":
            j += 1
        if j - i > length:
            best, length = i, j - i
        i = max(j, i + 1)
    if best < 0:
        return ":".join(pieces)
    return ":".join(pieces[:best]) + "::" + ":".join(pieces[best + length :])
