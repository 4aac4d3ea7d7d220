"""The e-mails that help customers: to the customer, in the customer's language."""

from __future__ import annotations

from email.message import EmailMessage

from aiohttp import web

from zenzefi import i18n
from zenzefi.accounts.identity import User
from zenzefi.accounts.links import Purpose
from zenzefi.errors import Conflict
from zenzefi.mail.messages import (
    MAIL_RENDERER,
    AddressChangedMessage,
    MailMessage,
    ResetPasswordMessage,
    ResetTwoStepMessage,
)
from zenzefi.mail.queue import MAIL_QUEUE
from zenzefi.origin import Origin

_PATHS = {Purpose.RESET: "/login/reset", Purpose.SECOND_FACTOR: "/login/reset-two-step"}


class MailNotConfigured(Conflict):
    """An action that sends an e-mail, on a gate without ``MAIL_URL``."""

    code = "mail_not_configured"
    default = "This gate sends no e-mail: set MAIL_URL."


def message_with_link(origin: Origin, user: User, purpose: Purpose, secret: str) -> MailMessage:
    """The e-mail with a one-time link."""
    link = f"{origin}{_PATHS[purpose]}?link={secret}"
    kind = ResetPasswordMessage if purpose is Purpose.RESET else ResetTwoStepMessage
    return kind(user.email, user.username, link)


def address_changed(origin: Origin, before: User) -> MailMessage:
    """The notice to the old address; it does not contain the new one."""
    return AddressChangedMessage(before.email, before.username, f"{origin}/login")


def require_mail(app: web.Application) -> None:
    """Raise ``MailNotConfigured`` if the gate sends no e-mail."""
    if MAIL_QUEUE not in app:
        raise MailNotConfigured


def send(app: web.Application, user: User, message: MailMessage) -> None:
    """Queue an e-mail in the user's language; does nothing if the gate sends no e-mail."""
    if MAIL_QUEUE not in app:
        return
    renderer, context = app[MAIL_RENDERER], language_of(user)

    async def build() -> EmailMessage:
        return renderer.render(message, context)

    app[MAIL_QUEUE].put(build)


def language_of(user: User) -> i18n.LocaleContext:
    """The language of a user; English if it is not known."""
    return i18n.locale_context(user.locale if user.locale in i18n.LANGUAGES else "en")
