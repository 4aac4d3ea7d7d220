"""The messages that the gate sends, and how they are rendered.

Each message is a class with the values of its template. The template ``mail/<template>.txt`` has a
block ``subject`` and a block ``text``; ``mail/layout.txt`` adds salutation and signature. Messages
are plain text: they need no images, no styles, and no escaping of markup.

All values become single lines before they are rendered. :class:`~email.message.EmailMessage`
refuses line breaks in headers as well (RFC 5322 section 2.2), so neither a name nor an address can
add a header.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import ClassVar
from unicodedata import category

import jinja2
from aiohttp import web

from zenzefi import i18n


@dataclass(frozen=True, slots=True)
class MailMessage:
    """What every message has: an address to send it to, and a user name for the salutation."""

    template: ClassVar[str]

    to: str
    name: str


@dataclass(frozen=True, slots=True)
class ConfirmAddressMessage(MailMessage):
    """Asks a user to confirm their e-mail address."""

    template: ClassVar[str] = "confirm_address"

    link: str
    """URL of the page that confirms the address."""


@dataclass(frozen=True, slots=True)
class ResetPasswordMessage(MailMessage):
    """Lets a user choose a new password."""

    template: ClassVar[str] = "reset_password"

    link: str
    """URL of the page that takes the new password."""


@dataclass(frozen=True, slots=True)
class PasswordChangedMessage(MailMessage):
    """Tells a user that their password was changed."""

    template: ClassVar[str] = "password_changed"

    link: str
    """URL of the page that requests a password reset."""


@dataclass(frozen=True, slots=True)
class ApiKeyCreatedMessage(MailMessage):
    """Tells a user that an API key was created for their account."""

    template: ClassVar[str] = "api_key_created"

    link: str
    """URL of the page with the user's API keys."""


@dataclass(frozen=True, slots=True)
class TwoStepOnMessage(MailMessage):
    """Tells a user that two-step sign-in was switched on."""

    template: ClassVar[str] = "two_step_on"

    link: str
    """URL of the page that requests a password reset."""


@dataclass(frozen=True, slots=True)
class TwoStepOffMessage(MailMessage):
    """Tells a user that two-step sign-in was switched off."""

    template: ClassVar[str] = "two_step_off"

    link: str
    """URL of the page that requests a password reset."""


@dataclass(frozen=True, slots=True)
class IdentityConnectedMessage(MailMessage):
    """Tells a user that a sign-in with an identity provider was connected."""

    template: ClassVar[str] = "identity_connected"

    link: str
    """URL of the profile page."""


@dataclass(frozen=True, slots=True)
class NoticeMessage(MailMessage):
    """Tells a user about an event of the account, which they can switch off."""

    template: ClassVar[str] = "notice"

    kind: str
    """The kind of notice (:class:`zenzefi.mail.notice_kinds.NoticeKind`)."""
    what: str
    """The name of the token, or the browser of a sign-in."""
    amount: str
    at: str
    link: str
    """URL of the page about the event."""
    settings_link: str
    """URL of the page on which the reader chooses notices."""


@dataclass(frozen=True, slots=True)
class ResetTwoStepMessage(MailMessage):
    """Lets a user switch two-step sign-in off."""

    template: ClassVar[str] = "reset_two_step"

    link: str
    """URL of the page that takes the password."""


@dataclass(frozen=True, slots=True)
class AddressChangedMessage(MailMessage):
    """Tells a user, at the old address, that an administrator changed the address."""

    template: ClassVar[str] = "address_changed"

    link: str
    """URL of the sign-in form."""


@dataclass(frozen=True, slots=True)
class InvitationMessage(MailMessage):
    """Invites a person without an account to register."""

    template: ClassVar[str] = "invitation"

    link: str
    """URL of the registration form, with the secret of the invitation."""


class MailRenderer:
    """Renders messages for one site."""

    def __init__(
        self,
        environment: jinja2.Environment,
        *,
        site_name: str,
        site_url: str,
        support: str = "",
    ) -> None:
        """``environment`` finds ``mail/*.txt`` and has translations (:func:`i18n.install`).

        ``support`` is the address for questions, in the signature.
        """
        self._environment = environment.overlay(
            autoescape=False, trim_blocks=False, lstrip_blocks=False
        )
        self._site = {
            "site_name": _single_line(site_name),
            "site_url": _single_line(site_url),
            "support": _single_line(support),
        }

    def render(self, message: MailMessage, context: i18n.LocaleContext) -> EmailMessage:
        """The message in the reader's language, without ``From``.

        Raises ``ValueError`` for an address that is not valid in a header.
        """
        template = self._environment.get_template(f"mail/{message.template}.txt")
        values = self._site | {
            field.name: _single_line(getattr(message, field.name)) for field in fields(message)
        }
        with i18n.using(context):
            variables = template.new_context(values)
            subject = "".join(template.blocks["subject"](variables))
            text = template.render(values)
        return _plain(message.to, _single_line(subject), text.strip() + "\n")


def _single_line(text: str) -> str:
    """``text`` with each run of white space and control characters replaced by one space."""
    return " ".join("".join(" " if category(c) == "Cc" else c for c in text).split())


def _plain(to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain="zenzefi.invalid")  # not this machine's host name
    message["Auto-Submitted"] = "auto-generated"  # no automatic replies (RFC 3834 section 5)
    message.set_content(text)
    return message


MAIL_RENDERER: web.AppKey[MailRenderer] = web.AppKey("mail_renderer", MailRenderer)
"""Absent where ``MAIL_URL`` is not set."""
