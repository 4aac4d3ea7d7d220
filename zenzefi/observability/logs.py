"""Logs: one line per event, as JSON or pretty-printed for a terminal, without secrets.

Modules log through the standard library (``logging.getLogger(__name__)``, values in ``extra``).
structlog renders the lines for a terminal; a service that writes JSON does not load it.

Secrets are removed twice: values whose names indicate a secret are replaced before rendering, and
the rendered line is searched for known secrets and their patterns.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic import SecretStr

from zenzefi import printable
from zenzefi.observability.trace_context import CURRENT
from zenzefi.settings import Settings

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"(?i)pass(word|wd)?$|secret|token$|^authorization$|cookie|api_?key|^key$|private|signature"
)
_SHAPES = (
    # An access token. Hex digests of that length are redacted too.
    (re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{64}(?![A-Za-z0-9_-])"), REDACTED),
    # A JWT (RFC 7519): its header always begins with {" in base64url.
    # The atomic group keeps the search linear: it tries one start in each run of characters.
    (
        re.compile(
            r"(?<![A-Za-z0-9_-])((?>[A-Za-z0-9_-]*?(?=eyJ)))"
            r"[A-Za-z0-9_-]{11,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?i)([?&;](?:access_)?token=)[^&\s\"'#]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)((?:set-)?cookie['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+"), rf"\1{REDACTED}"),
    # A password inside a URL (RFC 3986, 3.2.1).
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), rf"\1:{REDACTED}@"),
)


class Scrubber:
    """Redacts secrets in a rendered line: known ones, and text with the pattern of one."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        spellings = set()
        for secret in known:
            if len(secret) >= 4:  # a shorter one would redact ordinary text
                spellings |= {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        ordered = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, line: str) -> str:
        """Return the line without its secrets."""
        if self._known is not None:
            line = self._known.sub(REDACTED, line)
        for shape, instead in _SHAPES:
            line = shape.sub(instead, line)
        return line


def scrubber_of(settings: Settings) -> Scrubber:
    """A scrubber with all secrets of these settings."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    single = [item for value in values for item in (value if isinstance(value, list) else [value])]
    found = [item.get_secret_value() for item in single if isinstance(item, SecretStr)]
    # Only the password of a URL is secret. Operators need its host.
    passwords = re.findall(r"://[^\s:/@]*:([^\s/@]+)@", "\n".join(f for f in found if "://" in f))
    return Scrubber([*(f for f in found if "://" not in f), *passwords])


def _redact_by_name(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name in event:
        if name != "event" and _SECRET_NAME.search(name):
            event[name] = REDACTED
    return event


def _add_trace(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    trace = CURRENT.get()
    if trace is not None:
        event.setdefault("request_id", trace.request_id)
        if trace.trace_id:
            event.setdefault("trace_id", trace.trace_id)
    return event


def _escape_values(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    # Done before rendering, because the renderer's colours are escape sequences too.
    for name, value in event.items():
        if name in ("exc_info", "stack_info") or value is None or isinstance(value, int | float):
            continue
        if name in ("exception", "stack") and isinstance(value, str):
            event[name] = printable.lines(value)
        else:
            event[name] = printable.one_line(value if isinstance(value, str) else repr(value))
    return event


_OF_EVERY_RECORD = {
    *vars(logging.LogRecord("", 0, "", 0, "", (), None)),
    "message",
    "asctime",
    "taskName",
}
"""Attributes of a record that are not values of ``extra``."""


class _JsonFormatter(logging.Formatter):
    """One JSON object for each record: the event, its values, the request it belongs to."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        event |= {
            name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD
        }
        now = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        event["timestamp"] = f"{now.isoformat(timespec='microseconds')}Z"
        _redact_by_name(None, "", _add_trace(None, "", event))
        if record.stack_info:
            event["stack"] = self.formatStack(record.stack_info)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return printable.in_json(self._scrub(json.dumps(event, ensure_ascii=False, default=str)))


class _TerminalFormatter(logging.Formatter):
    """Lines for people, rendered by structlog."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        import structlog

        def plain_traceback(out: TextIO, error: Any) -> None:
            text = io.StringIO()
            structlog.dev.plain_traceback(text, error)
            out.write(printable.lines(text.getvalue()))

        super().__init__()
        self._scrub = scrub
        self._rendered = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                # As short as in the access log.
                structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
                _add_trace,
                _redact_by_name,
                structlog.processors.StackInfoRenderer(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _escape_values,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stdout.isatty(), exception_formatter=plain_traceback
                ),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        return self._scrub(self._rendered.format(record))


def is_json(settings: Settings) -> bool:
    """Whether lines are JSON: by ``LOG_FORMAT``, or else if the output is not a terminal."""
    return settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stdout.isatty()
    )


def configure(settings: Settings) -> None:
    """Write all logs of the program to the standard output, in the configured format and level."""
    formatter = _JsonFormatter if is_json(settings) else _TerminalFormatter
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter(scrubber_of(settings)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    # These libraries log every migration step and query at INFO.
    for name in ("alembic", "sqlalchemy.engine", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
