"""Confirmation of actions that can't be undone: a dialog with scripts, a page without them.

A view begins with ``confirmation = await ask(page, ...)`` and returns it unless it is ``None``. The
confirmation page submits the same form again with the field ``sure``. The script does the same from
a dialog; it finds the texts in the attributes of the button.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aiohttp import web
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.i18n import gettext as _
from zenzefi.web.page import PageContext


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Texts of one confirmation: the action, its consequences, and the label of the button."""

    title: str
    text: str
    yes: str

    @property
    def attributes(self) -> Markup:
        """The texts as attributes of the button that opens the dialog."""
        return Markup('data-ask="{}" data-ask-text="{}" data-ask-yes="{}"').format(
            self.title, self.text, self.yes
        )


async def ask(page: PageContext, confirmation: Confirmation, *, back: str) -> web.Response | None:
    """The confirmation page, or ``None`` if the form was confirmed; ``back`` is for Cancel."""
    form = await page.form()
    if form.text("sure") == "yes":
        return None
    kept = {name: value for name, value in form.values.items() if name not in ("csrf", "sure")}
    return page.render(
        "confirm.html", confirmation=confirmation, kept=kept, action=page.request.path, back=back
    )


def revoke_token(prefix: str, owner: str) -> Confirmation:
    """An administrator revokes a user's token."""
    return Confirmation(
        _("Revoke the token %(prefix)s… of %(owner)s?", prefix=prefix, owner=owner),
        _("It stops working immediately, without a refund. This can't be undone."),
        _("Revoke it"),
    )


def deactivate(name: str) -> Confirmation:
    """An administrator deactivates an account."""
    return Confirmation(
        _("Deactivate %(name)s?", name=name),
        _("All sign-ins, tokens and sessions of this account end immediately."),
        _("Deactivate"),
    )


def promote(name: str) -> Confirmation:
    """An administrator gives a user the rights of an administrator."""
    return Confirmation(
        _("Make %(name)s an administrator?", name=name),
        _("They will be able to see all accounts, credit balances and revoke any token."),
        _("Make an administrator"),
    )


def delete_account() -> Confirmation:
    """An administrator deletes an account."""
    return Confirmation(
        _("Delete this account?"),
        _(
            "Name, address and sign-ins are erased, and all tokens end immediately, without a "
            "refund. The ledger stays, without the name. This can't be undone."
        ),
        _("Delete the account"),
    )


def demote(name: str) -> Confirmation:
    """An administrator removes another administrator's rights."""
    return Confirmation(
        _("Remove the administrator rights of %(name)s?", name=name),
        _("The account itself does not change."),
        _("Remove the rights"),
    )


def confirm_payment(amount: Decimal, owner: str) -> Confirmation:
    """An administrator confirms that the money of a manual payment has arrived."""
    return Confirmation(
        _("Has the payment of %(owner)s arrived?", owner=owner),
        _(
            "%(amount)s will be added to the balance. This can't be undone.",
            amount=i18n.money(amount),
        ),
        _("Credit"),
    )


def refund_payment(amount: Decimal, owner: str) -> Confirmation:
    """An administrator has the provider refund a payment."""
    return Confirmation(
        _("Refund the payment of %(owner)s?", owner=owner),
        _(
            "The payment provider returns the money, and %(amount)s is deducted from the balance.",
            amount=i18n.money(amount),
        ),
        _("Refund the payment"),
    )
