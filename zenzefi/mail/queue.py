"""The mail queue: messages are built and sent in the background.

A response does not wait for the mail server. So its timing does not reveal whether a message was
sent at all, which would tell strangers who has an account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import EmailMessage

from aiohttp import web

from zenzefi.mail.transports import MailTransport, NotSent
from zenzefi.tasks import background_task

log = logging.getLogger(__name__)

_CAPACITY = 200  # messages
_ATTEMPTS = 3
_DRAIN_TIMEOUT = 5.0  # seconds

BuildMessage = Callable[[], Awaitable[EmailMessage | None]]
"""Builds a message when its turn comes; ``None`` if there is nothing to send."""


class MailQueue:
    """Sends messages one after the other. A full queue drops new messages and logs an error."""

    def __init__(self, transport: MailTransport, sender: str, *, pause: float = 2.0) -> None:
        """``sender`` becomes ``From``. ``pause``: seconds before the second attempt, doubled before
        the third.
        """
        self._transport = transport
        self._sender = sender
        self._pause = pause
        self._queue: asyncio.Queue[BuildMessage] = asyncio.Queue(_CAPACITY)

    def put(self, build: BuildMessage) -> None:
        """Queue a message; returns at once."""
        try:
            self._queue.put_nowait(build)
        except asyncio.QueueFull:
            log.error("mail queue full: message dropped")

    async def join(self) -> None:
        """Wait until every queued message was sent or given up."""
        await self._queue.join()

    async def _work(self) -> None:
        while True:
            build = await self._queue.get()
            try:
                message = await build()
                if message is not None:
                    message["From"] = self._sender
                    await self._send(message)
            except Exception:
                log.exception("failed to send an e-mail")
            finally:
                self._queue.task_done()

    async def _send(self, message: EmailMessage) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._transport.send(message)
            except NotSent:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(attempt * self._pause)
            else:
                return

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the application runs; at shutdown, queued messages have 5 seconds."""
        async with background_task(self._work(), name="mail queue"):
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._queue.join(), _DRAIN_TIMEOUT)


MAIL_QUEUE: web.AppKey[MailQueue] = web.AppKey("mail_queue", MailQueue)
"""Absent where ``MAIL_URL`` is not set."""
