"""Sending e-mail from a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import EmailMessage

from aiohttp import web

from zenzefi import i18n
from zenzefi.errors import NotFound
from zenzefi.mail.messages import MAIL_RENDERER, MailMessage
from zenzefi.mail.queue import MAIL_QUEUE
from zenzefi.settings import SETTINGS


def has_mail(request: web.Request) -> bool:
    """Whether the gate sends e-mail (``MAIL_URL``)."""
    return MAIL_QUEUE in request.app


def require_mail(request: web.Request) -> None:
    """Raises ``NotFound`` if the gate sends no e-mail."""
    if not has_mail(request):
        raise NotFound


def page_url(request: web.Request, path: str) -> str:
    """Absolute URL of a page, for a link in an e-mail."""
    return f"{request.app[SETTINGS].public_origin}{path}"


def send(request: web.Request, prepare: Callable[[], Awaitable[MailMessage | None]]) -> None:
    """Queue an e-mail in the language of the request; does nothing if the gate sends no e-mail.

    ``prepare`` runs in the background; it returns ``None`` if there is nothing to send.
    """
    if not has_mail(request):
        return
    renderer = request.app[MAIL_RENDERER]
    context = i18n.context_of(request)

    async def build() -> EmailMessage | None:
        message = await prepare()
        return None if message is None else renderer.render(message, context)

    request.app[MAIL_QUEUE].put(build)
