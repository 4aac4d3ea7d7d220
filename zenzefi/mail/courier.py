"""E-mail goes out in the background: whoever asked for it learns nothing from how long it took.

``MAIL_URL`` names the way: ``smtp://user:password@host:587`` (STARTTLS where offered; with a
password it must be, unless the server is on this machine), ``smtps://host:465``, or ``log:``
(development: the text is written to the log). Without it there is no mail, and no page offers what
needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Protocol
from urllib.parse import unquote, urlsplit

from aiohttp import web

log = logging.getLogger(__name__)

_WAITING = 200
_TIMEOUT = 20.0  # seconds for one message
_TRIES = 3


class Mailer(Protocol):
    """One way of sending a message."""

    async def send(self, message: EmailMessage) -> None:
        """Hand the message over. Raises :class:`NotSent`."""

    async def check(self) -> str:
        """Sign in without sending anything; returns where. Raises :class:`NotSent`."""


class NotSent(Exception):
    """The message did not leave; another try may succeed."""


class LogMailer:
    """For development: the message is in the log, links included."""

    async def send(self, message: EmailMessage) -> None:
        """Write it down."""
        log.info("e-mail to %s\n%s", message["To"], message.get_content())

    async def check(self) -> str:
        """There is always a log."""
        return "goes to the log (development)"


class SmtpMailer:
    """A mail server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        must_encrypt = (
            parts.scheme == "smtp" and parts.username is not None and not _is_here(parts.hostname)
        )
        self._options = {
            "hostname": parts.hostname or "",
            "port": parts.port or (465 if parts.scheme == "smtps" else 587),
            "use_tls": parts.scheme == "smtps",
            # None: where offered. A password never travels in the clear, also when somebody between
            # here and there takes the offer away.
            "start_tls": True if must_encrypt else None,
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "timeout": _TIMEOUT,
        }

    async def send(self, message: EmailMessage) -> None:
        """Connect, send, disconnect: messages are rare."""
        import aiosmtplib  # only a gate that sends pays for it

        try:
            await aiosmtplib.send(message, **self._options)  # type: ignore[arg-type]  # typed by name above
        except (OSError, aiosmtplib.SMTPException) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error

    async def check(self) -> str:
        """Connect and sign in, as for a message; the text of a failure is where."""
        import aiosmtplib

        place = f"{self._options['hostname']}:{self._options['port']}"
        try:
            async with aiosmtplib.SMTP(**self._options):  # type: ignore[arg-type]  # as above
                return f"{place} takes mail"
        except (OSError, aiosmtplib.SMTPException) as error:
            raise NotSent(place) from error


def _is_here(host: str | None) -> bool:
    """Whether a host name means this machine."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Courier:
    """Sends what it is given, one after the other; a full bag drops the newest and says so."""

    def __init__(self, mailer: Mailer, sender: str, *, pause: float = 2.0) -> None:
        """``pause``: seconds before the second try, twice as many before the third."""
        self._mailer = mailer
        self._sender = sender
        self._pause = pause
        self._bag: asyncio.Queue[Callable[[], Awaitable[EmailMessage | None]]] = asyncio.Queue(
            _WAITING
        )

    def post(self, write: Callable[[], Awaitable[EmailMessage | None]]) -> None:
        """Have a message written and sent later; ``write`` may find nobody to send it to."""
        try:
            self._bag.put_nowait(write)
        except asyncio.QueueFull:
            log.error("too many e-mails are waiting: one was dropped")

    async def settled(self) -> None:
        """Wait until everything posted so far was handled."""
        await self._bag.join()

    async def _work(self) -> None:
        while True:
            write = await self._bag.get()
            try:
                message = await write()
                if message is not None:
                    message["From"] = self._sender
                    await self._send(message)
            except Exception:
                log.exception("an e-mail could not be sent")
            finally:
                self._bag.task_done()

    async def _send(self, message: EmailMessage) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                await self._mailer.send(message)
            except NotSent:
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(attempt * self._pause)
            else:
                return

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the application runs; what is waiting at the end has a moment to leave."""
        task = asyncio.create_task(self._work(), name="mail-courier")
        try:
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bag.join(), 5)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def letter(to: str, subject: str, text: str) -> EmailMessage:
    """A plain message; ``From`` is set when it leaves."""
    message = EmailMessage()
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain="zenzefi.invalid")  # not this machine's name
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834, 5: no holiday answers, please
    message.set_content(text)
    return message


def mailer_for(url: str) -> Mailer:
    """The way that ``MAIL_URL`` names; the settings have validated it."""
    return LogMailer() if url.startswith("log:") else SmtpMailer(url)


COURIER: web.AppKey[Courier] = web.AppKey("courier", Courier)
