"""``zenzefi serve`` and ``zenzefi demo``: the gate itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from zenzefi.commands.common import Exit, explained, fail, read_settings
from zenzefi.commands.gate import ServedGate, one_process
from zenzefi.printable import one_line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from zenzefi.commands.endpoints import Endpoints
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
    "--unix",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Listen on a Unix socket instead; TRUSTED_PROXIES=unix trusts its clients.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 128),
    help="Processes that share the port; more than one needs Redis.",
)
def serve(host: str, port: int, unix: Path | None, workers: int) -> None:
    """Start the gate.

    Without ZENZEFI_TARGET_URL the bundled demo site is the upstream. SIGTERM drains, a second
    one stops immediately; SIGHUP reloads prices, scopes, limits and plugins. Sockets that systemd
    passes (socket activation) are used instead of --host, --port and --unix.
    """
    context = click.get_current_context()
    if unix is not None and any(
        context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        for name in ("host", "port")
    ):
        raise click.UsageError("--unix excludes --host and --port.")
    _serve(read_settings(), host, port, workers, unix)


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


def _serve(
    settings: Settings, host: str, port: int, workers: int, unix: Path | None = None
) -> None:
    if workers == 1:
        _listen_and_run(settings, host, port, workers, unix)
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
        _listen_and_run(settings, host, port, workers, unix, shared)


def _listen_and_run(
    settings: Settings,
    host: str,
    port: int,
    workers: int,
    unix: Path | None,
    folder: str | None = None,
) -> None:
    from zenzefi.commands import endpoints
    from zenzefi.observability import logs

    logs.configure(settings)
    with endpoints.opened(settings, host, port, unix, workers) as where:
        _run(settings, where, folder)


def _run(loaded: Settings, where: Endpoints, folder: str | None) -> None:
    """``folder``: a temporary folder for the metrics of several workers."""
    from zenzefi.http import ignored_forwarding
    from zenzefi.runtime import listening
    from zenzefi.runtime.server import run
    from zenzefi.runtime.supervisor import notify_systemd
    from zenzefi.settings import parse_origin, unknown_settings

    problem = listening.problem(loaded, where.hosts)
    if problem:
        fail(problem, Exit.SETTINGS)
    settings, is_configured = loaded, "backend_url" in loaded.model_fields_set
    if not is_configured:
        settings = loaded.model_copy(update={"backend_url": _browsers_url(where)})
    if where.url and settings.target_origin == parse_origin(where.url):
        fail(f"ZENZEFI_TARGET_URL is this gate itself: {where.url}.", Exit.SETTINGS)
    with explained():
        warnings = run(_preflight(settings))
    warnings += unknown_settings()
    warnings += where.warnings
    warnings += ignored_forwarding.notes(settings)
    warnings += listening.warnings(settings, where.hosts)
    warnings += _mount_warnings(settings, None if is_configured else where.hosts[0])
    behind = where.url or where.name
    listens = behind if is_configured and behind != settings.backend_url else None

    announcement = _announcement(settings, listens, len(where.groups), warnings)
    gate = ServedGate(settings, loaded, where.metrics)
    if folder is not None:
        _many_processes(gate, where, announcement, folder)

    def announce() -> None:
        click.echo(announcement, err=True)
        sys.stderr.flush()
        notify_systemd("READY=1")

    with explained():
        run(one_process(gate, where.groups[0], announce))


def _browsers_url(where: Endpoints) -> str:
    """The address to open in a browser on this machine, if ``BACKEND_URL`` is not set."""
    if where.url is None:
        fail(
            "BACKEND_URL is required with a Unix socket: the address that browsers use.",
            Exit.SETTINGS,
        )
    # A browser can't open the address that means all addresses of this machine.
    return where.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:")


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


def _many_processes(gate: ServedGate, where: Endpoints, announcement: str, folder: str) -> NoReturn:
    # Everything is built before the fork, so that the workers share its memory. Frozen objects are
    # not visited by garbage collections, which would copy their pages.
    import jwt  # noqa: F401

    import zenzefi.runtime.reload  # noqa: F401
    from zenzefi.accounts import passwords
    from zenzefi.commands import worker
    from zenzefi.observability.logs import is_json
    from zenzefi.runtime import memory, supervisor, workers
    from zenzefi.runtime.server import run

    app = None
    if gate.settings.zenzefi_target_url is not None:  # the demo site has no address yet
        with explained():
            app = gate.application(gate.settings)
        passwords.prepare()
    metrics_folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    # Its files would count as those of a worker, whose gauges stay 0.
    supervisor.forget_metrics(metrics_folder, os.getpid())
    readiness = workers.Readiness()
    content = worker.WorkerContent.of(gate, where.groups, readiness.writing).saved()
    kept = [content] if gate.metrics is None else [content, gate.metrics.fileno()]
    supervision = workers.Supervision(
        command=worker.command(content),
        kept=kept,
        stop_timeout=gate.settings.drain_delay + gate.settings.drain_timeout + 5,
        announcement=_encoded(announcement),
        metrics_folder=metrics_folder,
        is_json=is_json(gate.settings),
        socket_file=where.socket_file,
        folder=folder,
    )
    memory.freeze()
    memory.release()

    def work(sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
        with explained():
            run(one_process(gate, sockets, ready, app))

    workers.run(work, where.groups, readiness, supervision)


def _encoded(text: str) -> bytes:
    """The text as ``click.echo`` would write it to the standard error output."""
    text = f"{text}\n" if sys.stderr.isatty() else f"{click.unstyle(text)}\n"
    return text.encode(sys.stderr.encoding, "backslashreplace")


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


def _announcement(
    settings: Settings, listens: str | None, workers: int, warnings: list[str]
) -> str:
    """Where to click. For the error stream: the standard output belongs to the log."""
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
    if listens is not None:
        lines.append(f"  listens    {listens}, behind the web server at the address above")
    if workers > 1:
        lines.append(f"  workers    {workers}")
    lines.append(f"  API        {settings.backend_url}/docs")
    for warning in warnings:
        lines += ["", click.style(f"  ! {one_line(warning)}", fg="yellow")]
    lines += ["", "  Ctrl+C ends it.", ""]
    return "\n".join(lines)
