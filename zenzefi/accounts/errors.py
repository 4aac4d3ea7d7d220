"""Errors of accounts: registration, sign-in, bearer tokens and two-step sign-in."""

from __future__ import annotations

from zenzefi.errors import BadRequest, Conflict, Forbidden, Unauthenticated


class RegistrationClosed(Forbidden):
    """A registration while ``REGISTRATION`` is ``closed``."""

    code = "registration_closed"
    default = "Registration is closed. Ask the operator for an account."


class InvitationRequired(Forbidden):
    """A registration without a valid invitation while ``REGISTRATION`` is ``invitation``."""

    code = "invitation_required"
    default = "Registration needs a valid invitation link. Ask the operator for one."


class MailDomainRefused(BadRequest):
    """A registration with an address outside of ``REGISTRATION_DOMAINS``."""

    code = "mail_domain_refused"
    default = "Addresses of this mail domain can't register here."


class TermsNotAccepted(BadRequest):
    """A registration without acceptance of the current terms of use (``TERMS_VERSION``)."""

    code = "terms_not_accepted"
    default = "Accept the current terms of use: send their version as accept_terms."


class AddressNotConfirmed(Forbidden):
    """A call by a user who must confirm the e-mail address first."""

    code = "address_not_confirmed"
    default = "Confirm your e-mail address first: open the link that was sent to it."


class EmailTaken(BadRequest):
    """Registration with the e-mail address of an existing account."""

    code = "email_taken"
    default = "Email already registered"


class UsernameTaken(BadRequest):
    """Registration with the username of an existing account."""

    code = "username_taken"
    default = "Username already taken"


class CredentialsRejected(Unauthenticated):
    """A bearer JWT that is malformed, expired or revoked, or whose user does not exist."""

    code = "invalid_credentials"
    default = "Could not validate credentials"


class LoginRejected(Unauthenticated):
    """Unknown e-mail address, wrong password or deactivated account; the response is the same."""

    code = "login_rejected"
    default = "Incorrect email or password"


class SecondFactorRejected(Unauthenticated):
    """The account has two-step sign-in, and the code was missing, wrong or already used."""

    code = "second_factor_rejected"
    default = "This account has two-step sign-in: send a current code, or a recovery code."


class NotAuthenticated(Forbidden):
    """No ``Authorization`` header, or a scheme other than Bearer (403 by contract)."""

    code = "not_authenticated"
    default = "Not authenticated"


class InactiveUser(Forbidden):
    """The account was deactivated."""

    code = "inactive_user"
    default = "Inactive user"


class ApiKeyForbidden(Forbidden):
    """A call with an API key that lacks the permission, or that needs a sign-in."""

    code = "api_key_forbidden"
    default = "This API key may not do this."


class TooManyApiKeys(Conflict):
    """A new API key for a user who has the greatest number of them."""

    code = "too_many_api_keys"
    default = "There are too many API keys. Revoke one first."


class NotSuperuser(Forbidden):
    """An administrator's call by a user without that role."""

    code = "not_superuser"
    default = "Superuser permissions required"


class PasswordRejected(Forbidden):
    """A change that requires the current password, which was wrong (403: the user is signed in)."""

    code = "password_rejected"
    default = "The current password is wrong."


class CodeRejected(Forbidden):
    """A change that requires a two-step code, which was missing, wrong or already used."""

    code = "code_rejected"
    default = "This account has two-step sign-in: send a current code, or a recovery code."


class SecondFactorRequired(Forbidden):
    """An administrator's call with a bearer token that was issued for a password alone."""

    code = "second_factor_required"
    default = (
        "Administration requires two-step sign-in. Set it up on your profile page, then sign in "
        "again with a code."
    )


class PasswordSignInOff(Forbidden):
    """A sign-in, registration or new password while ``PASSWORD_SIGN_IN`` is ``false``."""

    code = "password_sign_in_off"
    default = "Passwords are not accepted here. Sign in with the identity provider."
