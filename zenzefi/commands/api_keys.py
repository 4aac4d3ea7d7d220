"""``zenzefi key ...``: API keys, from the operator's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from zenzefi.api.permissions import KeyPermission
from zenzefi.commands.common import Exit, as_json, fail, json_option, plainly, table
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.accounts.api_keys import ApiKey


@click.group()
def key() -> None:
    """Create, list and revoke API keys of users."""


@key.command()
@click.argument("email")
@click.option("--name", required=True, help="A name by which its owner recognises the key.")
@click.option(
    "--permission",
    "permissions",
    required=True,
    multiple=True,
    type=click.Choice([one.value for one in KeyPermission]),
    help="A permission of the key; can be repeated.",
)
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, 366),
    help="Number of days until the key expires.",
)
@json_option
@plainly
async def create(
    email: str, name: str, permissions: tuple[str, ...], days: int, wants_json: bool
) -> None:
    """Create an API key for the account EMAIL. Its value is printed once."""
    from pydantic import ValidationError

    from zenzefi.accounts.api_key_schemas import KeyValues
    from zenzefi.accounts.api_keys import ApiKeys
    from zenzefi.audit.log import GATE
    from zenzefi.commands.services import services

    chosen = [KeyPermission(one) for one in dict.fromkeys(permissions)]
    try:
        values = KeyValues(name=name, permissions=chosen, days=days)
    except ValidationError as error:
        fail("; ".join(str(problem["msg"]) for problem in error.errors()), Exit.USAGE)
    async with services() as with_:
        owner = await with_.user(email)
        made, secret = await ApiKeys(with_.database).create(
            GATE,
            owner,
            name=values.name,
            permissions=values.permissions,
            days=values.days,
            second_factor=True,
        )
    if wants_json:
        as_json(_fields(made) | {"key": secret})
        return
    click.echo(f"Created {made.id} for {one_line(owner.email)}.\n", err=True)
    click.echo(secret)


@key.command("list")
@click.argument("email")
@json_option
@plainly
async def list_(email: str, wants_json: bool) -> None:
    """List the API keys of the account EMAIL, newest first."""
    from datetime import UTC, datetime

    from zenzefi.accounts.api_keys import ApiKeys
    from zenzefi.commands.services import services

    async with services() as with_:
        owner = await with_.user(email)
        found, _total = await ApiKeys(with_.database).listed(user_id=owner.id)
    if wants_json:
        as_json([_fields(one) for one in found])
        return
    now = datetime.now(UTC)
    table(
        ("ID", "name", "state", "permissions", "expires", "last used", "from"),
        [
            (
                one.id,
                one.name,
                one.state(now),
                " ".join(sorted(one.permissions)),
                f"{one.expires_at:%Y-%m-%d}",
                "" if one.last_used_at is None else f"{one.last_used_at:%Y-%m-%d %H:%M}",
                one.last_address,
            )
            for one in found
        ],
        "No API keys.",
    )


@key.command()
@click.argument("key_id", type=click.UUID)
@json_option
@plainly
async def revoke(key_id: UUID, wants_json: bool) -> None:
    """Revoke the API key KEY_ID at once, on every node."""
    from zenzefi.accounts.api_keys import ApiKeys
    from zenzefi.audit.log import GATE
    from zenzefi.commands.services import services

    async with services() as with_:
        revoked = await ApiKeys(with_.database).revoke(GATE, key_id)
    if wants_json:
        as_json(_fields(revoked))
        return
    click.echo(f"Revoked {one_line(revoked.name)}.")


def _fields(one: ApiKey) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "user_id": str(one.user_id),
        "name": one.name,
        "hint": one.hint,
        "permissions": sorted(one.permissions),
        "created_at": one.created_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "last_used_at": None if one.last_used_at is None else one.last_used_at.isoformat(),
        "last_address": one.last_address,
        "revoked_at": None if one.revoked_at is None else one.revoked_at.isoformat(),
        "is_superseded": one.is_superseded,
    }
