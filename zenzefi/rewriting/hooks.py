"""The plugins' hooks besides bodies: headers both ways, early answers, WebSocket messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

from multidict import CIMultiDict

from zenzefi.rewriting.api import EarlyResponse, Message, Needs
from zenzefi.rewriting.entry import Entry
from zenzefi.rewriting.exchange import Exchange, context_of, fits
from zenzefi.rewriting.registry import Registry

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Hooks:
    """Calls them in order; whatever one does wrong is counted, and the original passes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def request_headers(self, exchange: Exchange, headers: CIMultiDict[str]) -> None:
        """Let plugins change the request's headers, in place."""
        for entry in self._with_hook("request_headers", exchange):
            changed = headers.copy()
            context = context_of(exchange)
            done = self._call(entry, entry.plugin.request_headers, context, changed)
            if done is not None and not entry.shadow:
                headers.clear()
                headers.extend(changed)

    def early_response(self, exchange: Exchange) -> EarlyResponse | None:
        """A plugin's answer instead of the upstream's, if one gives any."""
        for entry in self._with_hook("early_response", exchange):
            context = context_of(exchange)
            got = self._call(entry, entry.plugin.early_response, context)
            answer: object = got[0] if got else None
            if answer is None or entry.shadow:
                continue
            if isinstance(answer, EarlyResponse):
                return answer
            entry.failed(f"early_response() returned {type(answer).__name__}")
        return None

    def wants_messages(self, exchange: Exchange) -> bool:
        """Whether a plugin asked for the WebSocket's messages, so that frames must be read."""
        return any(
            entry.plugin.messages and fits(entry.plugin.matches, exchange)
            for entry in self._registry.entries
        )

    def message(self, exchange: Exchange, message: Message) -> str | bytes | None:
        """A message after all plugins that asked for them; ``None`` drops it."""
        for entry in self._registry.entries:
            plugin = entry.plugin
            if not plugin.messages or not entry.ready or not fits(plugin.matches, exchange):
                continue
            got = self._call(entry, plugin.websocket_message, context_of(exchange), message)
            if got is None:
                continue
            data: object = got[0]
            if data is not None and not isinstance(data, str | bytes):
                entry.failed(f"websocket_message() returned {type(data).__name__}")
            elif entry.shadow:
                if data != message.data:
                    entry.shadowed(_bytes(message.data), _bytes(data))
            elif data is None:
                return None
            else:
                message = replace(message, data=data)
        return message.data

    def response_headers(
        self, exchange: Exchange, headers: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """The mapped headers after the plugins' changes."""
        for entry in self._with_hook("response_headers", exchange):
            changed = CIMultiDict(headers)
            context = context_of(exchange)
            if self._call(entry, entry.plugin.response_headers, context, changed) is None:
                continue
            new = list(changed.items())
            if not entry.shadow:
                headers = new
            elif new != headers:
                entry.shadowed(repr(headers).encode(), repr(new).encode())
        return headers

    def _with_hook(self, hook: str, exchange: Exchange) -> list[Entry]:
        return [
            entry
            for entry in self._registry.with_hook(hook)
            if entry.ready and fits(entry.plugin.matches, exchange, labelled=True)
        ]

    @staticmethod
    def _call(
        entry: Entry, hook: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> tuple[_T] | None:
        """What a hook returned, in a tuple; ``None`` if it raised: then the original passes."""
        start = time.perf_counter()
        try:
            result = hook(*args, **kwargs)
        except Exception as error:
            entry.failed(error)
            return None
        entry.spent(time.perf_counter() - start, 0)
        if entry.plugin.needs is Needs.HEADERS:  # else its bodies tell how it is
            entry.succeeded()
        return (result,)


def _bytes(data: str | bytes | None) -> bytes:
    return data.encode() if isinstance(data, str) else data or b""
