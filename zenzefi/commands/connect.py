"""``zenzefi connect``: the desktop client, in the language of the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import ssl
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from zenzefi import i18n
from zenzefi.commands.common import Exit, ask_secret, fail
from zenzefi.commands.gate_address import read_gate
from zenzefi.i18n import N_, ngettext
from zenzefi.i18n import gettext as _
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.client.agent import Agent

_POLL = 60.0  # seconds between two status requests
_MIN_PAUSE = 1.0  # seconds between two status requests at least
_CONNECTING = N_("connecting")
_UNREACHABLE = N_("the gate can't be reached, trying again")
_READY = N_("ready, the time starts with your first request")
_CONNECTED = N_("connected")
_REFUSED = N_("The gate refuses this access token.")
_REFUSALS = {
    "token_expired": N_("Your access token has expired. Buy another one on the account page."),
    "token_revoked": N_("Your access token has been revoked. Buy another one on the account page."),
    "token_invalid": N_("The access token is unknown. Copy it again from the account page."),
}


@click.command()
@click.argument("gate_url", metavar="GATE")
@click.option(
    "--port",
    default=61000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on this computer; 0 takes a free one.",
)
@click.option("--http", "plain", is_flag=True, help="Plain HTTP on this computer, no certificate.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust the authorities in this file for the gate, instead of the system's.",
)
@click.option("--keyring", is_flag=True, help="Keep the token in the system's keyring.")
@click.option("--token-stdin", is_flag=True, help="Read the token from the standard input.")
@click.option(
    "--insecure", is_flag=True, help="Allow http:// to a gate elsewhere: others can read the token."
)
def connect(
    gate_url: str,
    port: int,
    plain: bool,
    ca_file: Path | None,
    keyring: bool,
    token_stdin: bool,
    insecure: bool,
) -> None:
    """Serve the application behind GATE on this computer.

    The token comes from ZENZEFI_ACCESS_TOKEN, the keyring, the standard input or a prompt, never
    from the arguments. Your browser then uses https://127.0.0.1:61000/.
    """
    with i18n.using(i18n.locale_context(_language())):
        _connect(gate_url, port, plain, ca_file, keyring, token_stdin, insecure)


def _language() -> str:
    """Language of the terminal (POSIX.1-2024, 8.2: ``LC_ALL``, ``LC_MESSAGES``, ``LANG``)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return i18n.negotiate(value.partition(".")[0].replace("_", "-"))
    return "en"


def _connect(
    gate_url: str,
    port: int,
    plain: bool,
    ca_file: Path | None,
    keyring: bool,
    token_stdin: bool,
    insecure: bool,
) -> NoReturn:
    gate = str(read_gate(gate_url, insecure=insecure))
    store = _Keyring(gate) if keyring else None
    token = (store.read() if store else "") or ask_secret(
        "token", confirm=False, from_stdin=token_stdin, variable="ZENZEFI_ACCESS_TOKEN"
    )
    token = token.strip()
    if not 16 <= len(token) <= 512 or not token.isascii() or not token.isprintable():
        fail(
            _("This is not an access token. Copy the whole token from the account page."),
            Exit.USAGE,
        )
    try:
        code = asyncio.run(_run(gate, port, token, plain=plain, ca_file=ca_file, store=store))
    except KeyboardInterrupt:
        code = Exit.OK
    raise SystemExit(code)


class _Keyring:
    """The system's keyring: one token per gate, until the token ends."""

    def __init__(self, gate: str) -> None:
        try:
            import keyring
            import keyring.errors
        except ImportError:
            fail(
                _("The keyring package is not installed: pip install 'zenzefi[keyring]'"),
                Exit.USAGE,
            )
        self._keyring, self._errors = keyring, keyring.errors
        self._gate = gate

    def read(self) -> str:
        """The token stored for this gate, else an empty string."""
        try:
            return self._keyring.get_password("zenzefi", self._gate) or ""
        except self._errors.KeyringError as error:
            fail(_("the keyring can't be used: %(error)s", error=error))

    def keep(self, token: str) -> None:
        """Store a token that the gate accepted."""
        try:
            self._keyring.set_password("zenzefi", self._gate, token)
        except self._errors.KeyringError as error:
            message = _("the token was not stored: %(error)s", error=error)
            click.secho(f"zenzefi: {message}", fg="yellow", err=True)

    def forget(self) -> None:
        """Delete a token that has ended, so that the next start prompts for another one."""
        with contextlib.suppress(self._errors.KeyringError):
            self._keyring.delete_password("zenzefi", self._gate)


def _folder() -> Path:
    from zenzefi.settings import default_data_dir

    named = os.environ.get("DATA_DIR")
    return Path(named) if named else default_data_dir()


def _device_id(folder: Path) -> str:
    """Device ID of this computer: random, generated once, not secret."""
    path = folder / "device_id"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="ascii") as file:
        file.write(secrets.token_hex(10) + "\n")
    return path.read_text(encoding="ascii").strip()


