"""The hooks of the request side, which may wait: ``request``, ``request_body``, ``request_chunk``.

A request that no plugin with such a hook matches never gets here. For the others a task calls the
hooks one after the other. A hook that fails is left out, or the request is refused, as the plugin's
``on_failure`` says.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import thread_time
from typing import Any, TypeVar

from multidict import CIMultiDict

from zenzefi.rewriting import sniff
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.heads import CONTENT_TYPE, ExchangeHead, fits
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.messages import OutgoingRequest
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.plugins.results import check_headers, check_response, logged_fields
from zenzefi.rewriting.plugins.values import Needs, Response, globs
from zenzefi.rewriting.plugins.watchdog import WATCHDOG

_T = TypeVar("_T")
_HOOKS = ("request", "request_body", "request_chunk")


class PluginRefusal(Exception):
    """A plugin that protects something has failed, so the request is not sent; ``args[0]`` names
    the plugin. ``is_too_long``: its content is longer than the plugin reads."""

    def __init__(self, name: str, *, is_too_long: bool = False) -> None:
        super().__init__(name)
        self.is_too_long = is_too_long


class RequestSide:
    """The plugins with request-side hooks that match one request."""

    def __init__(self, entries: list[LoadedPlugin], head: ExchangeHead) -> None:
        self._entries = entries
        self._head = head

    def _taking(self, hook: str) -> list[LoadedPlugin]:
        """The plugins that take this hook now. Raises :class:`PluginRefusal`."""
        out = []
        for entry in self._entries:
            if not _is_wanted(entry, hook, self._head):
                continue
            if entry.takes(self._head.url):
                out.append(entry)
            else:
                _pass_or_refuse(entry)
        return out

    async def request(self, outgoing: OutgoingRequest) -> Response | None:
        """Let plugins change the request; returns a response instead. Raises PluginRefusal."""
        for entry in self._taking("request"):
            headers = CIMultiDict(outgoing.headers)
            trial = OutgoingRequest(outgoing.method, outgoing.path, outgoing.query, headers)
            before = list(headers.items())

            async def ask(
                entry: LoadedPlugin = entry,
                trial: OutgoingRequest = trial,
                before: list[tuple[str, str]] = before,
            ) -> tuple[Response | None]:
                hook = entry.traced(entry.plugin.request, self._head.url)
                given = await _result(entry, hook, entry.exchange(self._head), trial)
                if given is not None:
                    check_response("request", given)
                check_headers("request", before, list(trial.headers.items()))
                return (given,)

            got = await self._call(entry, ask)
            if got is None:
                continue
            (response,) = got
            after = list(trial.headers.items())
            target, new = (outgoing.path, outgoing.query), (trial.path, trial.query)
            if entry.shadow:
                if response is not None or after != before or new != target:
                    shown = logged_fields(before, after), logged_fields(after, before)
                    entry.shadowed(shown[0], repr((response, new)).encode() + shown[1])
            elif response is not None:
                return response
            else:
                outgoing.headers = trial.headers
                if trial.path != outgoing.path:  # the client's own may have any spelling
                    outgoing.path = trial.path
                if trial.query != outgoing.query:
                    outgoing.query = trial.query
        return None

    # --- the content

    @property
    def longest_body(self) -> int:
        """Bytes of the longest content that ``request_body`` gets; 0 without such a hook."""
        wanted = [e.plugin.longest_body for e in self._reading("request_body")]
        return max(wanted, default=0)

    async def body(self, body: bytes) -> bytes | Response:
        """The whole content after the plugins, or a response. Raises PluginRefusal."""
        for entry in self._taking("request_body"):
            if len(body) > entry.plugin.longest_body:
                self.too_long(entry)
                continue

            async def ask(entry: LoadedPlugin = entry, body: bytes = body) -> bytes | Response:
                hook = entry.traced(entry.plugin.request_body, self._head.url)
                given = await _result(entry, hook, entry.exchange(self._head), body)
                if isinstance(given, Response):
                    check_response("request_body", given)
                    return given
                return _bytes_or("request_body", given, body)

            got = await self._call(entry, ask)
            if got is None or got == body:
                continue
            if entry.shadow:
                shown = repr(got).encode() if isinstance(got, Response) else got
                entry.shadowed(body, shown)
            elif isinstance(got, Response):
                return got
            else:
                body = got
        return body

    def too_long(self, entry: LoadedPlugin | None = None) -> None:
        """The content is longer than plugins read. Raises PluginRefusal."""
        for one in [entry] if entry else self._reading("request_body"):
            must_read = one.plugin.on_failure == "refuse"
            if has_hook(one, "request_chunk") and not must_read:
                continue  # it takes long contents in pieces
            one.overspent(f"a content is larger than {one.plugin.longest_body} bytes")
            if must_read:
                raise PluginRefusal(one.name, is_too_long=True)

    def _reading(self, hook: str) -> list[LoadedPlugin]:
        """The plugins with this hook that read a content of this type."""
        return [entry for entry in self._entries if _is_wanted(entry, hook, self._head)]

    @property
    def has_chunk_hook(self) -> bool:
        """Whether the content passes :meth:`chunk`."""
        return bool(self._reading("request_chunk"))

    @property
    def changes_length(self) -> bool:
        """Whether the length of the content may change on its way."""
        return any(entry.plugin.changes_length for entry in self._reading("request_chunk"))

    def chunk(self, data: bytes, *, final: bool) -> bytes:
        """A piece of the content after the plugins. Raises PluginRefusal."""
        for entry in self._taking("request_chunk"):
            try:
                WATCHDOG.enter()
                hook = entry.traced(entry.plugin.request_chunk, self._head.url)
                given = hook(entry.exchange(self._head), data, final)
                WATCHDOG.leave()
                new = _bytes_or("request_chunk", given, data)
                if len(new) != len(data) and not entry.plugin.changes_length:
                    raise PluginFault(
                        f"request_chunk() made {len(new)} of {len(data)} bytes, which needs "
                        "changes_length = True"
                    )
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit() in a plugin must not end the gate
                WATCHDOG.leave()
                entry.failed(error, self._head.url)
                _pass_or_refuse(entry)
                continue
            if new != data and entry.shadow:
                entry.shadowed(data, new)
            elif not entry.shadow:
                data = new
        return data

    async def _call(
        self, entry: LoadedPlugin, hook: Callable[[], Coroutine[Any, Any, _T]]
    ) -> _T | None:
        """The result of a hook; ``None`` if it failed and the request passes without it."""
        watched = Watched(hook())
        try:
            async with asyncio.timeout(entry.plugin.timeout):
                result = await watched
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the client has left
            why: BaseException | str = error
            if isinstance(error, TimeoutError):
                why = f"an async hook took longer than {entry.plugin.timeout:g} s"
            entry.failed(why, self._head.url)
            _pass_or_refuse(entry)
            return None
        entry.spent(watched.seconds, 0)
        if entry.plugin.needs is Needs.HEADERS:
            entry.succeeded()
        return result


def has_hook(entry: LoadedPlugin, hook: str) -> bool:
    """Whether the plugin overrides a hook."""
    return hook in entry.hooks


def _is_wanted(entry: LoadedPlugin, hook: str, head: ExchangeHead) -> bool:
    """Whether the plugin has a hook, and reads contents of the request's type if it is for them."""
    types = entry.plugin.request_types
    if hook not in entry.hooks or not types or hook == "request":
        return hook in entry.hooks
    declared = sniff.essence(head.request_headers.get(CONTENT_TYPE))
    return globs(types).match(declared) is not None


