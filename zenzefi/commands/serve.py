"""``zenzefi serve`` and ``zenzefi demo``: the gate itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from zenzefi.commands.common import Exit, explained, fail, read_settings
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from zenzefi.settings import Settings

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)
port_option = click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)


@click.command()
@host_option
@port_option
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 128),
    help="Processes that share the port; more than one needs Redis.",
)
def serve(host: str, port: int, workers: int) -> None:
    """Start the gate.

    Without ZENZEFI_TARGET_URL the bundled demo site is the upstream. SIGTERM drains, a second
    one stops immediately; SIGHUP reloads prices, scopes, limits and plugins.
    """
    _serve(read_settings(), host, port, workers)


@click.command()
@host_option
@port_option
@click.option("--site-only", is_flag=True, help="Serve only the demo site, without a gate.")
def demo(host: str, port: int, site_only: bool) -> None:
    """Start the gate with the bundled demo site behind it; ZENZEFI_TARGET_URL is ignored."""
    if site_only:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_demo_site(host, port))
        return
    settings = read_settings()
    _serve(settings.model_copy(update={"zenzefi_target_url": None}), host, port, 1)


async def _demo_site(host: str, port: int) -> None:
    from zenzefi.demo import running_demo

    try:
        async with running_demo(host, port) as origin:
            click.echo(f"The demo site is at {origin}")
            await asyncio.Event().wait()
    except OSError as error:
        fail(f"{host}:{port} can't be listened on: {error.strerror}.")


def _serve(settings: Settings, host: str, port: int, workers: int) -> None:
    if workers == 1:
        _listen_and_run(settings, host, port, workers)
        return
    if settings.redis_dsn is None:
        fail(
            f"--workers {workers} needs Redis, through which a revoked token ends in every worker "
            "at once. Set REDIS_URL, or serve with one worker.",
            Exit.SETTINGS,
        )
    with tempfile.TemporaryDirectory(prefix="zenzefi-metrics-") as shared:
        # Before anything imports prometheus_client: it decides then where its values live.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", shared)
        _listen_and_run(settings, host, port, workers)


def _listen_and_run(settings: Settings, host: str, port: int, workers: int) -> None:
    from zenzefi.observability import logs
    from zenzefi.runtime import listening
    from zenzefi.runtime.server import notify_supervisor, run
    from zenzefi.settings import parse_origin

    problem = listening.problem(settings, host)
    if problem:
        fail(problem, Exit.SETTINGS)
    logs.configure(settings)
    sockets = _listen(host, port, settings.proxy_port, workers)
    port = sockets[0][0].getsockname()[1]
    address = _address(host, port)
    is_configured = "backend_url" in settings.model_fields_set
    if not is_configured:
        # A browser on this machine can't open the address that means all of them.
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared only
        settings = settings.model_copy(update={"backend_url": _address(shown, port)})
        address = settings.backend_url
    if settings.target_origin == parse_origin(address):
        fail(f"ZENZEFI_TARGET_URL is this gate itself: {address}.", Exit.SETTINGS)
    with explained():
        warnings = asyncio.run(_preflight(settings))
    warnings += listening.warnings(settings, host)
    warnings += _mount_warnings(settings, None if is_configured else host)

    def announce() -> None:
        _announce(settings, address, workers, warnings)
        notify_supervisor("READY=1")

    if workers == 1:
        with explained():
            run(_one_process(settings, sockets[0], announce))
        return
    raise SystemExit(_many_processes(settings, sockets, announce))


def _listen(host: str, port: int, second: int | None, workers: int) -> list[list[socket.socket]]:
    """The listening sockets of each worker: of ``port`` first, then of ``PROXY_PORT``."""
    from zenzefi.runtime.server import bind

    if second == port:
        fail(f"PROXY_PORT must be another port than --port: both are {port}.", Exit.SETTINGS)
    with explained():
        ports = [port] if second is None else [port, second]
        found = [bind(host, one, workers) for one in ports]
    return [list(group) for group in zip(*found, strict=True)]


def _mount_warnings(settings: Settings, host: str | None) -> list[str]:
    """Warnings about the mount of browsers.

    ``host``: the address to listen on, if ``BACKEND_URL`` was derived from it.
    """
    from zenzefi.settings.own_origin import is_loopback, notes

    warnings = notes(settings)
    if host is None or is_loopback(f"[{host}]" if ":" in host else host):
        return warnings
    if is_loopback(settings.public_origin.host):
        warnings.append(
            f"Browsers on other machines can't open the application: BACKEND_URL is "
            f"{settings.public_origin}. Set it to the address that they use, and PROXY_HOST or "
            "PROXY_PORT."
        )
    return warnings


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _many_processes(
    settings: Settings, sockets: Sequence[Sequence[socket.socket]], announce: Callable[[], None]
) -> int:
    # The application is imported before the fork, so that the workers share its memory. Frozen
    # objects are not visited by garbage collections, which would copy their pages.
    import zenzefi.app
    import zenzefi.runtime.reload  # noqa: F401
    from zenzefi.observability.metrics import forget_process
    from zenzefi.runtime.server import run
    from zenzefi.runtime.workers import Supervisor

    gc.collect()
    gc.freeze()

    def work(sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
        with explained():
            run(_one_process(settings, sockets, ready))

    return Supervisor(
        work,
        sockets,
        stop_timeout=settings.drain_delay + settings.drain_timeout + 5,
        on_ready=announce,
        on_end=forget_process,
    ).run()


async def _preflight(settings: Settings) -> list[str]:
    """Stop the start on fatal errors, in one line each; return the warnings."""
    from zenzefi.db import migrate
    from zenzefi.db.engine import Database
    from zenzefi.runtime import checks

    database = Database(settings.sqlalchemy_url)
    try:
        await migrate.ensure(database, automatic=settings.is_embedded)
    finally:
        await database.close()
    warnings = [settings.secret_key_weakness] if settings.secret_key_weakness else []
    if settings.redis_dsn is not None:
        redis = await checks.ping_redis(settings.redis_dsn)
        if not redis.ok:
            warnings.append(f"Redis {redis.detail}. The database does its work meanwhile, slower.")
    upstream = await checks.check_upstream(settings)
    if not upstream.ok:
        warnings.append(
            f"The upstream {upstream.detail}. Requests for it get 502 until it is back."
        )
    return warnings


async def _one_process(
    settings: Settings, sockets: Sequence[socket.socket], on_ready: Callable[[], None]
) -> None:
    from zenzefi.runtime import server
    from zenzefi.runtime.reload import reload

    async with _upstream(settings) as complete:
        app = _gate(complete)
        await server.serve(
            app,
            sockets,
            drain_delay=settings.drain_delay,
            drain_timeout=settings.drain_timeout,
            on_ready=on_ready,
            on_reload=lambda: reload(app),
        )


def _gate(settings: Settings) -> web.Application:
    from zenzefi.app import create_app

    return create_app(settings)


@contextlib.asynccontextmanager
async def _upstream(settings: Settings) -> AsyncIterator[Settings]:
    """The settings with an upstream in them: the demo site, run here, where none is named."""
    if settings.zenzefi_target_url is not None:
        yield settings
        return
    from zenzefi.demo import running_demo

    async with running_demo() as origin:
        name = settings.application_name or "Lantern & Tide"
        yield settings.model_copy(update={"zenzefi_target_url": origin, "application_name": name})


def _announce(settings: Settings, address: str, workers: int, warnings: list[str]) -> None:
    """Where to click. On the error stream: the standard output belongs to the log."""
    upstream = settings.zenzefi_target_url or "the bundled demo site"
    place = f"{settings.data_dir} (SQLite)" if settings.is_embedded else "PostgreSQL"
    lines = [
        "",
        f"  Zenzefi is ready.  Open  {click.style(settings.backend_url + '/', bold=True)}",
        "",
        f"  upstream   {upstream}",
        f"  data       {place}, {'Redis' if settings.redis_dsn else 'in-process cache'}",
    ]
    if settings.own_origin is not None:
        lines.append(f"  browsers   {settings.own_origin}/ shows the application")
    if address != settings.backend_url:
        lines.append(f"  listens    {address}, behind the web server at the address above")
    if workers > 1:
        lines.append(f"  workers    {workers}")
    lines.append(f"  API        {settings.backend_url}/docs")
    for warning in warnings:
        lines += ["", click.style(f"  ! {one_line(warning)}", fg="yellow")]
    lines += ["", "  Ctrl+C ends it.", ""]
    click.echo("\n".join(lines), err=True)
    sys.stderr.flush()
