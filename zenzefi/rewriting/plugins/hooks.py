"""The plugin hooks without a body: headers both ways, early responses, WebSocket messages.

The result of a hook is validated before it is used: a header that is not a string, a line break in
a value or an invalid status would break the response. The original is used instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from multidict import CIMultiDict

from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import map_headers
from zenzefi.rewriting.plugins.heads import ExchangeHead, fits
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.messages import OutgoingResponse, UpstreamError
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.results import (
    HeaderPairs,
    check_headers,
    check_response,
    check_status,
    logged_fields,
)
from zenzefi.rewriting.plugins.values import Needs, Response
from zenzefi.rewriting.plugins.watchdog import WATCHDOG

_T = TypeVar("_T")


class Hooks:
    """Calls the hooks in order; a failure is counted, and the original passes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def request_headers(self, exchange: ExchangeHead, headers: CIMultiDict[str]) -> None:
        """Let plugins change the request's headers, in place."""
        for entry in self._with_hook("request_headers", exchange):
            new = self._changed(entry, entry.plugin.request_headers, exchange, headers)
            if new is not None:
                headers.clear()
                headers.extend(new)

    def early_response(self, exchange: ExchangeHead) -> Response | None:
        """A plugin's response instead of the upstream's, or ``None``."""
        for entry in self._with_hook("early_response", exchange):

            def ask(entry: LoadedPlugin = entry) -> Response | None:
                hook = entry.traced(entry.plugin.early_response, exchange.url)
                early = hook(entry.exchange(exchange))
                if early is not None:
                    check_response("early_response", early)
                return early

            early = call(entry, ask, exchange.url)
            if early is None:
                continue
            if not entry.shadow:
                return early
            entry.shadowed(b"the upstream's response", repr(early).encode())
        return None

    def upstream_error(self, exchange: ExchangeHead, error: UpstreamError) -> Response | None:
        """A plugin's response to a request that the upstream did not respond to, or ``None``."""
        for entry in self._with_hook("upstream_error", exchange):

            def ask(entry: LoadedPlugin = entry) -> Response | None:
                hook = entry.traced(entry.plugin.upstream_error, exchange.url)
                given = hook(entry.exchange(exchange), error)
                if given is not None:
                    check_response("upstream_error", given)
                return given

            given = call(entry, ask, exchange.url)
            if given is not None and entry.shadow:
                entry.shadowed(error.code.encode(), repr(given).encode())
            elif given is not None:
                return given
        return None

    def response(self, exchange: ExchangeHead, headers: HeaderPairs) -> tuple[int, HeaderPairs]:
        """Status and headers after the plugins' changes."""
        status = exchange.status
        for entry in self._with_hook("response", exchange):
            before = list(headers)
            old = status

            def ask(entry: LoadedPlugin = entry) -> tuple[int, HeaderPairs]:
                changed = OutgoingResponse(old, CIMultiDict(before))  # noqa: B023 - called at once
                hook = entry.traced(entry.plugin.response, exchange.url)
                hook(entry.exchange(exchange), changed)
                check_status(exchange.status, changed.status)
                after = list(changed.headers.items())
                if after != before:  # noqa: B023 - called at once
                    check_headers("response", before, after)  # noqa: B023 - called at once
                    after = _with_mapped_additions(exchange, before, after)  # noqa: B023 - as above
                return changed.status, after

            got = call(entry, ask, exchange.url)
            if got is None or got == (old, before):
                continue
            if entry.shadow:
                shown = b"%d; %b" % (old, logged_fields(before, got[1]))
                entry.shadowed(shown, b"%d; %b" % (got[0], logged_fields(got[1], before)))
            else:
                status, headers = got
        return status, headers

    def response_headers(self, exchange: ExchangeHead, headers: HeaderPairs) -> HeaderPairs:
        """The mapped headers after the plugins' changes."""
        for entry in self._with_hook("response_headers", exchange):
            new = self._changed(
                entry, entry.plugin.response_headers, exchange, CIMultiDict(headers)
            )
            if new is not None:
                headers = _with_mapped_additions(exchange, headers, new)
        return headers

    def _changed(
        self,
        entry: LoadedPlugin,
        hook: Callable[..., None],
        exchange: ExchangeHead,
        headers: CIMultiDict[str],
    ) -> HeaderPairs | None:
        """The headers after a hook; ``None`` if they stay unchanged."""
        before = list(headers.items())

        def ask() -> HeaderPairs:
            changed = CIMultiDict(before)
            entry.traced(hook, exchange.url)(entry.exchange(exchange), changed)
            after = list(changed.items())
            if after != before:
                check_headers(hook.__name__, before, after)
            return after

        after = call(entry, ask, exchange.url)
        if after is None or after == before:
            return None
        if entry.shadow:
            entry.shadowed(logged_fields(before, after), logged_fields(after, before))
            return None
        return after

    def _with_hook(self, hook: str, exchange: ExchangeHead) -> list[LoadedPlugin]:
        return [
            entry
            for entry in self._registry.with_hook(hook)
            if fits(entry.plugin.matches, exchange, labelled=True) and entry.takes(exchange.url)
        ]


def _with_mapped_additions(
    head: ExchangeHead, before: HeaderPairs, after: HeaderPairs
) -> HeaderPairs:
    """The headers with those mapped that a plugin has added: it wrote the upstream's addresses."""
    known = set(before)
    view = View(head.url, head.mapper, head.mount)
    out = []
    for name, value in after:
        if (name, value) in known:
            out.append((name, value))
        elif name.lower() != "set-cookie":
            out += map_headers([(name, value)], view)
        elif (mapped := head.map_cookie(value) if head.map_cookie else value) is not None:
            out.append((name, mapped))
    return out


def call(entry: LoadedPlugin, hook: Callable[[], _T], url: str) -> _T | None:
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
