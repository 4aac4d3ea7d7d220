"""Set up e-mail on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp_jinja2
from aiohttp import web

from zenzefi.mail.messages import MAIL_RENDERER, MailRenderer
from zenzefi.mail.queue import MAIL_QUEUE, MailQueue
from zenzefi.mail.transports import transport_for
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Provide renderer and queue where ``MAIL_URL`` is set; requires the template environment."""
    settings = app[SETTINGS]
    if settings.mail_url is None:
        return
    origin = settings.public_origin
    app[MAIL_RENDERER] = MailRenderer(
        aiohttp_jinja2.get_env(app), site_name=origin.authority, site_url=str(origin)
    )
    transport = transport_for(settings.mail_url.get_secret_value())
    app[MAIL_QUEUE] = MailQueue(transport, settings.mail_from)
    app.cleanup_ctx.append(_run)


async def _run(app: web.Application) -> AsyncIterator[None]:
    async with app[MAIL_QUEUE].running():
        yield
