"""Services for plugins, given at start: a bounded cache, and a client for look-ups over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from zenzefi.bounded import BoundedDict

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LookupCache(Generic[K, V]):
    """Remembers results of look-ups: at most ``size`` of them, each for ``seconds``.

    Concurrent look-ups of one key share one call. A failed look-up is not remembered.
    """

    def __init__(
        self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if size < 1 or seconds <= 0:
            raise ValueError("a cache has a size of at least 1 and keeps results for some time")
        self._seconds = seconds
        self._clock = clock
        self._known: BoundedDict[K, tuple[float, V]] = BoundedDict(size)
        self._flights: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        """The result for a key; ``look_up`` is awaited if there is none. Raises what it raises.

        A caller that is cancelled does not end the look-up of the others.
        """
        found = self._known.get(key)
        if found is not None and self._clock() < found[0]:
            return found[1]
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._fly(key, look_up))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def _fly(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        value = await look_up()
        self._known[key] = self._clock() + self._seconds, value
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """The response to a look-up over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient(Protocol):
    """A client for look-ups over HTTP. It stores no cookies and follows no redirects."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 5.0,
        longest: int = 1024 * 1024,
    ) -> HttpAnswer:
        """Send a request; ``timeout`` in seconds, ``longest``: bytes of the body of the response.

        Raises ``OSError`` if there is no response in time, or if it is too long.
        """


class PluginServices:
    """The argument of :meth:`zenzefi.plugins.Plugin.startup`."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http
        """A client for look-ups over HTTP, shared by all plugins."""

    def cache(self, size: int, seconds: float) -> LookupCache[Hashable, object]:
        """A new cache of at most ``size`` results, each for ``seconds``.

        Include in the key what the result depends on, such as the user.
        """
        return LookupCache(size, seconds)
