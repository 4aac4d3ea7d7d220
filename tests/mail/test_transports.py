"""Transports: SMTP with and without a password, and the log."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage

import pytest

from tests.kit.smtp_server import SmtpServer
from zenzefi.mail.transports import NotSent, transport_for


def message() -> EmailMessage:
    built = EmailMessage()
    built["From"] = "gate@example.com"
    built["To"] = "marta@example.com"
    built["Subject"] = "Новый пароль"
    built.set_content("https://gate.example/login/reset?link=abc\n")
    return built


async def test_smtp_without_a_password_does_not_authenticate(smtp_server: SmtpServer) -> None:
    await transport_for(smtp_server.url).send(message())
    assert [received["Subject"] for received in smtp_server.received] == ["Новый пароль"]
    assert smtp_server.logins == []


async def test_user_and_password_are_percent_decoded(smtp_server: SmtpServer) -> None:
    transport = transport_for(f"smtp://us%40er:p%3Aw%2Fd@127.0.0.1:{smtp_server.port}")
    await transport.send(message())
    assert smtp_server.logins == ["\0us@er\0p:w/d"]
    assert len(smtp_server.received) == 1


async def test_password_is_not_sent_unencrypted_to_another_machine(
    smtp_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mail.example resolves to this machine; the server does not offer STARTTLS.
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_here(factory: object, host: str, port: int, **options: object) -> object:
        return await connect(factory, "127.0.0.1", port, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(loop, "create_connection", connect_here)
    transport = transport_for(f"smtp://user:secret-value@mail.example:{smtp_server.port}")
    with pytest.raises(NotSent, match="STARTTLS") as raised:
        await transport.send(message())
    assert smtp_server.logins == []
    assert smtp_server.received == []
    assert "secret-value" not in str(raised.value)


async def test_unreachable_server_raises_not_sent() -> None:
    with pytest.raises(NotSent, match="Connect"):
        await transport_for("smtp://127.0.0.1:9").send(message())


async def test_check_signs_in_without_sending(smtp_server: SmtpServer) -> None:
    transport = transport_for(f"smtp://user:secret@127.0.0.1:{smtp_server.port}")
    assert await transport.check() == f"127.0.0.1:{smtp_server.port} accepts connections"
    assert smtp_server.logins == ["\0user\0secret"]
    assert smtp_server.attempts == 0


async def test_log_transport_writes_the_whole_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    await transport_for("log:").send(message())
    assert "e-mail to=marta@example.com subject=Новый пароль\n" in caplog.text
    assert "https://gate.example/login/reset?link=abc" in caplog.text
