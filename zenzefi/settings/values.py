"""Types of single values: comma lists, JSON objects, origins, rates, and how each is validated.

The validators raise ``ValueError`` with the end of a sentence that begins with the setting's name.
"""

from __future__ import annotations

import ipaddress
import json
import re
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlsplit

from limits import parse_many
from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from zenzefi.origin import DEFAULT_PORTS, Origin


@lru_cache(maxsize=1024)  # requests repeat their few; the length of a host bounds a key
def parse_origin(value: str) -> Origin:
    """Parse ``http(s)://host[:port][/]``.

    Raises ``ValueError`` for anything else: a path, a user, a query, another scheme, a host of more
    than 255 characters (RFC 1035, 2.3.4).
    """
    match = _ORIGIN.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            f"{value!r} is not an origin like https://app.example:8443 (no path, no user)"
        )
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    number = int(port) if port else DEFAULT_PORTS[scheme]
    if not 1 <= number <= 65535:
        raise ValueError(f"port {number} is not between 1 and 65535")
    return Origin(scheme, host, number)


_ORIGIN = re.compile(r"(?i)(https?)://(\[[0-9a-f:.]{1,253}\]|[a-z0-9._-]{1,255})(?::(\d{1,5}))?/?")


def _normalized_origin(value: str) -> str:
    return str(parse_origin(value))


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


UNIX_PEERS = ipaddress.ip_network("::/128")
"""``unix`` in a list of networks: the clients of a Unix socket, which have no address. The
unspecified address stands for them, because no connection comes from it (RFC 4291, 2.5.2)."""


def _networks(value: Any) -> Any:
    try:
        return [
            UNIX_PEERS if item == "unix" else ipaddress.ip_network(item) for item in _split(value)
        ]
    except ValueError as error:
        raise ValueError(
            f"{error} (write addresses or networks like 10.0.0.0/8, or unix)"
        ) from None


def _json_object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"must be a JSON object ({error})") from None


def _rate(value: str) -> str:
    if value.strip().lower() in ("off", "none", "0"):
        return "off"
    try:
        parse_many(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not a rate: write 10/minute, 500/hour;20/second, or off"
        ) from None
    return value


def _host_and_port(value: str) -> str:
    try:
        parse_origin(f"http://{value}")
    except ValueError:
        raise ValueError("must be a host, or host:port, like app.gate.example:8443") from None
    return value.lower()


def _listener(value: str) -> str:
    try:
        parse_origin(f"http://{value}")
    except ValueError:
        raise ValueError("must be host:port, like 127.0.0.1:9100") from None
    if not re.search(r":\d+$", value):
        raise ValueError("must include a port, like 127.0.0.1:9100")
    return value


def _server_url(value: SecretStr) -> SecretStr:
    """Reject a URL that the drivers would reject later, in messages that may contain its password.

    Raises ``ValueError``.
    """
    parts = urlsplit(value.get_secret_value())
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is not a number between 0 and 65535") from None
    if parts.scheme.startswith("sqlite") and parts.path.strip("/") in ("", ":memory:"):
        raise ValueError("must contain a file name, like sqlite:////var/lib/zenzefi/gate.sqlite3")
    return value


Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CommaList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
SecretList = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]
NetworkList = Annotated[list[Network], NoDecode, BeforeValidator(_networks)]
OriginUrl = Annotated[str, AfterValidator(_normalized_origin)]
OriginList = Annotated[list[OriginUrl], NoDecode, BeforeValidator(_split)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
Listener = Annotated[str, AfterValidator(_listener)]
ServerUrl = Annotated[SecretStr, AfterValidator(_server_url)]
OptionsByPlugin = Annotated[dict[str, dict[str, Any]], NoDecode, BeforeValidator(_json_object)]
RulesByScope = Annotated[dict[str, list[str]], NoDecode, BeforeValidator(_json_object)]
Rate = Annotated[str, AfterValidator(_rate)]
"""``10/minute``, several joined by ``;``, or ``off``."""
