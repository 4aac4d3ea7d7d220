"""Request targets: parsing and checks. Pure.

The checked bytes are the bytes that are sent: the raw path and query stay as received, and the
upstream's origin comes from the settings alone, also for an absolute-form target.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from zenzefi.http.errors import AmbiguousRequest

# RFC 9112, 3.2: a request target contains neither whitespace nor control characters.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
# Undecodable bytes arrive as lone surrogates, whose spelling in a URL is ambiguous (RFC 3986, 2.5).
_NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
_ABSOLUTE = re.compile(r"(?i)(https?)://([^/?#]*)(.*)", re.DOTALL)
# Dots and slashes hidden from a simple percent-decoder but not from some servers: overlong UTF-8
# (RFC 3629 section 3) and the %uXXXX spelling that never was a standard.
# C0 and C1 alone are letters in windows-1251, so only what they would be followed by counts.
_OVERLONG_OR_U = re.compile(rb"(?i)%c[01]%[89ab][0-9a-f]|%e0%8|%f0%80|%u[0-9a-f]{4}")
_TOKEN_PARAMETER = re.compile(r"(?:^|(?<=&))token=[^&]*(?:&|$)")
_MAX_DECODINGS = 8


class Target(NamedTuple):
    """The upstream's part of a request target, raw.

    ``path`` starts with a slash; ``query`` is ``None`` without a question mark and ``""`` with a
    bare one.
    """

    path: str
    query: str | None = None

    @property
    def raw(self) -> str:
        """Path and query as the request line spells them."""
        return self.path if self.query is None else f"{self.path}?{self.query}"


def split_target(raw: str, host: str | None) -> Target:
    """Path and query of a raw request target.

    ``host`` is the Host header. Raises :class:`AmbiguousRequest` for a target that two servers
    could parse differently.
    """
    # RFC 9112, 3.2: a request target has no fragment.
    if "#" in raw:
        raise AmbiguousRequest("The request target must not carry a fragment (RFC 9112, 3.2).")
    if _FORBIDDEN.search(raw):
        raise AmbiguousRequest("The request target holds a control character (RFC 9112, 3.2).")
    if _NOT_UTF8.search(raw):
        raise AmbiguousRequest("The request target is not valid UTF-8 (RFC 3986, 2.5).")
    if not raw.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        # RFC 9112, 3.2.2: the authority of an absolute-form target replaces Host. Some servers use
        # Host nevertheless, so both must be equal.
        if absolute is None or host is None or absolute[2].lower() != host.lower():
            raise AmbiguousRequest("The request target names another host (RFC 9112, 3.2.2).")
        rest = absolute[3]
        raw = rest if rest.startswith("/") else "/" + rest
    path, mark, query = raw.partition("?")
    return Target(path, query if mark else None)


def check_path(path: str) -> None:
    """Refuse paths that two servers could resolve differently.

    Raises :class:`AmbiguousRequest` for dot segments and backslashes, plain or percent-encoded any
    number of times, and for overlong UTF-8. Browsers never send them: they resolve dot segments
    and replace backslashes first (WHATWG URL, path state).
    """
    if "%" not in path:
        _check_decoded(path)
        return
    # Bytes, not text: bytes beyond ASCII must pass the next round unchanged. Latin-1 maps each byte
    # to one character.
    current = path.encode()
    for _ in range(_MAX_DECODINGS):
        if _OVERLONG_OR_U.search(current):
            raise AmbiguousRequest("The path holds an overlong encoding (RFC 3629, 3).")
        _check_decoded(current.decode("latin-1"))
        decoded = unquote_to_bytes(current)
        if decoded == current:
            return
        current = decoded
    raise AmbiguousRequest("The path is percent-encoded too many times (RFC 3986, 2.4).")


def _check_decoded(path: str) -> None:
    if "\\" in path:
        raise AmbiguousRequest("The path holds a backslash (RFC 3986, 3.3).")
    if "." not in path:
        return
    for segment in path.split("/"):
        # Some servers remove path parameters before they resolve dots: "..;x" becomes "..".
        if segment.partition(";")[0] in (".", ".."):
            raise AmbiguousRequest("The path holds a dot segment (RFC 3986, 5.2.4).")


def under_prefix(target: Target, prefix: str) -> Target | None:
    """The upstream's target below a mount's prefix, or ``None`` if the target is not below it.

    A doubled prefix (from a script that prefixed an already mapped path) is removed completely.
    """
    path = target.path
    at, length = 0, len(prefix)
    while path.startswith(prefix, at) and path[at + length : at + length + 1] in ("", "/"):
        at += length
    return Target(path[at:] or "/", target.query) if at else None


def without_token(target: Target, is_ours: Callable[[str], bool]) -> Target:
    """The target without those ``token=...`` parameters whose value is the gate's.

    Other ``token`` parameters belong to the upstream. The rest of the query stays byte for byte,
    and a question mark before an empty query is removed.
    """
    if not target.query or "token=" not in target.query:
        return target

    def kept(found: re.Match[str]) -> str:
        return "" if is_ours(found[0].removesuffix("&").removeprefix("token=")) else found[0]

    query = _TOKEN_PARAMETER.sub(kept, target.query)
    if query == target.query:
        return target
    query = query.removesuffix("&") if not target.query.endswith("&") else query
    return Target(target.path, query or None)


def token_parameters(target: Target) -> list[str]:
    """The values of the ``token`` parameters, raw: a token needs no percent-encoding."""
    found = _TOKEN_PARAMETER.findall(target.query or "")
    return [parameter.removesuffix("&").removeprefix("token=") for parameter in found]
