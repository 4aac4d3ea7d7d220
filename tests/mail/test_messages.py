"""Every message in both languages, and values that try to add headers."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage

import jinja2
import pytest

from zenzefi import i18n
from zenzefi.mail import messages
from zenzefi.mail.messages import (
    AddressChangedMessage,
    ApiKeyCreatedMessage,
    ConfirmAddressMessage,
    IdentityConnectedMessage,
    InvitationMessage,
    MailMessage,
    MailRenderer,
    NoticeMessage,
    PasswordChangedMessage,
    ResetPasswordMessage,
    ResetTwoStepMessage,
    TwoStepOffMessage,
    TwoStepOnMessage,
)
from zenzefi.mail.notice_kinds import NoticeKind
from zenzefi.resources import bundled

SITE = "gate.example"
LINK = f"https://{SITE}/login/reset?link={'a' * 43}"
SALUTATION = {"en": "Hello Marta,", "ru": "Здравствуйте, Marta!"}
HEADERS = ["To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
CONTENT_HEADERS = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]


@dataclass(frozen=True)
class Case:
    """One kind of message, its subjects, and the first sentence of its text."""

    kind: type[
        ConfirmAddressMessage
        | ResetPasswordMessage
        | PasswordChangedMessage
        | ApiKeyCreatedMessage
        | TwoStepOnMessage
        | TwoStepOffMessage
        | IdentityConnectedMessage
        | ResetTwoStepMessage
        | AddressChangedMessage
        | InvitationMessage
    ]
    subjects: dict[str, str]
    first: dict[str, str]


CASES = [
    Case(
        ConfirmAddressMessage,
        {
            "en": "Confirm your e-mail address for gate.example",
            "ru": "Подтвердите адрес электронной почты для gate.example",
        },
        {
            "en": "Please confirm the e-mail address of your account at gate.example.",
            "ru": "Подтвердите, пожалуйста, адрес электронной почты своей учётной записи на"
            " gate.example.",
        },
    ),
    Case(
        ResetPasswordMessage,
        {
            "en": "Reset your password at gate.example",
            "ru": "Сброс пароля на gate.example",
        },
        {
            "en": "A password reset was requested for your account at gate.example.",
            "ru": "Поступил запрос на сброс пароля вашей учётной записи на gate.example.",
        },
    ),
    Case(
        PasswordChangedMessage,
        {
            "en": "Your password at gate.example was changed",
            "ru": "Пароль на gate.example изменён",
        },
        {
            "en": "The password of your account at gate.example was changed.",
            "ru": "Пароль вашей учётной записи на gate.example изменён.",
        },
    ),
    Case(
        ApiKeyCreatedMessage,
        {
            "en": "New API key at gate.example",
            "ru": "Новый ключ API на gate.example",
        },
        {
            "en": "An API key was created for your account at gate.example.",
            "ru": "Для вашей учётной записи на gate.example создан ключ API.",
        },
    ),
    Case(
        TwoStepOnMessage,
        {
            "en": "Two-step sign-in at gate.example was switched on",
            "ru": "Двухэтапный вход на gate.example включён",
        },
        {
            "en": "Two-step sign-in was switched on for your account at gate.example.",
            "ru": "Для вашей учётной записи на gate.example включён двухэтапный вход.",
        },
    ),
    Case(
        IdentityConnectedMessage,
        {
            "en": "A new way to sign in at gate.example",
            "ru": "Новый способ входа на gate.example",
        },
        {
            "en": "A sign-in with an identity provider was connected with your account at"
            " gate.example.",
            "ru": "К вашей учётной записи на gate.example подключён вход через провайдера.",
        },
    ),
    Case(
        TwoStepOffMessage,
        {
            "en": "Two-step sign-in at gate.example was switched off",
            "ru": "Двухэтапный вход на gate.example выключен",
        },
        {
            "en": "Two-step sign-in was switched off for your account at gate.example.",
            "ru": "Для вашей учётной записи на gate.example выключен двухэтапный вход.",
        },
    ),
    Case(
        ResetTwoStepMessage,
        {
            "en": "Switch off two-step sign-in at gate.example",
            "ru": "Выключение двухэтапного входа на gate.example",
        },
        {
            "en": "The administrator of gate.example sent you a link",
            "ru": "Администратор gate.example отправил вам ссылку",
        },
    ),
    Case(
        AddressChangedMessage,
        {
            "en": "Your e-mail address at gate.example was changed",
            "ru": "Ваш адрес электронной почты на gate.example изменён",
        },
        {
            "en": "The e-mail address of your account at gate.example was changed",
            "ru": "Администратор изменил адрес электронной почты вашей учётной записи на",
        },
    ),
    Case(
        InvitationMessage,
        {
            "en": "Your invitation to gate.example",
            "ru": "Приглашение на gate.example",
        },
        {
            "en": "You are invited to create an account at gate.example.",
            "ru": "Вас приглашают зарегистрироваться на gate.example.",
        },
    ),
]


def renderer(site_name: str = SITE) -> MailRenderer:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(bundled("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    i18n.install(environment)
    return MailRenderer(environment, site_name=site_name, site_url=f"https://{SITE}")


def render(message: MailMessage, language: str, site_name: str = SITE) -> EmailMessage:
    """The message as a recipient's program parses it."""
    built = renderer(site_name).render(message, i18n.locale_context(language))
    parsed = email.message_from_bytes(built.as_bytes(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def test_every_message_and_every_template_is_covered() -> None:
    kinds = {case.kind for case in CASES}
    public = [value for value in vars(messages).values() if isinstance(value, type)]
    others = {MailMessage, NoticeMessage}  # notices have their own test below
    assert kinds == {kind for kind in public if issubclass(kind, MailMessage)} - others
    templates = {path.stem for path in (bundled("templates") / "mail").iterdir()}
    assert templates == {kind.template for kind in kinds} | {"layout", NoticeMessage.template}


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_kind_of_notice_has_its_text_and_says_how_to_switch_it_off(language: str) -> None:
    found = set()
    for kind in NoticeKind:
        notice = NoticeMessage(
            "marta@example.com",
            "Marta",
            kind=kind.value,
            what="Office\nBcc: eve@example.com",
            amount="10.00 ZNC",
            at="1 December 2026",
            link=LINK,
            settings_link=f"https://{SITE}/account/notices",
        )
        message = render(notice, language)
        text = message.get_content()
        assert SITE in message["Subject"]
        assert message["Bcc"] is None
        assert LINK in text
        assert f"https://{SITE}/account/notices" in text
        found.add((message["Subject"], text))
    assert len(found) == len(NoticeKind)


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.template)
def test_message_names_site_and_link(case: Case, language: str) -> None:
    message = render(case.kind("marta@example.com", "Marta", LINK), language)
    assert message["To"] == "marta@example.com"
    assert message["Subject"] == case.subjects[language]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"]
    assert message["Date"]
    assert "From" not in message
    text = message.get_content()
    assert isinstance(text, str)
    assert text.startswith(f"{SALUTATION[language]}\n\n{case.first[language]}")
    assert f":\n\n{LINK}\n" in text
    assert text.endswith(f"\n\n-- \n{SITE}\nhttps://{SITE}\n")
    assert "\n\n\n" not in text
    assert "{" not in text


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.template)
def test_names_can_not_add_headers_or_lines(case: Case, language: str) -> None:
    evil = "Marta\r\nBcc: all@example.com\r\n\r\nVisit\x0bhttps://evil.example\x85x\u2028y\x00z"
    message = render(case.kind("marta@example.com", evil, LINK), language, site_name=evil)
    assert sorted(message.keys()) == sorted(HEADERS + CONTENT_HEADERS)
    flat = "Marta Bcc: all@example.com Visit https://evil.example x y z"
    assert flat in message["Subject"]
    lines = message.get_content().splitlines()
    assert SALUTATION[language].replace("Marta", flat) == lines[0]
    assert not any(line.startswith(("Bcc", "Visit")) for line in lines)


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r"])
def test_address_with_a_line_break_is_refused(break_: str) -> None:
    to = f"marta@example.com{break_}Bcc: all@example.com"
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        renderer().render(ResetPasswordMessage(to, "Marta", LINK), i18n.locale_context("en"))


def test_text_is_not_escaped_as_markup() -> None:
    link = f"https://{SITE}/login/reset?link=a&b='c'"
    message = render(ResetPasswordMessage("m@example.com", "<b>O'Neil & Co</b> %(x)s", link), "en")
    text = message.get_content()
    assert text.startswith("Hello <b>O'Neil & Co</b> %(x)s,\n")
    assert f"\n{link}\n" in text


def test_template_syntax_in_a_name_is_not_evaluated() -> None:
    message = render(ResetPasswordMessage("m@example.com", "{{ 7 * 7 }}{% x %}", LINK), "ru")
    assert message.get_content().startswith("Здравствуйте, {{ 7 * 7 }}{% x %}!\n")
