"""``zenzefi check``: the settings against the real database, Redis and upstream."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import click

from zenzefi.commands.common import Exit, as_json, json_option, plainly, progress, quiet_libraries
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.runtime.checks import Check
    from zenzefi.settings import Settings


@click.command()
@json_option
@plainly
async def check(wants_json: bool) -> None:
    """Test the settings against the real servers and print the results.

    Writes to the database and to Redis (and removes the entries), decrypts the stored tokens, loads
    plugins and payment providers, connects to the upstream, authenticates to the mail server, reads
    the metadata of identity providers, and reconciles every balance with the sum of its ledger.

    Exit status: 0 if everything works, 3 if a setting is invalid, 4 if a server can't be reached or
    a balance differs from its ledger.
    """
    from zenzefi.http import ignored_forwarding
    from zenzefi.runtime.checks import Check
    from zenzefi.settings import (
        SettingsError,
        free_access,
        load_settings,
        own_origin,
        unknown_settings,
    )

    quiet_libraries()
    notes = unknown_settings()
    try:
        settings = load_settings()
    except SettingsError as error:
        found = [Check("settings", ok=False, detail=one, is_setting=True) for one in error.problems]
    else:
        if settings.secret_key_weakness:
            notes.append(settings.secret_key_weakness)
        notes += own_origin.notes(settings) + free_access.warnings(settings)
        notes += ignored_forwarding.notes(settings)
        with progress("Testing what the settings name"):
            found = [
                Check("settings", ok=True, detail="complete and consistent"),
                _access(settings),
                *await _all(settings),
            ]
    _show(found, notes, wants_json)
    failed = [one for one in found if not one.ok]
    if failed:
        raise SystemExit(
            Exit.SETTINGS if any(one.is_setting for one in failed) else Exit.UNAVAILABLE
        )


def _show(found: list[Check], notes: list[str], wants_json: bool) -> None:
    if wants_json:
        results = [dataclasses.asdict(one) for one in found]
        as_json({"ok": all(one.ok for one in found), "checks": results, "notes": notes})
        return
    width = max(len(one.name) for one in found)
    for one in found:
        mark = click.style("works", fg="green") if one.ok else click.style("FAILS", fg="red")
        click.echo(f"  {mark}  {one.name:<{width}}  {one_line(one.detail)}")
    for note in notes:
        click.echo(f"  {click.style('note ', fg='yellow')}  {one_line(note)}")


async def _all(settings: Settings) -> list[Check]:
    from zenzefi.db.engine import Database
    from zenzefi.maintenance import reconciliation, secret_keys
    from zenzefi.oidc.checks import check_provider
    from zenzefi.runtime import checks

    try:
        database = Database(settings.sqlalchemy_url)
    except OSError as error:
        detail = f"{error.filename} can't be used ({error.strerror})"
        return [checks.Check("database", ok=False, detail=detail, is_setting=True)]
    try:
        pending: list[Awaitable[Check]] = [
            checks.check_database(database, automatic=settings.is_embedded),
            secret_keys.check_keys(settings, database),
            *([checks.check_redis(settings.redis_dsn)] if settings.redis_dsn else []),
            checks.check_upstream(settings),
            asyncio.to_thread(_plugins, settings),
            _payments(settings),
        ]
        pending += [check_provider(settings, name) for name in settings.oidc_providers]
        if settings.mail_url is not None:
            pending.append(_mail(settings.mail_url.get_secret_value()))
        if settings.tracing:
            pending.append(asyncio.to_thread(_tracing))
        if settings.metrics_listen is not None:
            pending.append(asyncio.to_thread(_metrics, settings.metrics_listen))
        found = list(await asyncio.gather(*pending))
        books = await reconciliation.check_ledger(database) if found[0].ok else None
        return found if books is None else [found[0], books, *found[1:]]
    finally:
        await database.close()


def _access(settings: Settings) -> Check:
    """Whether the operator has chosen who gets access, and at what price."""
    from zenzefi.runtime.checks import Check
    from zenzefi.settings import free_access

    problem = free_access.problem(settings)
    if problem is not None:
        return Check("access", ok=False, detail=problem.rstrip("."), is_setting=True)
    who = {
        "open": "everybody",
        "invitation": "by invitation",
        "closed": "administrators only",
    }[settings.registration]
    if settings.registration_domains:
        who += f", mail domains: {', '.join(settings.registration_domains)}"
    free = " free of charge" if settings.free_for_all else ""
    return Check("access", ok=True, detail=f"registration: {who}{free}")


def _plugins(settings: Settings) -> Check:
    from zenzefi.rewriting.plugins.registry import PluginError, Registry
    from zenzefi.runtime.checks import Check

    try:
        registry = Registry.for_gate(
            plugin_dir=settings.plugin_dir,
            disabled=settings.plugins_disabled,
            options=settings.plugin_options,
        )
    except PluginError as error:
        return Check("plugins", ok=False, detail=" ".join(error.problems), is_setting=True)
    return Check("plugins", ok=True, detail=f"{len(registry.entries)} enabled")


async def _payments(settings: Settings) -> Check:
    from zenzefi.billing.providers.load import load_providers
    from zenzefi.runtime.checks import Check
    from zenzefi.settings import SettingsError

    try:
        providers = load_providers(settings)
    except SettingsError as error:
        return Check("payments", ok=False, detail=" ".join(error.problems), is_setting=True)
    for provider in providers.values():
        await provider.close()
    return Check("payments", ok=True, detail=", ".join(providers) or "none")


async def _mail(url: str) -> Check:
    from zenzefi.mail.transports import NotSent, transport_for
    from zenzefi.runtime.checks import TIMEOUT, Check, reason

    try:
        async with asyncio.timeout(TIMEOUT):
            place = await transport_for(url).check()
    except NotSent as error:
        return Check("mail", ok=False, detail=f"{error} can't be used{reason(error)}")
    except TimeoutError:
        return Check("mail", ok=False, detail=f"no response within {TIMEOUT:g} seconds")
    return Check("mail", ok=True, detail=place)


def _tracing() -> Check:
    from zenzefi.observability.tracing import missing
    from zenzefi.runtime.checks import Check

    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    if problems := missing():
        return Check("tracing", ok=False, detail=problems[0], is_setting=True)
    return Check("tracing", ok=True, detail=f"spans go to {endpoint}")


def _metrics(address: str) -> Check:
    """Whether this machine has the address; a process that listens there is taken for the gate."""
    import errno
    import socket

    from zenzefi.runtime.checks import Check

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Check(
                "metrics", ok=True, detail=f"{address} is in use, perhaps by a running gate"
            )
        detail = f"METRICS_LISTEN: {address} can't be listened on ({error.strerror})"
        return Check("metrics", ok=False, detail=detail, is_setting=True)
    return Check("metrics", ok=True, detail=f"{address} is free")
