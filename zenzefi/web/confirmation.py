"""Asking once more before what can't be undone: a page without scripts, a dialog with them.

A view that may do harm begins with ``if (question := await ask(page, ...))`` and returns it. The
page that it is sends the same form again, with ``sure``; so does the dialog of the script, which
finds the same words in the button's attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aiohttp import web
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.i18n import gettext as _
from zenzefi.web.page import Page


@dataclass(frozen=True, slots=True)
class Question:
    """The words: what is about to happen, what follows from it, and what the button says."""

    title: str
    text: str
    yes: str

    @property
    def attributes(self) -> Markup:
        """The same for a button, where the script finds it."""
        return Markup('data-ask="{}" data-ask-text="{}" data-ask-yes="{}"').format(
            self.title, self.text, self.yes
        )


async def ask(page: Page, question: Question, *, back: str) -> web.Response | None:
    """The page that asks; ``None`` when the answer was given: go on."""
    form = await page.form()
    if form.text("sure") == "yes":
        return None
    kept = {name: value for name, value in form.values.items() if name not in ("csrf", "sure")}
    return page.render(
        "confirm.html", question=question, kept=kept, action=page.request.path, back=back
    )


def revoke_token(prefix: str, owner: str) -> Question:
    """An administrator ends somebody's token."""
    return Question(
        _("Revoke the token %(prefix)s… of %(owner)s?", prefix=prefix, owner=owner),
        _("It stops working at once, and nothing comes back to its owner. This can't be undone."),
        _("Revoke it"),
    )


def deactivate(name: str) -> Question:
    """An administrator closes an account."""
    return Question(
        _("Deactivate %(name)s?", name=name),
        _("All sign-ins, tokens and sessions of this account end at once."),
        _("Deactivate"),
    )


def promote(name: str) -> Question:
    """An administrator makes another one."""
    return Question(
        _("Make %(name)s an administrator?", name=name),
        _("They will be able to see all accounts, move money and revoke any token."),
        _("Make an administrator"),
    )


def demote(name: str) -> Question:
    """An administrator unmakes one."""
    return Question(
        _("Take administration away from %(name)s?", name=name),
        _("The account itself stays as it is."),
        _("Take it away"),
    )


def confirm_payment(amount: Decimal, owner: str) -> Question:
    """The money of a manual payment has come."""
    return Question(
        _("Has the money of %(owner)s arrived?", owner=owner),
        _("%(amount)s go on the balance. This can't be undone.", amount=i18n.money(amount)),
        _("Credit it"),
    )


def refund_payment(amount: Decimal, owner: str) -> Question:
    """The provider shall give the money back."""
    return Question(
        _("Give the payment back to %(owner)s?", owner=owner),
        _(
            "The provider returns the money, and %(amount)s leave the balance.",
            amount=i18n.money(amount),
        ),
        _("Refund it"),
    )
