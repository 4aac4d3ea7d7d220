"""``zenzefi remote ...``: a gate elsewhere, over its API, with an API key."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from zenzefi.commands.common import Exit, as_json, ask_secret, fail, json_option, plainly, table
from zenzefi.commands.gate_address import read_gate

if TYPE_CHECKING:
    from zenzefi.client.api import ApiClient


@dataclass(frozen=True, slots=True)
class _RemoteGate:
    gate: str
    ca_file: Path | None
    key_stdin: bool
    insecure: bool

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[ApiClient]:
        """The client; refusals and failures of the network end the command with one line."""
        import aiohttp

        from zenzefi.client.api import ApiClient, ApiError

        origin = read_gate(self.gate, insecure=self.insecure)
        key = ask_secret(
            "key", confirm=False, from_stdin=self.key_stdin, variable="ZENZEFI_API_KEY"
        ).strip()
        if not key.isascii() or not key.isprintable():
            fail("This is not an API key. Copy the whole key again.", Exit.USAGE)
        try:
            tls = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else True
        except OSError as error:  # ssl.SSLError is one
            fail(f"{self.ca_file} contains no certificates: {error.strerror}.", Exit.USAGE)
        try:
            async with ApiClient(str(origin), key, tls=tls) as gate:
                yield gate
        except ApiError as error:
            note = "" if error.retry_after is None else f" Wait {error.retry_after} s."
            fail(f"{error.detail} ({error.code or error.status}){note}")
        except (aiohttp.ClientError, TimeoutError) as error:
            fail(f"{origin} can't be reached: {error or 'timeout'}.", Exit.UNAVAILABLE)


@click.group()
@click.option("--gate", required=True, envvar="ZENZEFI_GATE", help="The gate's address.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust the authorities in this file for the gate, instead of the system's.",
)
@click.option("--key-stdin", is_flag=True, help="Read the API key from the standard input.")
@click.option(
    "--insecure", is_flag=True, help="Allow http:// to a gate elsewhere: others can read the key."
)
@click.pass_context
def remote(
    context: click.Context, gate: str, ca_file: Path | None, key_stdin: bool, insecure: bool
) -> None:
    """Use a gate elsewhere over its API, with an API key.

    The gate comes from --gate or ZENZEFI_GATE. The key comes from ZENZEFI_API_KEY, the standard
    input or a prompt, never from the arguments.
    """
    context.obj = _RemoteGate(gate, ca_file, key_stdin, insecure)


@remote.command()
@json_option
@click.pass_obj
@plainly
async def account(target: _RemoteGate, wants_json: bool) -> None:
    """Show the account of the key, with its balance."""
    async with target.connected() as gate:
        found = await gate.account()
    if wants_json:
        as_json(found.model_dump(mode="json"))
        return
    table(
        ("username", "e-mail", "balance"),
        [(found.username, found.email, f"{found.currency_balance} ZNC")],
        "",
    )


@remote.command()
@click.option("--all", "wants_all", is_flag=True, help="Revoked and expired tokens too.")
@json_option
@click.pass_obj
@plainly
async def tokens(target: _RemoteGate, wants_all: bool, wants_json: bool) -> None:
    """List access tokens, newest first. Their values are printed only as JSON."""
    async with target.connected() as gate:
        found = await gate.tokens(active_only=not wants_all)
    if wants_json:
        as_json([one.model_dump(mode="json") for one in found])
        return
    table(
        ("ID", "name", "hours", "scope", "state", "expires"),
        [
            (
                one.id,
                one.name,
                one.duration_hours,
                one.scope,
                "active" if one.is_active else "ended",
                "" if one.expires_at is None else f"{one.expires_at:%Y-%m-%d %H:%M}",
            )
            for one in found
        ],
        "No tokens.",
    )


@remote.command()
@click.option(
    "--hours", required=True, type=click.IntRange(1, 24 * 3660), help="Duration in hours."
)
@click.option("--scope", default="full", show_default=True, help="Scope of the token.")
@click.option("--name", help="A name for the token.")
@json_option
@click.pass_obj
@plainly
async def buy(
    target: _RemoteGate, hours: int, scope: str, name: str | None, wants_json: bool
) -> None:
    """Buy an access token and print its value. The balance is charged once."""
    async with target.connected() as gate:
        made = await gate.buy_token(hours, scope=scope, name=name)
    if wants_json:
        as_json(made.model_dump(mode="json"))
        return
    click.echo(f"Bought {made.id} for {made.cost_znc} ZNC.\n", err=True)
    click.echo(made.token)


@remote.command()
@click.argument("token_id", type=click.UUID)
@json_option
@click.pass_obj
@plainly
async def revoke(target: _RemoteGate, token_id: UUID, wants_json: bool) -> None:
    """Revoke the access token TOKEN_ID; an unused one is refunded."""
    async with target.connected() as gate:
        done = await gate.revoke_token(token_id)
    if wants_json:
        as_json(done.model_dump(mode="json"))
        return
    click.echo(f"Revoked. Refund: {done.refund_amount} ZNC, balance: {done.new_balance} ZNC.")


@remote.command()
@click.argument("method", type=click.Choice(["GET", "POST", "PATCH", "DELETE"]))
@click.argument("path")
@click.option("--data", help="The JSON of the request's body.")
@click.pass_obj
@plainly
async def call(target: _RemoteGate, method: str, path: str, data: str | None) -> None:
    """Call any operation below /api/v1 and print the JSON of its response.

    PATH may have a query, such as "/admin/users?limit=5".
    """
    from yarl import URL

    body = None
    if data is not None:
        try:
            body = json.loads(data)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from None
    where = URL(path)
    if where.is_absolute() or not path.startswith("/"):
        raise click.BadParameter("must begin with a slash", param_hint="PATH")
    async with target.connected() as gate:
        found: Any = await gate.request(method, where.path, query=dict(where.query), body=body)
    as_json(found)
