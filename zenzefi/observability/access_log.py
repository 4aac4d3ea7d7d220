"""The access log: one line per request, written in batches by a thread.

A request only appends an entry to a list, because formatting and writing a line would take longer
than all other work on a request with a cached token. The query is never logged, as it may contain a
token.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import NamedTuple, TextIO
from uuid import UUID

from zenzefi.observability.logs import Scrubber
from zenzefi.observability.metrics import LOG_LINES_LOST
from zenzefi.printable import one_line

log = logging.getLogger(__name__)

_PERIOD = 0.5  # seconds between batches
_CAPACITY = 20_000  # lines; further ones are dropped and counted


Subject = tuple[UUID | None, UUID | None]
"""The IDs of a request's user and access token."""


class AccessLogEntry(NamedTuple):
    """One request. ``at`` is a Unix time, ``seconds`` the duration, ``sent`` the body's bytes.

    ``subject``: the IDs of its user and access token, if they are known.
    """

    at: float
    kind: str
    method: str
    path: str
    status: int
    seconds: float
    sent: int
    address: str
    request_id: str
    trace_id: str
    subject: Subject = (None, None)


class AccessLog:
    """Collects entries and writes them twice a second. :meth:`close` writes the last ones.

    ``with_ids``: whether the lines have the IDs of user and access token.
    """

    def __init__(self, *, as_json: bool, with_ids: bool = False, out: TextIO | None = None) -> None:
        self._as_json = as_json
        self._with_ids = with_ids
        self._out = out
        self._entries: list[AccessLogEntry] = []
        self._lost = 0
        self._scrub = Scrubber()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Call it after forking, because threads do not survive a fork."""
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def add(self, entry: AccessLogEntry) -> None:
        """Queue one entry. Never blocks."""
        if len(self._entries) < _CAPACITY:
            self._entries.append(entry)
        else:
            self._lost += 1

    def close(self) -> None:
        """Write the queued entries and stop the thread."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(_PERIOD)
            try:
                self._write()
            except (OSError, ValueError) as error:  # for example a closed pipe
                log.warning("failed to write the access log: error=%s", error)

    def _write(self) -> None:
        entries, self._entries = self._entries, []
        lost, self._lost = self._lost, 0
        if lost:
            LOG_LINES_LOST.inc(lost)
            log.warning("access log: lines dropped", extra={"lines": lost})
        if entries:
            out = self._out or sys.stdout
            out.write("".join(map(self._line, entries)))
            out.flush()

    def _line(self, entry: AccessLogEntry) -> str:
        time = datetime.fromtimestamp(entry.at, UTC)
        # Tokens are long, so short paths need no scrubbing.
        path = entry.path if len(entry.path) < 60 else self._scrub(entry.path)
        names = zip(("user_id", "token_id"), entry.subject, strict=True)
        ids = {name: str(value) for name, value in names if value and self._with_ids}
        if self._as_json:
            fields = entry._asdict()
            fields["path"] = path
            fields["seconds"] = round(entry.seconds, 6)
            del fields["at"], fields["subject"]
            fields |= ids
            if not entry.trace_id:
                del fields["trace_id"]
            stamp = time.isoformat(timespec="microseconds").replace("+00:00", "Z")
            return (
                json.dumps({"timestamp": stamp, "level": "info", "event": "request", **fields})
                + "\n"
            )
        return (
            one_line(
                f"{time:%H:%M:%S} {entry.status} {entry.method:<4} {path} "
                f"{entry.seconds * 1000:.1f} ms {entry.sent} B {entry.address}"
                + "".join(f" {name}={value}" for name, value in ids.items())
            )
            + "\n"
        )
