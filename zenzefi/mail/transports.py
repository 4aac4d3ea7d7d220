"""Transports of e-mail: SMTP, and the log for development.

``MAIL_URL`` selects one: ``smtp://user:password@host:587`` uses STARTTLS where the server offers
it, and requires it for a password unless the server runs on this machine. ``smtps://host:465`` uses
TLS from the start. ``log:`` writes messages to the log, for development.
"""

from __future__ import annotations

import ipaddress
import logging
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

_TIMEOUT = 20.0  # seconds for one message


class NotSent(Exception):
    """The transport did not accept a message; a retry may succeed."""


class MailTransport(Protocol):
    """One way of sending messages."""

    async def send(self, message: EmailMessage) -> None:
        """Send a message. Raises :class:`NotSent`."""

    async def check(self) -> str:
        """Connect and sign in without sending; returns a description. Raises :class:`NotSent`."""


class LogTransport:
    """Writes messages to the log, links included; for development."""

    async def send(self, message: EmailMessage) -> None:
        """Log the message."""
        log.info(
            "e-mail to=%s subject=%s\n%s",
            *(message["To"], message["Subject"], message.get_content()),
        )

    async def check(self) -> str:
        """Describe the transport; the log is always available."""
        return "goes to the log (development)"


class SmtpTransport:
    """Sends messages to a mail server, one connection for each: messages are rare."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        must_encrypt = (
            parts.scheme == "smtp"
            and parts.username is not None
            and not _is_loopback(parts.hostname)
        )
        self._options = {
            "hostname": parts.hostname or "",
            "port": parts.port or (465 if parts.scheme == "smtps" else 587),
            "use_tls": parts.scheme == "smtps",
            # None: where offered. A password is never sent in the clear, even if an attacker in
            # between removes the offer (STARTTLS stripping).
            "start_tls": True if must_encrypt else None,
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "timeout": _TIMEOUT,
        }

    async def send(self, message: EmailMessage) -> None:
        """Connect, send, disconnect. Raises :class:`NotSent`."""
        import aiosmtplib  # costs memory only where e-mail is sent

        try:
            await aiosmtplib.send(message, **self._options)  # type: ignore[arg-type]  # typed by name above
        except (OSError, aiosmtplib.SMTPException) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error

    async def check(self) -> str:
        """Connect and sign in. Raises :class:`NotSent` with the server's ``host:port``."""
        import aiosmtplib

        server = f"{self._options['hostname']}:{self._options['port']}"
        try:
            async with aiosmtplib.SMTP(**self._options):  # type: ignore[arg-type]  # as above
                return f"{server} accepts connections"
        except (OSError, aiosmtplib.SMTPException) as error:
            raise NotSent(server) from error


def _is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine's loopback; no look-up is made."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def transport_for(url: str) -> MailTransport:
    """The transport that a valid ``MAIL_URL`` selects."""
    return LogTransport() if url.startswith("log:") else SmtpTransport(url)
