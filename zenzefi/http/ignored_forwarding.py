"""Notices forwarded headers from peers that are not listed in ``TRUSTED_PROXIES``.

A reverse proxy that is not listed goes unnoticed otherwise: everything works, but all users have
its address, and share one rate limit. Each such peer is logged once, and kept in a file in
``DATA_DIR`` that ``zenzefi check`` and the administration read. Clients can send these headers as
well, so the number of peers is bounded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.http.client_address import client_address_of, resolve_client_address
from zenzefi.settings import SETTINGS, Settings

log = logging.getLogger(__name__)

_HEADERS = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded")
_MAX_PEERS = 16
_EVERY = 3600.0  # seconds between two writes about the same peer
_KEPT = 7 * 86400.0  # seconds
_LOCK = threading.Lock()  # for the threads that write
_FILE = "ignored-proxies.json"


class IgnoredForwarding:
    """The peers of this process. :meth:`note` is cheap, and writes in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._noted: dict[str, float] = {}
        self._writing: set[asyncio.Future[None]] = set()

    def note(self, peer: str, headers: Mapping[str, str]) -> None:
        """Notice a request of an unlisted ``peer`` (``""`` on a Unix socket)."""
        if not any(name in headers for name in _HEADERS):
            return
        now = time.monotonic()
        before = self._noted.get(peer)
        if before is None and len(self._noted) >= _MAX_PEERS:
            return
        if before is not None and now - before < _EVERY:
            return
        self._noted[peer] = now
        if before is None:
            log.warning(
                "forwarded headers ignored: peer=%s is not in TRUSTED_PROXIES", peer or "unix"
            )
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(None, _store, self._folder, peer or "unix")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)


IGNORED_FORWARDING: web.AppKey[IgnoredForwarding] = web.AppKey(
    "ignored_forwarding", IgnoredForwarding
)


def setup(app: web.Application) -> None:
    """Add the notices to the application, for :func:`ignored_forwarding_middleware`."""
    app[IGNORED_FORWARDING] = IgnoredForwarding(app[SETTINGS].data_dir)


@web.middleware
async def ignored_forwarding_middleware(
    request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Notice ignored headers; it has to be inside the middleware of the client address."""
    client = client_address_of(request)
    if not client.is_behind_trusted_proxy:
        request.app[IGNORED_FORWARDING].note(client.address, request.headers)
    return await handler(request)


def peers(settings: Settings) -> list[str]:
    """The peers of the last days whose headers are still ignored. Reads a file."""
    oldest = time.time() - _KEPT
    return [
        peer
        for peer, seen in sorted(_stored(settings.data_dir).items())
        if seen >= oldest and not _is_trusted(peer, settings)
    ]


def _is_trusted(peer: str, settings: Settings) -> bool:
    remote = "" if peer == "unix" else peer
    return resolve_client_address(remote, (), settings.trusted_proxies).is_behind_trusted_proxy


def notes(settings: Settings) -> list[str]:
    """One sentence about them, or none. Reads a file."""
    found = peers(settings)
    if not found:
        return []
    return [
        f"Requests from {', '.join(found)} had forwarded headers, which were ignored. If this is "
        "your reverse proxy, list it in TRUSTED_PROXIES: until then all users behind it share one "
        "address and its rate limits."
    ]


def _stored(folder: Path) -> dict[str, float]:
    try:
        value = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {
        peer: float(seen)
        for peer, seen in value.items()
        if isinstance(seen, int | float) and len(peer) < 64
    }


def _store(folder: Path, peer: str) -> None:
    with _LOCK:
        _store_alone(folder, peer)


def _store_alone(folder: Path, peer: str) -> None:
    now = time.time()
    kept = {known: seen for known, seen in _stored(folder).items() if seen >= now - _KEPT}
    kept[peer] = now
    newest = sorted(kept.items(), key=lambda entry: -entry[1])[:_MAX_PEERS]
    part = folder / f"{_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(dict(newest)), encoding="utf-8")
        part.replace(folder / _FILE)
    except OSError as error:
        log.debug("ignored proxies not stored: error=%s", error.strerror)