async def _run(
    gate: str, port: int, token: str, *, plain: bool, ca_file: Path | None, store: _Keyring | None
) -> int:
    from aiohttp import web
    from yarl import URL

    from zenzefi.client.agent import Agent
    from zenzefi.client.certificate import server_context
    from zenzefi.runtime.sockets import PortTaken, bind

    folder = _folder()
    context, fingerprint = None, ""
    try:
        device_id = _device_id(folder)
        if not plain:
            context, fingerprint = server_context(folder)
        (sock,) = bind("127.0.0.1", port)
    except OSError as error:
        fail(_("%(path)s can't be used: %(error)s.", path=folder, error=error.strerror))
    except PortTaken as error:
        fail(_("%(error)s Choose another port with --port.", error=error))
    public = URL.build(
        scheme="http" if plain else "https", host="127.0.0.1", port=sock.getsockname()[1]
    )
    try:
        tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    except OSError as error:  # ssl.SSLError is one
        fail(
            _("%(path)s contains no certificates: %(error)s.", path=ca_file, error=error.strerror),
            Exit.USAGE,
        )
    agent = Agent(URL(gate), public, token, device_id, tls=tls)
    runner = agent.runner()
    await runner.setup()
    try:
        await web.SockSite(runner, sock, ssl_context=context).start()
        watch = _Watch(agent, fingerprint)
        code = await watch.run()
        if store and watch.is_refused:
            store.forget()
        elif store and watch.is_accepted:
            store.keep(token)
        return code
    finally:
        await runner.cleanup()


class _Watch:
    """Polls the status of the token and shows it in a status line that is kept up to date."""

    def __init__(self, agent: Agent, fingerprint: str) -> None:
        self._agent = agent
        self._fingerprint = fingerprint
        self._state = _CONNECTING
        self._ends: float | None = None  # time.monotonic() at which the token ends
        self._is_terminal = sys.stderr.isatty()
        self.is_accepted = False
        """Whether the gate accepted the token at least once."""
        self.is_refused = False
        """Whether the gate refused the token in the end."""

    async def run(self) -> int:
        """Run until a signal (0), the end of the token (1), or a server that is not a gate (1)."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        message = await self._poll()
        if message is None:
            self._greet()
        drawing = asyncio.create_task(self._draw(), name="status line")
        stop = asyncio.create_task(stopping.wait(), name="signal")
        try:
            while message is None and not stopping.is_set():
                await self._wait(stop)
                if not stopping.is_set():
                    message = await self._poll()
        finally:
            for task in (drawing, stop):
                task.cancel()
            if self._is_terminal:
                click.echo("\r\x1b[K", nl=False, err=True)
        if message is not None:
            click.secho(f"zenzefi: {one_line(message)}", fg="red", err=True)
            return Exit.FAILED
        return Exit.OK

    async def _wait(self, stop: asyncio.Task[bool]) -> None:
        """Wait until the next poll is due, the agent reports a change, or a signal arrives."""
        news = asyncio.create_task(self._agent.news.wait(), name="news of the token")
        # Not immediately after the last check: an application may itself send 401 repeatedly.
        await asyncio.wait({stop}, timeout=_MIN_PAUSE)
        await asyncio.wait({stop, news}, timeout=self._pause(), return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        self._agent.news.clear()

    def _pause(self) -> float:
        """Seconds to the next poll: few if the gate is unreachable or the token ends soon."""
        if self._state == _UNREACHABLE:
            return 2.0
        left = _POLL if self._ends is None else self._ends - time.monotonic() + 0.5
        return max(0.0, min(_POLL, left) - _MIN_PAUSE)

    async def _poll(self) -> str | None:
        """Update the state; returns an error message if the client has to exit."""
        import aiohttp

        from zenzefi.client.agent import NotAGate, TokenEnded

        before = self._state
        try:
            status = await self._agent.status()
        except TokenEnded as ended:
            self.is_refused = True
            return _(_REFUSALS.get(str(ended), _REFUSED))
        except NotAGate:
            if not self.is_accepted:
                return _("%(gate)s responds, but not like a Zenzefi gate.", gate=self._agent.gate)
            self._state = _UNREACHABLE  # it was a gate before: perhaps a network with a login page
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                return _("The gate's certificate can't be verified. Is --ca-file needed?")
            self._state = _UNREACHABLE
        else:
            self.is_accepted = True
            active, left = status.is_activated, status.time_remaining_seconds
            self._state = _CONNECTED if active else _READY
            self._ends = time.monotonic() + left if active else None
        if not self._is_terminal and self._state != before:
            click.echo(f"zenzefi: {_(self._state)}", err=True)
        return None

    def _greet(self) -> None:
        url = click.style(f"{self._agent.public}/", bold=True)
        click.echo("\n  " + _("Open  %(url)s", url=url) + "\n", err=True)
        if self._fingerprint:
            text = _(
                "The certificate was made on this computer, so the browser asks once whether to\n"
                "trust it. Its SHA-256 fingerprint is\n%(fingerprint)s",
                fingerprint=self._fingerprint,
            )
            click.echo(textwrap.indent(text, "  ") + "\n", err=True)
        click.echo("  " + _("Press Ctrl+C to stop.") + "\n", err=True)

    async def _draw(self) -> None:
        while self._is_terminal:
            # A line that wraps could not be overwritten.
            line = f"  {self._line()}"[: shutil.get_terminal_size().columns - 1]
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
            await asyncio.sleep(1)

    def _line(self) -> str:
        left = None if self._ends is None else self._ends - time.monotonic()
        traffic = self._agent.traffic
        return status_line(self._state, left, traffic.requests, traffic.received, traffic.sent)


def status_line(state: str, left: float | None, requests: int, received: int, sent: int) -> str:
    """The status line, in the language of the terminal.

    ``left`` is the remaining time in seconds, if it is known; ``received`` and ``sent`` are bytes.
    """
    parts = [_(state)]
    if left is not None:
        # timedelta writes whole days in English.
        text = str(timedelta(seconds=max(0, int(left)))) if left < 86400 else i18n.remaining(left)
        parts.append(_("%(duration)s left", duration=text))
    parts.append(ngettext("%(num)s request", "%(num)s requests", requests))
    parts.append(
        _("%(received)s in, %(sent)s out", received=i18n.size(received), sent=i18n.size(sent))
    )
    return "  ·  ".join(parts).replace("\N{NO-BREAK SPACE}", " ")
