"""The gate's own cookies: their names, what each is worth when planted, and who can plant one.

Pure. The upstream's scripts may run on a host that shares cookies with the gate: always at the
application's origin, where the proxy cookie is, and at the gate's pages with ``PROXY_PORT``
(cookies ignore the port, RFC 6265bis section 8.5) or ``BROWSER_MOUNT=prefix``. ``HttpOnly`` keeps a
script from reading a cookie, not from evicting it and writing another of the same name.

The prefix ``__Host-Http-`` does (draft-ietf-httpbis-layered-cookies): a browser that knows it takes
such a name from an HTTP response alone. ``scripts/measure_cookies.py`` measures which browsers do,
and ADR 0015 has the measurements. A name that no script can write is called *sealed* here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from zenzefi.origin import Origin

ACCESS = "zenzefi_access_token"
"""The proxy cookie of the contract: the access token itself. Its name never has a prefix."""
SIGN_IN = "zenzefi_sign_in"
SESSION = "zenzefi_session"
VISIT = "zenzefi_visit"
FLASH = "zenzefi_flash"
HALFWAY = "zenzefi_halfway"
PROVIDER_FLOW = "zenzefi_provider"
CONNECTION = "zenzefi_connect"
DEVICE = "zenzefi_known"
LANGUAGE = "zenzefi_language"
ZONE = "zenzefi_zone"
"""Set by a script of the gate's pages (``site.js``), not by a response."""
NONCE = "zenzefi_enter_"
"""The name begins so; the first digits of the hash of its value follow."""

SEAL = "__Host-Http-"
"""Taken from HTTP responses alone, with ``Secure``, ``HttpOnly``, ``Path=/`` and no ``Domain``."""


class GateCookie(NamedTuple):
    """One of the gate's cookies, and what a planted one is worth to who planted it."""

    name: str
    purpose: str
    planted: str


GATE_COOKIES = (
    GateCookie(
        ACCESS,
        "the access token that this browser uses",
        "nothing in a browser: it is valid only with a sign-in cookie that belongs to the token",
    ),
    GateCookie(
        SIGN_IN,
        "proves that this browser was signed in with the access token",
        "nothing: the name is sealed, or the sign-in is bound to the network and the browser",
    ),
    GateCookie(
        SESSION,
        "the page session of a signed-in user",
        "nothing: the name is sealed, or the session is bound to the network and the browser",
    ),
    GateCookie(
        VISIT,
        "what the form tokens of a visitor who is not signed in are made for",
        "nothing: form tokens are also bound to the network and the browser where cookies are"
        " shared",
    ),
    GateCookie(FLASH, "messages for the next page", "a message of the gate's own, for one minute"),
    GateCookie(
        HALFWAY,
        "the account whose code is required after its password, for five minutes",
        "a page that asks for the code of the planter's account: encrypted, and no sign-in"
        " without the code",
    ),
    GateCookie(
        PROVIDER_FLOW,
        "the sign-ins with an identity provider that this browser has begun, for ten minutes",
        "nothing: the name is sealed, or a sign-in is made for the network and the browser",
    ),
    GateCookie(
        CONNECTION,
        "a sign-in with an identity provider that waits for the owner of the account",
        "a question whether to connect it: encrypted, made for the network and the browser, and"
        " only for an account with the same address",
    ),
    GateCookie(
        DEVICE,
        "attempts to sign in are counted for this browser",
        "separate attempts with the same limit, for the planter's account only",
    ),
    GateCookie(
        NONCE,
        "proves that this browser began the sign-in at the application's origin, for two minutes",
        "nothing: the name is sealed, or its mark is made for the network and the browser",
    ),
    GateCookie(LANGUAGE, "the language of the pages", "the language of the pages"),
    GateCookie(ZONE, "the time zone of the browser", "the time zone of the times on pages"),
)
"""Every cookie of the gate."""

_GATE = re.compile(r"(?i)(?:__host-http-|__http-|__host-|__secure-)?zenzefi")
# Measured versions. An older browser may know the prefix as well: it is treated as one that does
# not, which costs a check of its network.
_KNOWING = ((re.compile(r"Chrome/(\d{1,4})\."), 156), (re.compile(r"Firefox/(\d{1,4})\."), 153))
_LOOPBACK = re.compile(r"127\.0\.0\.1|localhost|(?:[a-z0-9-]{1,63}\.){1,4}localhost")
_VERSIONS = re.compile(r"[0-9._]+")
_AGENT = 300  # characters that are kept


def is_gate_cookie(name: str) -> bool:
    """Whether a cookie of this name belongs to the gate, in any spelling of name and prefix.

    Prefixes are matched without regard to case, as browsers do (RFC 6265bis section 5.7). The value
    of a nameless cookie is read as its name.
    """
    return _GATE.match(name) is not None


def knows_seal(agent: str) -> bool:
    """Whether a browser with this ``User-Agent`` was measured to protect :data:`SEAL`."""
    for pattern, least in _KNOWING:
        found = pattern.search(agent)
        if found is not None:
            return int(found[1]) >= least
    return False


def _is_loopback(host: str) -> bool:
    """Whether browsers take ``Secure`` cookies from this host over plain http (measured)."""
    return _LOOPBACK.fullmatch(host.partition(":")[0].lower()) is not None


def stored_name(name: str, public: Origin, host: str, agent: str) -> str:
    """The name under which a browser keeps the gate's cookie ``name``.

    ``public`` is the gate's public origin, ``host`` the request's ``Host`` (with or without its
    port), ``agent`` its ``User-Agent``. The seal needs a context that takes ``Secure`` cookies:
    https, or the loopback host in a browser that was measured to take them there.
    """
    if public.scheme == "https":
        return SEAL + name
    if _is_loopback(public.host) and _is_loopback(host) and knows_seal(agent):
        return SEAL + name
    return name


def is_sealed(stored: str, agent: str) -> bool:
    """Whether no script in this browser can have written a cookie of this stored name."""
    return stored.startswith(SEAL) and knows_seal(agent)


def is_browser(names: Iterable[str], agent: str) -> bool:
    """Whether a request with these header names comes from a browser.

    Browsers send fetch metadata, or call themselves Mozilla; a script can take away neither.
    Programs with their own cookie jar do not.
    """
    if "Mozilla/" in agent:
        return True
    return any(name[:10].lower() == "sec-fetch-" for name in names)


def network_of(address: str) -> str:
    """The network of a client's address: the /24 of IPv4, the /48 of IPv6 (RFC 6177 section 2).

    Other text (a Unix socket has no address) is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    length = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, length), strict=False))


def browser_of(agent: str) -> str:
    """A ``User-Agent`` without its versions, so that an update leaves it the same."""
    return _VERSIONS.sub("", agent.encode("ascii", "replace").decode())[:_AGENT]


def values_of(lines: Iterable[str], name: str) -> list[str]:
    """The distinct values of one cookie in ``Cookie`` header lines, in order.

    Linear in the length of the lines, which the limit of a request's head bounds.
    """
    found: dict[str, None] = {}
    for line in lines:
        if name not in line:
            continue
        for part in line.split(";"):
            key, _, content = part.partition("=")
            if key.strip(" \t") == name:
                found[content.strip(" \t").strip('"')] = None
    return list(found)
