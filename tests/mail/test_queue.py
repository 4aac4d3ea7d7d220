"""The mail queue: order, retries, failures, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest

from tests.kit.gates import MakeGate
from tests.kit.smtp_server import SmtpServer
from tests.kit.visitors import Visitor
from zenzefi.mail.queue import MAIL_QUEUE, BuildMessage, MailQueue
from zenzefi.mail.transports import transport_for

SENDER = "Шлюз <gate@example.com>"


@asynccontextmanager
async def running_queue(server: SmtpServer) -> AsyncIterator[MailQueue]:
    queue = MailQueue(transport_for(server.url), SENDER, pause=0.01)
    async with queue.running():
        yield queue


def message(subject: str) -> BuildMessage:
    async def build() -> EmailMessage:
        built = EmailMessage()
        built["To"] = "marta@example.com"
        built["Subject"] = subject
        built.set_content("Здравствуйте!\n")
        return built

    return build


async def test_message_is_received_as_it_was_built(smtp_server: SmtpServer) -> None:
    async with running_queue(smtp_server) as queue:
        queue.put(message("Новый пароль"))
        await queue.join()
    (received,) = smtp_server.received
    assert received["Subject"] == "Новый пароль"
    assert received["To"] == "marta@example.com"
    assert received["From"] == SENDER
    assert "Здравствуйте!\n" in received.get_content()


async def test_temporary_failure_is_retried(smtp_server: SmtpServer) -> None:
    smtp_server.failures = 2
    async with running_queue(smtp_server) as queue:
        queue.put(message("third attempt"))
        await queue.join()
    assert [received["Subject"] for received in smtp_server.received] == ["third attempt"]
    assert smtp_server.attempts == 3


async def test_failed_messages_do_not_block_later_ones(
    smtp_server: SmtpServer, caplog: pytest.LogCaptureFixture
) -> None:
    smtp_server.failures = 3

    async def broken() -> EmailMessage:
        raise LookupError("database unavailable")

    async def nothing() -> None:
        return None

    async with running_queue(smtp_server) as queue:
        queue.put(message("given up"))
        queue.put(broken)
        queue.put(nothing)
        queue.put(message("received"))
        await queue.join()
    assert [received["Subject"] for received in smtp_server.received] == ["received"]
    assert caplog.text.count("failed to send an e-mail") == 2


async def test_queued_messages_are_sent_at_shutdown(smtp_server: SmtpServer) -> None:
    async with running_queue(smtp_server) as queue:
        for number in range(5):
            queue.put(message(str(number)))
    assert [received["Subject"] for received in smtp_server.received] == list("01234")


async def test_full_queue_drops_new_messages_and_logs_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = MailQueue(transport_for("log:"), SENDER)  # not running: nothing leaves the queue
    for number in range(205):
        queue.put(message(str(number)))
    assert caplog.text.count("mail queue full: message dropped") == 5


async def test_pages_do_not_wait_for_an_unreachable_mail_server(make_gate: MakeGate) -> None:
    gate = await make_gate(mail_url="smtp://127.0.0.1:9", rate_limit_login="off")
    visitor = await Visitor(gate).register()
    assert visitor.status == 200
    assert "Welcome!" in visitor.text
    await visitor.send("/logout")
    await visitor.open("/login/forgotten")
    await visitor.send("/login/forgotten", email="marta@example.com")
    assert "an e-mail with a link is on its way" in visitor.text
    assert gate.app[MAIL_QUEUE]


async def test_no_queue_without_a_mail_server(make_gate: MakeGate) -> None:
    gate = await make_gate()
    assert MAIL_QUEUE not in gate.app


def test_put_does_not_start_building(smtp_server: SmtpServer) -> None:
    started = asyncio.Event()

    async def build() -> None:
        started.set()

    MailQueue(transport_for(smtp_server.url), SENDER).put(build)
    assert not started.is_set()
