"""The plugin hooks without a body: headers both ways, early responses, WebSocket messages.

The result of a hook is validated before it is used: a header that is not a string, a line break in
a value or an invalid status would break the response. The original is used instead.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from multidict import CIMultiDict

from zenzefi.http_syntax import TOKEN
from zenzefi.rewriting.plugins.api import EarlyResponse, Message, Needs
from zenzefi.rewriting.plugins.exchange import Exchange, context_of, fits
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.watchdog import WATCHDOG

_T = TypeVar("_T")
_Pairs = list[tuple[str, str]]

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


class Hooks:
    """Calls the hooks in order; a failure is counted, and the original passes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def request_headers(self, exchange: Exchange, headers: CIMultiDict[str]) -> None:
        """Let plugins change the request's headers, in place."""
        for entry in self._with_hook("request_headers", exchange):
            new = self._changed(entry, entry.plugin.request_headers, exchange, headers)
            if new is not None:
                headers.clear()
                headers.extend(new)

    def early_response(self, exchange: Exchange) -> EarlyResponse | None:
        """A plugin's response instead of the upstream's, or ``None``."""
        for entry in self._with_hook("early_response", exchange):

            def ask(entry: LoadedPlugin = entry) -> EarlyResponse | None:
                hook = entry.traced(entry.plugin.early_response, exchange.url)
                early = hook(context_of(exchange))
                if early is not None:
                    _check_early_response(early)
                return early

            early = self._call(entry, ask, exchange.url)
            if early is None:
                continue
            if not entry.shadow:
                return early
            entry.shadowed(b"the upstream's response", repr(early).encode())
        return None

    def wants_messages(self, exchange: Exchange) -> bool:
        """Whether a plugin processes the WebSocket's messages, so that frames must be parsed."""
        return any(
            entry.plugin.messages and fits(entry.plugin.matches, exchange)
            for entry in self._registry.entries
        )

    def message(self, exchange: Exchange, message: Message) -> str | bytes | None:
        """A message after the plugins that process messages; ``None`` drops it."""
        for entry in self._registry.entries:
            plugin = entry.plugin
            if not plugin.messages or not fits(plugin.matches, exchange):
                continue
            if not entry.takes(exchange.url):
                continue

            def ask(
                entry: LoadedPlugin = entry, message: Message = message
            ) -> tuple[str | bytes | None]:
                hook = entry.traced(entry.plugin.websocket_message, exchange.url)
                data = hook(context_of(exchange), message)
                _check_message(data)
                return (data,)

            got = self._call(entry, ask, exchange.url)
            if got is None:
                continue
            (data,) = got
            if entry.shadow:
                if data != message.data:
                    entry.shadowed(_bytes(message.data), _bytes(data))
            elif data is None:
                return None
            else:
                message = replace(message, data=data)
        return message.data

    def response_headers(self, exchange: Exchange, headers: _Pairs) -> _Pairs:
        """The mapped headers after the plugins' changes."""
        for entry in self._with_hook("response_headers", exchange):
            new = self._changed(
                entry, entry.plugin.response_headers, exchange, CIMultiDict(headers)
            )
            if new is not None:
                headers = new
        return headers

    def _changed(
        self,
        entry: LoadedPlugin,
        hook: Callable[..., None],
        exchange: Exchange,
        headers: CIMultiDict[str],
    ) -> _Pairs | None:
        """The headers after a hook; ``None`` if they stay unchanged."""
        before = list(headers.items())

        def ask() -> _Pairs:
            changed = CIMultiDict(before)
            entry.traced(hook, exchange.url)(context_of(exchange), changed)
            after = list(changed.items())
            if after != before:
                _check_headers(hook.__name__, before, after)
            return after

        after = self._call(entry, ask, exchange.url)
        if after is None or after == before:
            return None
        if entry.shadow:
            entry.shadowed(_logged(before, after), _logged(after, before))
            return None
        return after

    def _with_hook(self, hook: str, exchange: Exchange) -> list[LoadedPlugin]:
        return [
            entry
            for entry in self._registry.with_hook(hook)
            if fits(entry.plugin.matches, exchange, labelled=True) and entry.takes(exchange.url)
        ]

    @staticmethod
    def _call(entry: LoadedPlugin, hook: Callable[[], _T], url: str) -> _T | None:
        """The result of a hook; ``None`` if it failed, so that the original passes."""
        start = time.perf_counter()
        try:
            WATCHDOG.enter()
            result = hook()
            WATCHDOG.leave()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a plugin must not end the gate
            WATCHDOG.leave()
            entry.failed(error, url)
            return None
        entry.spent(time.perf_counter() - start, 0)
        if entry.plugin.needs is Needs.HEADERS:  # other plugins succeed with a body
            entry.succeeded()
        return result


def _check_headers(hook: str, before: _Pairs, after: _Pairs) -> None:
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


def _logged(pairs: _Pairs, others: _Pairs) -> bytes:
    """The fields that are only in ``pairs``, for the log; without secrets."""
    own = [(name, value) for name, value in pairs if (name, value) not in set(others)]
    logged = [f"{name}: {'...' if name.lower() in _SECRET else value}" for name, value in own]
    return "; ".join(logged).encode("utf-8", "surrogateescape")


def _framing(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((n.lower(), v) for n, v in pairs if n.lower() in _FRAMING)


def _check_early_response(early: object) -> None:
    """Raises :class:`PluginFault` for a response that can't be sent."""
    if not isinstance(early, EarlyResponse):
        raise PluginFault(f"early_response() returned {type(early).__name__}, not an EarlyResponse")
    status: object = early.status
    if type(status) is not int or not 200 <= status <= 599:
        raise PluginFault(f"early_response(): {status!r} is not a status from 200 to 599")
    body: object = early.body
    if not isinstance(body, bytes):
        raise PluginFault(f"early_response(): the body is {type(body).__name__}, not bytes")
    headers: object = early.headers
    if isinstance(headers, str | bytes) or not isinstance(headers, Sequence):
        raise PluginFault(
            f"early_response(): headers are (name, value) pairs, not {type(headers).__name__}"
        )
    for pair in headers:
        if not (isinstance(pair, Sequence) and len(pair) == 2):
            raise PluginFault(f"early_response(): {pair!r} is not a (name, value) pair")
    framed = [pair for pair in early.headers if str(pair[0]).lower() not in _FRAMING]
    _check_headers("early_response", [], framed)


def _check_message(data: object) -> None:
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


def _bytes(data: str | bytes | None) -> bytes:
    return data.encode() if isinstance(data, str) else data or b""
