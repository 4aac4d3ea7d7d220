"""Request and response bodies of the administration API that helps customers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zenzefi.accounts.schemas import EmailAddress
from zenzefi.admin.schemas import Reason
from zenzefi.api.models import WHOLE_NUMBER, Amount, Body, MoneyOut, Output

Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class Debit(Body):
    """A debit."""

    amount: Amount
    """The amount to debit, in ZNC."""
    reason: Reason
    """The reason, recorded in the ledger and in the audit log."""


class Debited(Output):
    """The ledger row of a debit."""

    transaction_id: UUID
    """The transaction's ID."""
    user_id: UUID
    """The user's ID."""
    amount: MoneyOut
    """The amount debited, in ZNC."""
    new_balance: MoneyOut
    """The new balance, in ZNC."""


class AddressCorrection(Body):
    """A corrected e-mail address."""

    email: EmailAddress
    """The new address; the user confirms it by a link."""


class NoteChange(Body):
    """A note on a user, for administrators only."""

    note: Note
    """The note; empty removes it."""


class NoteOut(Output):
    """The note on a user."""

    note: str
    """The note; empty if there is none."""


class Explained(Body):
    """An action with a reason."""

    reason: Reason
    """The reason, recorded in the audit log."""


class IssuedToken(Explained):
    """A token to give to a user free of charge."""

    duration_hours: Annotated[int, Field(ge=1, le=24 * 3660), WHOLE_NUMBER]
    """How long the token lasts from its first use, in hours."""
    scope: Annotated[str, Field(max_length=50)] = "full"
    """The scope of the token."""


class TokenIssued(Output):
    """A token that was issued, without its value: its owner sees that."""

    token_id: UUID
    """The token's ID."""
    token_prefix: str
    """The first characters of the token's value."""


class TokenRefunded(Output):
    """The result of a revocation with a refund."""

    refund_amount: MoneyOut
    """The amount refunded to the owner's balance, in ZNC."""
    new_balance: MoneyOut
    """The owner's new balance, in ZNC."""


class HelpDone(Output):
    """The result of an action without values."""

    done: bool = True
    """Always true."""
