"""Letters on their way, with a mail server that really speaks SMTP."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage

import pytest

from tests.conftest import MakeGate
from tests.web.visitor import Visitor
from zenzefi.mail.courier import COURIER, Courier, NotSent, letter, mailer_for

SENDER = "Ворота <gate@example.com>"


@dataclass
class Post:
    """A mail server on this machine (RFC 5321), as far as a client that sends needs one."""

    port: int = 0
    failures: int = 0
    received: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    tries: int = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        await say("220 post.example ESMTP")
        while line := (await reader.readline()).decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                await say("250-post.example")
                await say("250-SMTPUTF8")
                await say("250 AUTH PLAIN")
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split(" ")[2]).decode())
                await say("235 welcome")
            elif verb == "MAIL":
                self.tries += 1
                if self.failures:
                    self.failures -= 1
                    await say("451 come back later")
                else:
                    await say("250 ok")
            elif verb == "DATA":
                await say("354 go on")
                content = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                self.received.append(
                    email.message_from_bytes(content, policy=email.policy.default)  # type: ignore[arg-type]
                )
                await say("250 taken")
            elif verb == "QUIT":
                await say("221 bye")
                break
            else:
                await say("250 ok")
        writer.close()


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    found = Post()
    server = await asyncio.start_server(found.talk, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def courier(url: str) -> AsyncIterator[Courier]:
    found = Courier(mailer_for(url), SENDER, pause=0.01)
    async with found.running():
        yield found


def written(subject: str, to: str = "marta@example.com"):
    async def write() -> EmailMessage:
        return letter(to, subject, "Здравствуйте!\nhttps://gate.example/login/reset?link=abc\n")

    return write


async def test_a_letter_arrives_as_it_was_written(post: Post) -> None:
    async with courier(f"smtp://127.0.0.1:{post.port}") as mail:
        mail.post(written("Новый пароль"))
        await mail.settled()
    (got,) = post.received
    assert got["Subject"] == "Новый пароль"
    assert got["To"] == "marta@example.com"
    assert got["From"] == SENDER
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Date"]
    assert got["Message-ID"]
    assert "Здравствуйте!\nhttps://gate.example/login/reset?link=abc\n" in got.get_content()
    assert post.logins == []


async def test_user_and_password_may_hold_any_character(post: Post) -> None:
    async with courier(f"smtp://us%40er:p%3Aw%2Fd@127.0.0.1:{post.port}") as mail:
        mail.post(written("x"))
        await mail.settled()
    assert post.logins == ["\0us@er\0p:w/d"]
    assert len(post.received) == 1


async def test_a_password_goes_to_no_other_machine_without_encryption(
    post: Post, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The name of another machine, which is this one all the same; it offers no STARTTLS.
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def here(factory: object, host: str, port: int, **options: object) -> object:
        return await connect(factory, "127.0.0.1", port, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(loop, "create_connection", here)
    async with courier(f"smtp://user:secret-word@mail.example:{post.port}") as mail:
        mail.post(written("x"))
        await mail.settled()
    assert post.logins == []
    assert post.received == []
    assert "an e-mail could not be sent" in caplog.text
    assert "secret-word" not in caplog.text


async def test_a_server_that_is_busy_is_asked_again(post: Post) -> None:
    post.failures = 2
    async with courier(f"smtp://127.0.0.1:{post.port}") as mail:
        mail.post(written("third time"))
        await mail.settled()
    assert [got["Subject"] for got in post.received] == ["third time"]
    assert post.tries == 3


async def test_one_that_can_not_be_sent_holds_up_no_other(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.failures = 3

    async def broken() -> EmailMessage:
        raise LookupError("the database is away")

    async with courier(f"smtp://127.0.0.1:{post.port}") as mail:
        mail.post(written("given up"))
        mail.post(broken)
        mail.post(written("arrives"))
        await mail.settled()
    assert [got["Subject"] for got in post.received] == ["arrives"]
    assert caplog.text.count("an e-mail could not be sent") == 2


async def test_what_waits_at_the_end_still_leaves(post: Post) -> None:
    async with courier(f"smtp://127.0.0.1:{post.port}") as mail:
        for number in range(5):
            mail.post(written(str(number)))
    assert len(post.received) == 5


async def test_a_full_bag_drops_the_newest_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck:
        async def send(self, message: EmailMessage) -> None:
            await asyncio.sleep(3600)

    mail = Courier(Stuck(), SENDER)
    for number in range(205):
        mail.post(written(str(number)))
    assert caplog.text.count("one was dropped") == 5


async def test_no_letter_takes_a_line_break_into_its_head() -> None:
    with pytest.raises(ValueError, match=r"newline|linefeed"):
        letter("marta@example.com\r\nBcc: all@example.com", "x", "y")


async def test_a_mail_server_that_is_away_keeps_nobody_waiting(make_gate: MakeGate) -> None:
    gate = await make_gate(mail_url="smtp://127.0.0.1:9", rate_limit_login="off")
    visitor = await Visitor(gate).register()
    assert visitor.status == 200
    assert "Welcome!" in visitor.text
    await visitor.send("/logout")
    await visitor.open("/login/forgotten")
    await visitor.send("/login/forgotten", email="marta@example.com")
    assert "an e-mail with a link is on its way" in visitor.text
    assert gate.app[COURIER]


async def test_no_way_but_those_named_is_taken() -> None:
    mailer = mailer_for("smtp://127.0.0.1:9")
    with pytest.raises(NotSent, match="Connect"):
        await mailer.send(letter("a@b.example", "x", "y"))
