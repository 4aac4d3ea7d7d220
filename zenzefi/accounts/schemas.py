"""What goes in and out of the calls about accounts."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints

from zenzefi.accounts.identity import User
from zenzefi.api.models import ONE_LINE, Body, MoneyOut, Output, Time


def _email(value: str) -> str:
    try:
        # No look-up of the domain; names of private networks (.local, .test) are fine too.
        found = validate_email(
            value, check_deliverability=False, globally_deliverable=False, test_environment=True
        )
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None
    if "." not in found.domain:
        raise ValueError("The part after the @-sign is not valid. It should have a period.")
    return found.normalized


def _username(value: str) -> str:
    if len(username_key(value)) > 150:
        raise ValueError("This name is too long when it is compared with others.")
    return value


def username_key(value: str) -> str:
    """What decides whether two user names are the same: compatibility forms and case folded."""
    return unicodedata.normalize("NFKC", value).casefold()


def email_key(value: str) -> str:
    """What decides whether two addresses are the same."""
    return value.casefold()


EmailAddress = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}),
]
Username = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=50),
    ONE_LINE,
    AfterValidator(_username),
]
Password = Annotated[
    str, Field(min_length=8, max_length=1024, json_schema_extra={"format": "password"})
]
CurrentPassword = Annotated[str, Field(max_length=1024, json_schema_extra={"format": "password"})]
Code = Annotated[str, Field(max_length=40)]
FullName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), ONE_LINE]


class Registration(Body):
    """A new account."""

    email: EmailAddress
    """The address to sign in with."""
    username: Username
    """The name that others see; unique whatever its case."""
    password: Password
    """8 characters or more."""
    full_name: FullName | None = None
    """The person's full name."""


class Credentials(Body):
    """A sign-in."""

    email: Annotated[str, Field(max_length=254)]
    """The e-mail address of the account."""
    password: CurrentPassword
    """The password."""
    code: Code | None = None
    """A code of the second step, or a recovery code, where two-step sign-in is on."""


class ProfileChange(Body):
    """What a user may change; what is left out stays.

    A new password needs the current one, and a code where two-step sign-in is on.
    """

    full_name: FullName | None = None
    """The person's full name; `null` removes it."""
    password: Password = Field(default_factory=str)  # no null: a password can't be taken away
    """The new password, 8 characters or more."""
    current_password: CurrentPassword | None = None
    """The password so far; needed for a new one."""
    code: Code | None = None
    """A code of the second step, or a recovery code; for a new password where two-step sign-in is
    on."""


class UserOut(Output):
    """A user, as seen by themselves and by administrators."""

    id: UUID
    """The user's identifier."""
    email: str
    """The e-mail address."""
    username: str
    """The user's name."""
    full_name: str | None
    """The person's full name, or `null`."""
    is_active: bool
    """Whether the user may sign in."""
    is_superuser: bool
    """Whether the user is an administrator."""
    currency_balance: MoneyOut
    """The balance in ZNC."""
    created_at: Time
    """When the account was opened."""
    updated_at: Time
    """When it last changed."""

    @classmethod
    def of(cls, user: User) -> UserOut:
        """The public view of a user."""
        return cls.model_validate(user, from_attributes=True)


class BearerOut(Output):
    """A bearer token; ``expires_in`` in seconds."""

    access_token: str
    """The JWT to send as `Authorization: Bearer`."""
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type's name, not a secret
    """Always `bearer`."""
    expires_in: int
    """The JWT's life in seconds."""
