"""Set up e-mail on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formataddr, parseaddr

import aiohttp_jinja2
import jinja2
from aiohttp import web

from zenzefi import i18n
from zenzefi.branding import BRAND, Brand, load_brand
from zenzefi.mail.messages import MAIL_RENDERER, MailMessage, MailRenderer
from zenzefi.mail.queue import MAIL_QUEUE, MailQueue
from zenzefi.mail.transports import transport_for
from zenzefi.resources import bundled
from zenzefi.settings import SETTINGS, Settings


def setup(app: web.Application) -> None:
    """Provide renderer and queue where ``MAIL_URL`` is set; requires the template environment."""
    settings = app[SETTINGS]
    if settings.mail_url is None:
        return
    brand = app[BRAND]
    app[MAIL_RENDERER] = _renderer(settings, brand, aiohttp_jinja2.get_env(app))
    transport = transport_for(settings.mail_url.get_secret_value())
    app[MAIL_QUEUE] = MailQueue(transport, _sender(settings, brand))
    app.cleanup_ctx.append(_run)


def _renderer(settings: Settings, brand: Brand, environment: jinja2.Environment) -> MailRenderer:
    origin = settings.public_origin
    return MailRenderer(
        environment,
        site_name=brand.name if brand.is_named else origin.authority,
        site_url=str(origin),
        support=brand.support or "",
    )


DirectSender = Callable[[i18n.LocaleContext, MailMessage], Awaitable[None]]


def direct_sender(settings: Settings) -> DirectSender:
    """Sends e-mails at once, for commands, in which no queue runs; ``MAIL_URL`` must be set.

    The sender raises :class:`~.transports.NotSent`.
    """
    assert settings.mail_url is not None  # noqa: S101 - documented above
    brand = load_brand(settings)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(bundled("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    i18n.install(environment)
    renderer = _renderer(settings, brand, environment)
    transport = transport_for(settings.mail_url.get_secret_value())

    async def send(context: i18n.LocaleContext, message: MailMessage) -> None:
        rendered = renderer.render(message, context)
        rendered["From"] = _sender(settings, brand)
        await transport.send(rendered)

    return send


def _sender(settings: Settings, brand: Brand) -> str:
    """``MAIL_FROM``; the name of its default is that of the site."""
    if "mail_from" in settings.model_fields_set:
        return settings.mail_from
    return formataddr((brand.name, parseaddr(settings.mail_from)[1]))


async def _run(app: web.Application) -> AsyncIterator[None]:
    async with app[MAIL_QUEUE].running():
        yield
