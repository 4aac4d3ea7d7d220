"""A small SMTP server that records what it receives."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class SmtpServer:
    """The commands of RFC 5321 that a sending client needs; AUTH PLAIN, no STARTTLS."""

    port: int = 0
    failures: int = 0
    """How many of the next messages are refused for now (451)."""
    received: list[EmailMessage] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    attempts: int = 0

    @property
    def url(self) -> str:
        """``MAIL_URL`` of this server."""
        return f"smtp://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""

        async def reply(*lines: str) -> None:
            writer.write("".join(f"{line}\r\n" for line in lines).encode())
            await writer.drain()

        await reply("220 mail.example ESMTP")
        while line := (await reader.readline()).decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "EHLO":
                await reply("250-mail.example", "250-SMTPUTF8", "250 AUTH PLAIN")
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split(" ")[2]).decode())
                await reply("235 authenticated")
            elif verb == "MAIL":
                self.attempts += 1
                await reply("451 try again later" if self.failures else "250 ok")
                self.failures = max(0, self.failures - 1)
            elif verb == "DATA":
                await reply("354 send the message")
                content = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                self.received.append(email.message_from_bytes(content, policy=email.policy.default))
                await reply("250 accepted")
            elif verb == "QUIT":
                await reply("221 bye")
                break
            else:
                await reply("250 ok")
        writer.close()
