"""Settings of the site's name, look and legal pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

DEFAULT_NAME = "Zenzefi"


def _color(value: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError("must be a colour like #0b6a5c")
    return value.lower()


def _page_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>\\]+", value):
        raise ValueError("must be an address like https://www.example.com/imprint")
    return value


def _mail_address(value: str) -> str:
    try:
        return validate_email(
            value, check_deliverability=False, globally_deliverable=False, test_environment=True
        ).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


_Line = Annotated[str, AfterValidator(_one_line)]
_Color = Annotated[str, AfterValidator(_color)]
_PageUrl = Annotated[str, AfterValidator(_page_url), Field(max_length=500)]


class BrandingSettings(BaseSettings):
    """Branding."""

    site_name: Annotated[_Line, Field(min_length=1, max_length=60)] = Field(
        DEFAULT_NAME,
        description="Name of the site on pages, in e-mails and in authenticator apps.",
    )
    branding_dir: Path | None = Field(
        None,
        description="Folder with `logo.svg` or `logo.png`, `icon.svg` or `icon.png`, `custom.css`, "
        "and the texts `imprint.md`, `terms.md`, `privacy.md` and `contact.md` (also per language, "
        "as `terms.ru.md`). Each file is optional.",
    )
    brand_color: _Color | None = Field(
        None,
        description="Colour of buttons and links, such as `#0b6a5c`. It is made darker or lighter "
        "where a text would be hard to read.",
    )
    footer_text: Annotated[_Line, Field(max_length=300)] | None = Field(
        None, description="Text at the end of each page."
    )
    support_address: Annotated[str, AfterValidator(_mail_address)] | None = Field(
        None, description="E-mail address for questions of users, on pages and in e-mails."
    )
    imprint_url: _PageUrl | None = Field(
        None, description="Address of the imprint, instead of `imprint.md`."
    )
    terms_url: _PageUrl | None = Field(
        None, description="Address of the terms of use, instead of `terms.md`."
    )
    privacy_url: _PageUrl | None = Field(
        None, description="Address of the privacy policy, instead of `privacy.md`."
    )
    contact_url: _PageUrl | None = Field(
        None, description="Address of a contact page, instead of `contact.md`."
    )
    client_url: _PageUrl | None = Field(
        None, description="Address at which users get the desktop client."
    )
