"""Errors of access tokens: validation, scopes, devices and sign-ins of browsers."""

from __future__ import annotations

from zenzefi.errors import BadRequest, Conflict, Forbidden, RateLimited, Unauthenticated
from zenzefi.origin import TOKEN_CHALLENGE


class InvalidDuration(BadRequest):
    """Tokens of this duration are not sold."""

    code = "invalid_duration"
    default = "Tokens of this duration are not sold with this scope."

    @classmethod
    def among(cls, durations: list[int]) -> InvalidDuration:
        """The error that names the durations on sale, in hours."""
        return cls(f"Invalid duration. Must be one of: {durations}" if durations else None)


class OffersChanged(Conflict):
    """Another administrator has published offers in the meantime."""

    code = "offers_changed"
    default = "The offers have changed in the meantime. Check them and publish again."


class NotRenewable(Conflict):
    """The token has ended, so that its renewal can't be switched on or stopped any more."""

    code = "not_renewable"
    default = "This access token has ended. Buy a new one."


class PromoCodeInvalid(BadRequest):
    """The promo code is unknown, switched off, used up, or outside its period."""

    code = "promo_code_invalid"
    default = "This promo code is not valid."


class PromoCodeUsed(Conflict):
    """This user has used the promo code before."""

    code = "promo_code_used"
    default = "You have used this promo code before."


class PromoCodeTaken(Conflict):
    """There is a promo code of this name."""

    code = "promo_code_taken"
    default = "There is a promo code of this name. Choose another one."


class PriceChanged(Conflict):
    """The price of an order differs from the one that the buyer agreed to."""

    code = "price_changed"
    default = "The price has changed in the meantime. Nothing was bought; check the new price."


class BalanceSuffices(Conflict):
    """An order for something that the balance covers."""

    code = "balance_suffices"
    default = "Your balance covers this. Buy it directly."


class TokenMissing(Unauthenticated):
    """A proxied request without an access token."""

    challenge = TOKEN_CHALLENGE
    code = "token_missing"
    default = "Authentication required: provide X-Access-Token header"


class SignInRequired(Unauthenticated):
    """A browser's proxy cookie without an active sign-in of this browser."""

    challenge = TOKEN_CHALLENGE
    code = "sign_in_required"
    default = (
        "This browser's sign-in has ended, or it was made in another browser. Open the application "
        "again from your account page."
    )


class TokenRejected(Unauthenticated):
    """Base of the errors for an access token that is not valid."""

    challenge = TOKEN_CHALLENGE
    code = "token_invalid"
    default = "Invalid or expired access token"


class TokenInvalid(TokenRejected):
    """The access token is malformed or unknown."""


class TokenExpired(TokenRejected):
    """The access token has expired."""

    code = "token_expired"


class TokenRevoked(TokenRejected):
    """Revoked by its owner or an administrator, or the owner was deactivated."""

    code = "token_revoked"


class TooManyUnknownTokens(RateLimited, TokenInvalid):
    """An unknown access token from a network that sent many of them: 429 instead of 401."""


class ScopeRefused(Forbidden):
    """The token's scope does not cover this path."""

    code = "scope_refused"
    default = "This access token does not cover this address. Buy a token with a wider scope."


class ScopeNotAllowed(Forbidden):
    """A purchase with a scope that the groups of the user do not allow."""

    code = "scope_not_allowed"
    default = "Your account can't buy tokens with this scope. Ask the operator."


class InvalidDeviceId(BadRequest):
    """``X-Device-ID`` is not 8 to 255 visible ASCII characters."""

    code = "invalid_device_id"
    default = "X-Device-ID must be 8 to 255 visible ASCII characters."


class DeviceRequired(Forbidden):
    """``DEVICE_POLICY`` is ``required`` and the request has no ``X-Device-ID``."""

    code = "device_required"
    default = "This gate requires a device ID: send X-Device-ID."


class DeviceConflict(Conflict):
    """The token is bound to another device."""

    code = "device_conflict"
    default = (
        "This access token is in use on another device. Release the device on your account page, "
        "or wait until it has been idle for five minutes."
    )
