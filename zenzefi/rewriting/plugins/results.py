"""Validation of what hooks return: an invalid header or status would break the message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zenzefi.http_syntax import TOKEN
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.values import Response

HeaderPairs = list[tuple[str, str]]

_BREAKS = re.compile(r"[\x00\r\n]")
# Only the gate frames messages (RFC 9112, 6).
_FRAMING = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_SECRET = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-access-token")
)
_LONGEST = 256 * 1024
"""Most bytes of all headers that a plugin returns."""


def check_headers(hook: str, before: HeaderPairs, after: HeaderPairs) -> None:
    """Raises :class:`PluginFault` for headers that the gate must not send (RFC 9110, 5)."""
    known = set(before)
    size = 0
    given: Iterable[tuple[object, object]] = after
    for name, value in given:
        if not isinstance(name, str) or not isinstance(value, str):
            kind = type(value if isinstance(name, str) else name).__name__
            raise PluginFault(f"{hook}() set {name!r} with {kind}: names and values are strings")
        size += len(name) + len(value)
        if (name, value) in known:
            continue
        if not TOKEN.fullmatch(name):
            raise PluginFault(f"{hook}() set {name!r}, which is not a valid header name")
        if _BREAKS.search(value):
            raise PluginFault(f"{hook}() set {name!r} to a value with a line break or NUL")
    if size > _LONGEST:
        raise PluginFault(f"{hook}() made {size} bytes of headers; {_LONGEST} are the most")
    if _framing(before) != _framing(after):
        names = ", ".join(sorted(_FRAMING))
        raise PluginFault(f"{hook}() changed what frames the message ({names}): that is the gate's")


def logged_fields(pairs: HeaderPairs, others: HeaderPairs) -> bytes:
    """The fields that are only in ``pairs``, for the log; without secrets."""
    own = [(name, value) for name, value in pairs if (name, value) not in set(others)]
    logged = [f"{name}: {'...' if name.lower() in _SECRET else value}" for name, value in own]
    return "; ".join(logged).encode("utf-8", "surrogateescape")


def _framing(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((n.lower(), v) for n, v in pairs if n.lower() in _FRAMING)


def check_response(hook: str, early: object) -> None:
    """Raises :class:`PluginFault` for a response that can't be sent."""
    if not isinstance(early, Response):
        raise PluginFault(f"{hook}() returned {type(early).__name__}, not a Response")
    status: object = early.status
    if type(status) is not int or not 200 <= status <= 599:
        raise PluginFault(f"{hook}(): {status!r} is not a status from 200 to 599")
    body: object = early.body
    if not isinstance(body, bytes):
        raise PluginFault(f"{hook}(): the body is {type(body).__name__}, not bytes")
    headers: object = early.headers
    if isinstance(headers, str | bytes) or not isinstance(headers, Sequence):
        raise PluginFault(
            f"{hook}(): headers are (name, value) pairs, not {type(headers).__name__}"
        )
    for pair in headers:
        if not (isinstance(pair, Sequence) and len(pair) == 2):
            raise PluginFault(f"{hook}(): {pair!r} is not a (name, value) pair")
    framed = [pair for pair in early.headers if str(pair[0]).lower() not in _FRAMING]
    check_headers(hook, [], framed)


def check_message(data: object) -> None:
    """Raises :class:`PluginFault` for data of another type."""
    if isinstance(data, str):
        try:
            data.encode()
        except UnicodeEncodeError:  # RFC 6455, 5.6: text is UTF-8
            raise PluginFault(
                "websocket_message() returned text with half a surrogate pair"
            ) from None
    elif data is not None and not isinstance(data, bytes):
        raise PluginFault(
            f"websocket_message() returned {type(data).__name__}, not str, bytes or None"
        )


def as_bytes(data: str | bytes | None) -> bytes:
    """A message as bytes, for the log."""
    return data.encode() if isinstance(data, str) else data or b""


_SPECIAL = frozenset((204, 205, 206, 304))


def check_status(old: int, new: object) -> None:
    """Raises :class:`PluginFault` for a status that would change the framing of the response."""
    if type(new) is not int or not 200 <= new <= 599:
        raise PluginFault(f"response(): {new!r} is not a status from 200 to 599")
    if new != old and (new in _SPECIAL or old in _SPECIAL):
        raise PluginFault(f"response(): a response with status {old} can't have status {new}")
