"""``zenzefi user ...``: accounts, from the operator's side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from zenzefi.commands.common import (
    Exit,
    as_json,
    ask_secret,
    fail,
    json_option,
    plainly,
    table,
)
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.accounts.identity import User
    from zenzefi.accounts.schemas import Registration


@click.group()
def user() -> None:
    """Create, list and change accounts."""


@user.command()
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make the account an administrator.")
@click.option("--username", help="Default: the part of the address before the @.")
@click.option("--full-name", help="Name shown to administrators.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
@json_option
@plainly
async def create(
    email: str,
    admin: bool,
    username: str | None,
    full_name: str | None,
    password_stdin: bool,
    wants_json: bool,
) -> None:
    """Create an account for EMAIL.

    The password comes from ZENZEFI_PASSWORD, the standard input or a prompt.
    """
    from zenzefi.audit.log import GATE
    from zenzefi.commands.services import services

    password = ask_secret(
        "password", confirm=True, from_stdin=password_stdin, variable="ZENZEFI_PASSWORD"
    )
    given = _checked(email, username or _username(email), password, full_name)
    async with services() as with_:
        made = await with_.accounts.register(
            GATE,
            email=given.email,
            username=given.username,
            password=given.password,
            full_name=given.full_name,
            is_superuser=admin,
            is_confirmed=True,
        )
    if wants_json:
        as_json(_fields(made))
    else:
        kind = "administrator" if admin else "account"
        click.echo(f"Created the {kind} {one_line(made.username)} <{one_line(made.email)}>.")


def _username(email: str) -> str:
    name = re.sub(r"[^\w.-]", "", email.partition("@")[0])[:50]
    return name if len(name) >= 3 else f"{name}_user"


def _checked(email: str, username: str, password: str, full_name: str | None) -> Registration:
    from pydantic import ValidationError

    from zenzefi.accounts.schemas import Registration

    try:
        return Registration.model_validate(
            {"email": email, "username": username, "password": password, "full_name": full_name}
        )
    except ValidationError as error:
        problems = [
            f"{problem['loc'][0]}: {str(problem['msg']).removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False)
        ]
        fail("; ".join(problems), Exit.USAGE)


@user.command()
@click.option("--email", help="Only this address can register with the link.")
@click.option("--note", help="A note for administrators.")
@click.option(
    "--days",
    default=7,
    show_default=True,
    type=click.IntRange(1, 90),
    help="How long the link is valid.",
)
@json_option
@plainly
async def invite(email: str | None, note: str | None, days: int, wants_json: bool) -> None:
    """Create a link with which one visitor can register."""
    from pydantic import ValidationError

    from zenzefi.accounts.invitations import Invitations
    from zenzefi.admin.invitation_schemas import NewInvitation
    from zenzefi.audit.log import GATE
    from zenzefi.commands.services import services

    try:
        entry = NewInvitation(email=email, note=note, days=days)
    except ValidationError as error:
        fail("; ".join(str(problem["msg"]) for problem in error.errors()), Exit.USAGE)
    async with services() as with_:
        made, secret = await Invitations(with_.database, with_.keyring).create(
            GATE, email=entry.email, note=entry.note, days=entry.days
        )
        link = f"{with_.settings.public_origin}/register?invitation={secret}"
    if wants_json:
        as_json({"id": str(made.id), "link": link, "expires_at": made.expires_at.isoformat()})
    else:
        click.echo(link)


@user.command("list")
@click.option("--search", help="Only accounts whose e-mail or name contains this text.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Number of accounts to list at most.",
)
@json_option
@plainly
async def list_(search: str | None, limit: int, wants_json: bool) -> None:
    """List accounts, newest first."""
    from sqlalchemy import or_

    from zenzefi.accounts.identity import select_users, user_of
    from zenzefi.accounts.models import users
    from zenzefi.commands.services import services

    query = select_users().order_by(users.c.created_at.desc(), users.c.id).limit(limit)
    if search:
        key = search.casefold()
        query = query.where(
            or_(
                users.c.email_key.contains(key, autoescape=True),
                users.c.username_key.contains(key, autoescape=True),
            )
        )
    async with services() as with_, with_.database.read() as connection:
        found = [user_of(row) for row in await connection.execute(query)]
    if wants_json:
        as_json([_fields(one) for one in found])
        return
    table(
        ("email", "username", "role", "balance", "since"),
        [
            (
                one.email,
                one.username,
                _role(one),
                f"{one.currency_balance:.2f} ZNC",
                f"{one.created_at:%Y-%m-%d}",
            )
            for one in found
        ],
        "No account matches." if search else "There are no accounts yet: zenzefi user create",
    )


def _role(one: User) -> str:
    if not one.is_active:
        return "deactivated"
    return "administrator" if one.is_superuser else "user"


@user.command()
@click.argument("email")
@json_option
@plainly
async def promote(email: str, wants_json: bool) -> None:
    """Make the account EMAIL an administrator."""
    await _set_superuser(email, True, wants_json)


@user.command()
@click.argument("email")
@json_option
@plainly
async def demote(email: str, wants_json: bool) -> None:
    """Make the administrator EMAIL an ordinary user again."""
    await _set_superuser(email, False, wants_json)


async def _set_superuser(email: str, value: bool, wants_json: bool) -> None:
    from sqlalchemy import update

    from zenzefi.accounts.models import users
    from zenzefi.audit.log import GATE, record
    from zenzefi.commands.services import services
    from zenzefi.db.base import utcnow

    async with services() as with_:
        one = await with_.user(email)
        async with with_.database.begin() as connection:
            await connection.execute(
                update(users)
                .where(users.c.id == one.id)
                .values(is_superuser=value, updated_at=utcnow())
            )
            action = "user.promoted" if value else "user.demoted"
            await record(connection, GATE, action, "user", one.id)
        one = await with_.user(email)
    if wants_json:
        as_json(_fields(one))
    else:
        click.echo(
            f"{one_line(one.email)} is {'an administrator' if value else 'an ordinary user'} now."
        )


def _fields(one: User) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "email": one.email,
        "username": one.username,
        "full_name": one.full_name,
        "is_active": one.is_active,
        "is_superuser": one.is_superuser,
        "currency_balance": f"{one.currency_balance:.2f}",
        "created_at": one.created_at.isoformat(),
    }
