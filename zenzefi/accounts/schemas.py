"""Request and response bodies of the accounts API."""

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
        # The domain is not looked up; those of private networks (.local, .test) are allowed.
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
        raise ValueError("This name is too long in its normalized form.")
    return value


def username_key(value: str) -> str:
    """Normalized form of a username (NFKC, case-folded); equal forms are the same name."""
    return unicodedata.normalize("NFKC", value).casefold()


def email_key(value: str) -> str:
    """Normalized form of an e-mail address; equal forms are the same address."""
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
    """The e-mail address to sign in with."""
    username: Username
    """The username, unique without regard to case."""
    password: Password
    """The password, at least 8 characters."""
    full_name: FullName | None = None
    """The full name."""
    invitation: Annotated[str, Field(max_length=100)] = ""
    """The last part of the invitation link, if the gate requires one."""
    accept_terms: Annotated[str, Field(max_length=40)] | None = None
    """The version of the terms of use that the user accepts, if the gate has terms."""


class Credentials(Body):
    """A sign-in."""

    email: Annotated[str, Field(max_length=254)]
    """The e-mail address of the account."""
    password: CurrentPassword
    """The password."""
    code: Code | None = None
    """A code of the authenticator app or a recovery code, if two-step sign-in is on."""


class ProfileChange(Body):
    """Changes of an account; omitted fields stay unchanged.

    A new password requires the current one, and a code if two-step sign-in is on.
    """

    full_name: FullName | None = None
    """The full name; `null` removes it."""
    password: Password = Field(default_factory=str)  # not null: a password can't be removed
    """The new password, at least 8 characters."""
    current_password: CurrentPassword | None = None
    """The current password; required to change it."""
    code: Code | None = None
    """A code of the authenticator app or a recovery code; required to change the password if
    two-step sign-in is on."""


class UserOut(Output):
    """A user."""

    id: UUID
    """The user's ID."""
    email: str
    """The e-mail address."""
    username: str
    """The username."""
    full_name: str | None
    """The full name, or `null`."""
    is_active: bool
    """Whether the user may sign in."""
    is_superuser: bool
    """Whether the user is an administrator."""
    currency_balance: MoneyOut
    """The balance in ZNC."""
    created_at: Time
    """When the account was created."""
    updated_at: Time
    """When the account was last changed."""

    @classmethod
    def of(cls, user: User) -> UserOut:
        """The response body for a user."""
        return cls.model_validate(user, from_attributes=True)


class BearerOut(Output):
    """A bearer token; ``expires_in`` in seconds."""

    access_token: str
    """The JWT to send as `Authorization: Bearer`."""
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the type's name, not a secret
    """Always `bearer`."""
    expires_in: int
    """Lifetime of the JWT in seconds."""
