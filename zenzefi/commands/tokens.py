"""``zenzefi token ...``: access tokens, from the operator's side."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from zenzefi.commands.common import as_json, json_option, plainly, table
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.tokens.token_records import TokenRecord


_USUAL_HOURS = ("1", "12", "24", "168", "720")


@click.group()
def token() -> None:
    """Issue, show, list and revoke access tokens.

    Other users of the machine can read the arguments of a command, so tokens are selected by their
    IDs here, never by their values.
    """


@token.command()
@click.argument("email")
@click.option(
    "--hours",
    default=24,
    show_default=True,
    type=click.IntRange(1, 24 * 3660),
    shell_complete=lambda _context, _parameter, typed: [
        hours for hours in _USUAL_HOURS if hours.startswith(typed)
    ],
    help="Duration in hours.",
)
@click.option("--scope", default="full", show_default=True, help="Scope of the token.")
@click.option("--name", help="A note for its owner.")
@json_option
@plainly
async def issue(email: str, hours: int, scope: str, name: str | None, wants_json: bool) -> None:
    """Issue a token to the account EMAIL, free of charge. Its time starts with the first use."""
    from zenzefi.audit.log import GATE, record
    from zenzefi.commands.services import services
    from zenzefi.tokens.token_records import insert_token

    async with services() as with_:
        owner = await with_.user(email)
        with_.tokens.check_scope(scope)
        async with with_.database.begin() as connection:
            made = await insert_token(
                connection,
                with_.keyring,
                user_id=owner.id,
                duration_hours=hours,
                scope=scope,
                cost=Decimal("0.00"),
                name=name,
            )
            await record(connection, GATE, "token.issued", "token", made.id, duration_hours=hours)
    if wants_json:
        as_json(_fields(made, reveal=True))
        return
    click.echo(
        f"Issued {made.id} to {one_line(owner.email)}: {hours} h, scope {scope}.\n", err=True
    )
    click.echo(made.plaintext)


@token.command("list")
@click.argument("email")
@click.option("--active", is_flag=True, help="Only tokens that are neither revoked nor expired.")
@json_option
@plainly
async def list_(email: str, active: bool, wants_json: bool) -> None:
    """List the tokens of the account EMAIL, newest first; their values stay hidden."""
    from zenzefi.commands.services import services

    async with services() as with_:
        owner = await with_.user(email)
        found = await with_.tokens.of_user(owner.id, active_only=active)
    if wants_json:
        as_json([_fields(one) for one in found])
        return
    table(
        ("id", "begins with", "hours", "scope", "state", "ends"),
        [
            (
                one.id,
                f"{one.prefix}…",
                one.duration_hours,
                one.scope,
                _state(one),
                "" if one.expires_at is None else f"{one.expires_at:%Y-%m-%d %H:%M} UTC",
            )
            for one in found
        ],
        "No tokens.",
    )


@token.command()
@click.argument("token_id", metavar="ID", type=click.UUID)
@click.option("--reveal", is_flag=True, help="Show its value too.")
@json_option
@plainly
async def show(token_id: UUID, reveal: bool, wants_json: bool) -> None:
    """Show one token by its ID."""
    from zenzefi.commands.services import services

    async with services() as with_:
        found = await with_.tokens.find(token_id)
        owner = await with_.accounts.identities.find(found.user_id)
    fields = _fields(found, reveal=reveal) | {"owner": owner.email if owner else None}
    if wants_json:
        as_json(fields)
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {'' if value is None else one_line(str(value))}")


@token.command()
@click.argument("token_id", metavar="ID", type=click.UUID)
@click.option("--no-refund", is_flag=True, help="Do not refund the token, even if it is unused.")
@json_option
@plainly
async def revoke(token_id: UUID, no_refund: bool, wants_json: bool) -> None:
    """Revoke a token immediately on every node, and close its open connections."""
    from zenzefi.audit.log import GATE
    from zenzefi.commands.services import services

    async with services() as with_:
        done = await with_.tokens.revoke(
            GATE,
            token_id,
            owner_id=None,
            refund=not no_refund,
            reason="revoked_by_administrator",
        )
    if wants_json:
        as_json(_fields(done.token) | {"refund_amount": f"{done.refund:.2f}"})
    elif done.was_active:
        click.echo(f"Revoked. {done.refund:.2f} ZNC went back to its owner.")
    else:
        click.echo("It had been revoked before.")


def _state(one: TokenRecord) -> str:
    if one.revoked_at is not None:
        return "revoked"
    if not one.is_active:
        return "expired"
    return "ready" if one.activated_at is None else "active"


def _fields(one: TokenRecord, *, reveal: bool = False) -> dict[str, Any]:
    def time(value: Any) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "id": str(one.id),
        "user_id": str(one.user_id),
        "token": one.plaintext if reveal else f"{one.prefix}…",
        "state": _state(one),
        "duration_hours": one.duration_hours,
        "scope": one.scope,
        "name": one.name,
        "cost_znc": f"{one.cost:.2f}",
        "created_at": time(one.created_at),
        "activated_at": time(one.activated_at),
        "expires_at": time(one.expires_at),
        "revoked_at": time(one.revoked_at),
    }
