"""The kinds of notices that readers can switch off."""

from __future__ import annotations

from enum import StrEnum


class NoticeKind(StrEnum):
    """A kind of notice, by its event."""

    TOKEN_ENDS_SOON = "token_ends_soon"  # noqa: S105 - not a secret
    TOKEN_ENDED = "token_ended"  # noqa: S105 - not a secret
    RENEWAL_SOON = "renewal_soon"
    RENEWED = "renewed"
    RENEWAL_FAILED = "renewal_failed"
    BALANCE_LOW = "balance_low"
    PAYMENT_ARRIVED = "payment_arrived"
    PAYMENT_FAILED = "payment_failed"
    NEW_SIGN_IN = "new_sign_in"

    @property
    def path(self) -> str:
        """The page that the e-mail links to."""
        match self:
            case (
                NoticeKind.TOKEN_ENDS_SOON
                | NoticeKind.TOKEN_ENDED
                | NoticeKind.RENEWAL_SOON
                | NoticeKind.RENEWED
                | NoticeKind.RENEWAL_FAILED
            ):
                return "/account/tokens/"
            case NoticeKind.NEW_SIGN_IN:
                return "/account/profile"
            case _:
                return "/account/money"
