"""E-mails about security-related changes, which can be made by the thief of a session."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.mail.messages import (
    ApiKeyCreatedMessage,
    IdentityConnectedMessage,
    MailMessage,
    PasswordChangedMessage,
    TwoStepOffMessage,
    TwoStepOnMessage,
)
from zenzefi.web import outgoing_mail

Notice = type[
    PasswordChangedMessage
    | TwoStepOnMessage
    | TwoStepOffMessage
    | IdentityConnectedMessage
    | ApiKeyCreatedMessage
]


def password_changed(request: web.Request, user: User) -> None:
    """Send a notice of a new password, set on a page or over the API."""
    _send(request, user, PasswordChangedMessage)


def two_step_on(request: web.Request, user: User) -> None:
    """Send a notice that two-step sign-in was switched on."""
    _send(request, user, TwoStepOnMessage)


def two_step_off(request: web.Request, user: User) -> None:
    """Send a notice that two-step sign-in was switched off."""
    _send(request, user, TwoStepOffMessage)


def identity_connected(request: web.Request, user: User) -> None:
    """Send a notice that a sign-in with an identity provider was connected."""
    _send(request, user, IdentityConnectedMessage, "/account/profile")


def api_key_created(request: web.Request, user: User) -> None:
    """Send a notice of a new API key, created on a page or over the API."""
    _send(request, user, ApiKeyCreatedMessage, "/account/api-keys")


def _send(request: web.Request, user: User, notice: Notice, path: str = "/login/forgotten") -> None:
    link = outgoing_mail.page_url(request, path)

    async def prepare() -> MailMessage:
        return notice(user.email, user.username, link)

    outgoing_mail.send(request, prepare)