def request_side(registry: Registry, head: ExchangeHead) -> RequestSide | None:
    """The plugins of the request side that match; ``None`` if there are none."""
    hooked = [e for e in registry.entries if any(_is_wanted(e, hook, head) for hook in _HOOKS)]
    wanted = [entry for entry in hooked if fits(entry.plugin.matches, head)]
    return RequestSide(wanted, head) if wanted else None


def _pass_or_refuse(entry: LoadedPlugin) -> None:
    if entry.plugin.on_failure == "refuse" and not entry.shadow:
        raise PluginRefusal(entry.name)


async def _result(entry: LoadedPlugin, hook: Callable[..., Any], *arguments: object) -> Any:
    given = hook(*arguments)
    return await given if inspect.isawaitable(given) else given


def _bytes_or(hook: str, given: object, unchanged: bytes) -> bytes:
    if given is None:
        return unchanged
    if not isinstance(given, bytes):
        raise PluginFault(f"{hook}() returned {type(given).__name__}, not bytes or None")
    return given


class Watched(Awaitable[_T]):
    """A coroutine of a plugin, each step of which the watchdog watches."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T]) -> None:
        self._coroutine = coroutine
        self.seconds = 0.0
        """CPU time of its steps."""

    def __await__(self) -> Generator[Any, Any, _T]:
        step = _sent(self._coroutine, None)
        while True:
            start = thread_time()
            try:
                WATCHDOG.enter()
                yielded = step()
            except StopIteration as done:
                value: _T = done.value
                return value
            finally:
                WATCHDOG.leave()
                self.seconds += thread_time() - start
            try:
                sent = yield yielded
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step = _thrown(self._coroutine, error)
            else:
                step = _sent(self._coroutine, sent)


def _sent(coroutine: Coroutine[Any, Any, Any], value: object) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _thrown(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)
