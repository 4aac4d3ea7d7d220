"""``zenzefi user ...`` for help with one account: links, address, sign-ins, note and debits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from zenzefi.commands.common import Exit, as_json, fail, json_option, plainly
from zenzefi.commands.users import user
from zenzefi.printable import one_line

if TYPE_CHECKING:
    from zenzefi.accounts.identity import User
    from zenzefi.accounts.links import Purpose
    from zenzefi.admin.customer_help import CustomerHelp
    from zenzefi.commands.services import Services
    from zenzefi.mail.messages import MailMessage


@asynccontextmanager
async def _help() -> AsyncIterator[tuple[Services, CustomerHelp]]:
    from zenzefi.accounts.links import Links
    from zenzefi.admin.customer_help import CustomerHelp
    from zenzefi.commands.services import services
    from zenzefi.tokens.sign_ins import BrowserSignIns

    async with services() as with_:
        links = Links(with_.database, with_.keyring)
        sign_ins = BrowserSignIns(
            with_.database, with_.keyring, with_.tokens.token_validator, with_.redis_cache
        )
        yield with_, CustomerHelp(with_.database, links, with_.tokens, sign_ins)


def _report(wants_json: bool, text: str, **fields: object) -> None:
    if wants_json:
        as_json(fields)
    else:
        click.echo(text)


async def _mail(with_: Services, to: User, message: MailMessage) -> None:
    """Send an e-mail now: no queue runs in a command."""
    from zenzefi.admin.help_mail import language_of
    from zenzefi.mail.setup import direct_sender

    await direct_sender(with_.settings)(language_of(to), message)


async def _send_link(email: str, purpose: Purpose, wants_json: bool) -> None:
    from zenzefi.admin import help_mail
    from zenzefi.audit.log import GATE
    from zenzefi.mail.transports import NotSent

    async with _help() as (with_, customer_help):
        if with_.settings.mail_url is None:
            raise help_mail.MailNotConfigured
        one = await with_.user(email)
        one, secret = await customer_help.link(GATE, one.id, purpose)
        origin = with_.settings.public_origin
        try:
            await _mail(with_, one, help_mail.message_with_link(origin, one, purpose, secret))
        except NotSent as error:
            fail(f"the e-mail was not sent: {error}", Exit.UNAVAILABLE)
    _report(wants_json, f"Sent a link to {one_line(one.email)}.", email=one.email)


@user.command("reset-password")
@click.argument("email")
@json_option
@plainly
async def reset_password(email: str, wants_json: bool) -> None:
    """Send the account EMAIL a link to choose a new password."""
    from zenzefi.accounts.links import Purpose

    await _send_link(email, Purpose.RESET, wants_json)


@user.command("reset-two-step")
@click.argument("email")
@json_option
@plainly
async def reset_two_step(email: str, wants_json: bool) -> None:
    """Send the account EMAIL a link that switches two-step sign-in off."""
    from zenzefi.accounts.links import Purpose

    await _send_link(email, Purpose.SECOND_FACTOR, wants_json)


@user.command("set-email")
@click.argument("email")
@click.argument("new_email", metavar="NEW-EMAIL")
@json_option
@plainly
async def set_email(email: str, new_email: str, wants_json: bool) -> None:
    """Correct the address of the account EMAIL to NEW-EMAIL, which is then unconfirmed."""
    from pydantic import ValidationError

    from zenzefi.admin import help_mail
    from zenzefi.admin.help_schemas import AddressCorrection
    from zenzefi.audit.log import GATE

    try:
        entry = AddressCorrection(email=new_email)
    except ValidationError as error:
        fail("; ".join(str(problem["msg"]) for problem in error.errors()), Exit.USAGE)
    async with _help() as (with_, customer_help):
        one = await with_.user(email)
        before = await customer_help.correct_address(GATE, one.id, entry.email)
        if with_.settings.mail_url is not None:
            await _mail(
                with_, before, help_mail.address_changed(with_.settings.public_origin, before)
            )
    text = f"The address is now {one_line(entry.email)}. It is not confirmed yet."
    _report(wants_json, text, email=entry.email)


@user.command("end-sign-ins")
@click.argument("email")
@json_option
@plainly
async def end_sign_ins(email: str, wants_json: bool) -> None:
    """End all sign-ins of the account EMAIL; its access tokens stay valid."""
    from zenzefi.audit.log import GATE

    async with _help() as (with_, customer_help):
        one = await with_.user(email)
        await customer_help.end_sign_ins(GATE, one.id)
    _report(wants_json, "All sign-ins have ended.", email=one.email)


@user.command()
@click.argument("email")
@click.argument("text", required=False)
@json_option
@plainly
async def note(email: str, text: str | None, wants_json: bool) -> None:
    """Show the note on the account EMAIL, or replace it by TEXT ('' removes it)."""
    from zenzefi.audit.log import GATE

    async with _help() as (with_, customer_help):
        one = await with_.user(email)
        if text is None:
            written = await customer_help.note(one.id)
            _report(wants_json, written, email=one.email, note=written)
            return
        await customer_help.set_note(GATE, one.id, text.strip()[:2000])
    _report(wants_json, "Saved.", email=one.email, note=text.strip()[:2000])


@user.command()
@click.argument("email")
@click.argument("amount")
@click.option("--reason", required=True, help="Stored in the ledger and visible to the user.")
@json_option
@plainly
async def debit(email: str, amount: str, reason: str, wants_json: bool) -> None:
    """Debit AMOUNT ZNC from the account EMAIL."""
    await _change_balance(email, amount, reason, wants_json, is_debit=True)


@user.command()
@click.argument("email")
@click.argument("amount")
@click.option("--reason", required=True, help="Stored in the ledger and visible to the user.")
@json_option
@plainly
async def credit(email: str, amount: str, reason: str, wants_json: bool) -> None:
    """Credit AMOUNT ZNC to the account EMAIL."""
    await _change_balance(email, amount, reason, wants_json, is_debit=False)


async def _change_balance(
    email: str, amount: str, reason: str, wants_json: bool, *, is_debit: bool
) -> None:
    from pydantic import ValidationError

    from zenzefi.admin.help_schemas import Debit
    from zenzefi.admin.service import Administration
    from zenzefi.audit.log import GATE
    from zenzefi.billing.ledger import Kind

    try:
        entry = Debit(amount=Decimal(amount), reason=reason)
    except (InvalidOperation, ValidationError):
        fail("give an amount above zero, such as 12.50, and a reason.", Exit.USAGE)
    async with _help() as (with_, customer_help):
        one = await with_.user(email)
        async with with_.database.begin() as connection:
            if is_debit:
                movement = await customer_help.debit(
                    connection, GATE, one.id, amount=entry.amount, reason=entry.reason
                )
            else:
                movement = await Administration(with_.database, with_.tokens).credit(
                    connection,
                    GATE,
                    one.id,
                    amount=entry.amount,
                    reason=entry.reason,
                    kind=Kind.DEPOSIT,
                )
    text = f"The balance is now {movement.balance:.2f} ZNC."
    _report(wants_json, text, email=one.email, balance=f"{movement.balance:.2f}")


@user.command()
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@plainly
async def delete(email: str, yes: bool, wants_json: bool) -> None:
    """Delete the account EMAIL: personal data is erased, the ledger stays without the name."""
    from zenzefi.admin.service import Administration
    from zenzefi.audit.log import GATE
    from zenzefi.personal_data.deletion import Deletions
    from zenzefi.tokens.sign_ins import BrowserSignIns

    async with _help() as (with_, _customer_help):
        one = await with_.user(email)
        if not yes:
            click.confirm(f"Delete {one_line(one.email)}? This can't be undone", abort=True)
        sign_ins = BrowserSignIns(
            with_.database, with_.keyring, with_.tokens.token_validator, with_.redis_cache
        )
        administration = Administration(with_.database, with_.tokens)
        await Deletions(with_.database, administration, sign_ins).delete(GATE, one.id)
    _report(wants_json, "Deleted.", id=one.id)
