"""Settings of registration: who may create an account, and on which conditions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from zenzefi.settings.values import CommaList


def _domains(values: list[str]) -> list[str]:
    for value in values:
        if not re.fullmatch(r"(?i)(?:[\w-]+\.)+[\w-]{2,}", value):
            raise ValueError(f"{value!r} is not a mail domain like example.com")
    return [value.lower() for value in values]


class RegistrationSettings(BaseSettings):
    """Registration."""

    registration: Literal["open", "invitation", "closed"] = Field(
        "open",
        description="`open`: everybody can register. `invitation`: everybody with a link that an "
        "administrator has created. `closed`: only administrators create accounts (`zenzefi user "
        "create`).",
    )
    registration_domains: Annotated[CommaList, AfterValidator(_domains)] = Field(
        [],
        description="Comma list of mail domains, such as `example.com`: only addresses of these "
        "domains can register, and they must be confirmed.",
    )
    require_confirmed_address: bool = Field(
        False,
        description="Users must confirm their e-mail address before they can use the account. "
        "Needs `MAIL_URL`. Administrators are excepted.",
    )
    terms_version: Annotated[str, Field(pattern=r"^[\w.-]{1,40}$")] | None = Field(
        None,
        description="Version of the terms of use, such as `2026-11`. If it is set, users must "
        "accept the terms (`TERMS_URL`, or `terms.md` in `BRANDING_DIR`) when they register, and "
        "again after a change of the version.",
    )
