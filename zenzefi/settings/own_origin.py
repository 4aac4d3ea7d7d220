"""The origin at which browsers see the upstream, and warnings about unsafe choices of it.

Pure functions of the settings ``BACKEND_URL``, ``PROXY_HOST``, ``PROXY_PORT`` and
``BROWSER_MOUNT``. ``docs/adr/0014-*`` explains the decision and its measurements.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from zenzefi.origin import DEFAULT_PORTS, Origin

if TYPE_CHECKING:
    from zenzefi.settings import Settings

_LOOPBACK_NAME = "app.localhost"
_OTHER_LOOPBACK_NAME = "upstream.localhost"


class BrowserMount(StrEnum):
    """Where browsers that signed in with a cookie use the upstream."""

    OWN_ORIGIN = "own-origin"
    PREFIX = "prefix"


def is_loopback(host: str) -> bool:
    """Whether browsers resolve ``host`` to their own machine (RFC 6761, 6.3; RFC 1122, 3.2.1.3).

    ``host`` is in lower case, an IPv6 address in brackets.
    """
    return (
        host in ("localhost", "[::1]")
        or host.endswith(".localhost")
        or (host.startswith("127.") and host.replace(".", "").isdigit())
    )


def own_origin(
    public: Origin,
    *,
    proxy_host: str | None,
    proxy_port: int | None,
    browser_mount: BrowserMount,
) -> Origin | None:
    """The origin at whose root browsers see the upstream; ``None`` if there is none.

    ``public`` is ``BACKEND_URL``. ``PROXY_HOST`` takes precedence over ``PROXY_PORT``. Without
    both, a gate on loopback uses another loopback name, because that works without configuration:
    browsers resolve every name below ``localhost`` themselves, and each host has its own cookies.
    ``BROWSER_MOUNT=prefix`` disables this default.
    """
    if proxy_host is not None:
        host, port = _split(proxy_host, DEFAULT_PORTS[public.scheme])
        found = Origin(public.scheme, host, port)
    elif proxy_port is not None:
        found = Origin(public.scheme, public.host, proxy_port)
    elif browser_mount is BrowserMount.OWN_ORIGIN and is_loopback(public.host):
        name = _OTHER_LOOPBACK_NAME if public.host == _LOOPBACK_NAME else _LOOPBACK_NAME
        found = Origin(public.scheme, name, public.port)
    else:
        return None
    return None if found == public else found


def _split(authority: str, default: int) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit():
        return host, int(port)
    return authority, default


def notes(settings: Settings) -> list[str]:
    """Warnings about the configured mount for browsers, a few sentences each.

    Logged at start and printed by ``zenzefi check``. Empty for a configuration without known risks.
    """
    public, own = settings.public_origin, settings.own_origin
    found = []
    if settings.browser_mount is BrowserMount.PREFIX:
        found.append(
            "BROWSER_MOUNT=prefix: the application's scripts run on the origin of the account and "
            "administration pages. A hostile or compromised application can attack signed-in "
            "users there. Use BROWSER_MOUNT=own-origin with PROXY_HOST or PROXY_PORT instead."
        )
        if public.scheme == "http" and not is_loopback(public.host):
            found.append(
                f"Over plain http ({public}) the account and administration pages are refused with "
                "BROWSER_MOUNT=prefix. Set BACKEND_URL to an https:// address."
            )
    elif own is None:
        found.append(
            f"Browsers can't open the application: {public} is not on loopback and has no own "
            "origin. Set PROXY_HOST to another host name of this gate, or PROXY_PORT to a second "
            "port. Clients that send X-Access-Token are not affected."
        )
    if own is None or own.host != public.host:
        return found + _related_hosts(public, own)
    found.append(
        f"The application's origin {own} has the host of {public}, and browsers share cookies "
        "between the ports of a host. PROXY_HOST with another host name separates them."
    )
    return found


def _related_hosts(public: Origin, own: Origin | None) -> list[str]:
    """A cookie with ``Domain=`` crosses between a host and its subdomains (RFC 6265bis, 5.6.3)."""
    if own is None:
        return []
    if own.host.endswith("." + public.host) and not is_loopback(own.host):
        return [
            f"PROXY_HOST {own.host} is a subdomain of {public.host}: the application can set "
            "cookies for the gate's host. Over https the __Host- prefix protects the gate's own "
            "cookies. A sibling domain separates them completely."
        ]
    if public.host.endswith("." + own.host):
        return [
            f"PROXY_HOST {own.host} is a parent domain of {public.host}: the application can set "
            "cookies for the gate's host. Over https the __Host- prefix protects the gate's own "
            "cookies. A sibling domain separates them completely."
        ]
    return []
