"""Errors of sign-in with an identity provider."""

from __future__ import annotations

from zenzefi.errors import BadRequest, Conflict, Forbidden, Unavailable


class ProviderUnavailable(Unavailable):
    """The identity provider can't be reached, timed out, or sent an unusable response."""

    code = "identity_provider_unavailable"
    default = "The identity provider can't be reached right now. Try again in a moment."


class ProviderSignInRejected(BadRequest):
    """A sign-in whose state, code or ID token is invalid (OpenID Connect Core 1.0, 3.1.3.7)."""

    code = "provider_sign_in_rejected"
    default = "The sign-in with the identity provider failed. Start it again from the sign-in page."

    def __init__(self, reason: str) -> None:
        """``reason`` is for the log and the audit log; users don't see it."""
        self.reason = reason
        super().__init__()


class ProviderSignInCancelled(ProviderSignInRejected):
    """The user or the provider declined (``access_denied``, RFC 6749, 4.1.2.1)."""

    code = "provider_sign_in_cancelled"
    default = "The identity provider did not sign you in."


class AddressNotVerified(Forbidden):
    """A new person whose address the identity provider has not verified, or did not name."""

    code = "provider_address_not_verified"
    default = "The identity provider has not verified your e-mail address."


class AccountNotCreated(Forbidden):
    """A person without an account, where sign-ins with this provider create none."""

    code = "provider_creates_no_account"
    default = "You have no account here. Ask the operator for one."


class IdentityTaken(Conflict):
    """An identity that is connected to another account."""

    code = "identity_taken"
    default = "This sign-in is connected to another account."


class LastSignInMethod(Conflict):
    """The only way to sign in to an account can't be removed."""

    code = "last_sign_in_method"
    default = "This is the only way to sign in to the account. Set a password first."
