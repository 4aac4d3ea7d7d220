"""Settings of the gate itself: keys, address, data, e-mail."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.values import OriginUrl, SecretList


def default_data_dir() -> Path:
    """The folder for this user's application data (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "zenzefi"
    return (Path(base) if base else Path.home() / ".local" / "share") / "zenzefi"


class GateSettings(BaseSettings):
    """The gate."""

    debug: bool = Field(
        False,
        description="Development mode: accepts weak keys and the `mock` payment provider.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="All keys are derived from it. 32 characters or more (a weaker key is refused "
        "unless `BACKEND_URL` is on loopback). The embedded default generates one and stores it in "
        "`DATA_DIR`.",
    )
    previous_secret_keys: SecretList = Field(
        [],
        description="Comma list of former keys that still verify and decrypt. After a rotation, "
        "the old `SECRET_KEY` stays here until nothing was made with it.",
    )
    next_secret_key: SecretStr | None = Field(
        None,
        description="The key that will replace `SECRET_KEY`: it verifies and decrypts, and makes "
        "nothing yet. In a cluster, set it on every node before the first one uses it.",
    )
    backend_url: OriginUrl = Field(
        "http://127.0.0.1:8000",
        description="The origin at which browsers see the gate's own pages.",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="SQLite file, certificates and keys of the embedded default.",
    )
    access_token_expire_minutes: int = Field(
        60,
        ge=1,
        le=60 * 24 * 30,
        description="Lifetime of a bearer token (JWT), in minutes.",
    )
    application_name: str | None = Field(
        None,
        min_length=1,
        max_length=60,
        description="Name of the application behind the gate, shown on pages.",
    )
    admin_two_factor: bool = Field(
        False,
        description="Administrators must sign in with a second factor.",
    )
    mail_url: SecretStr | None = Field(
        None,
        description="`smtp://user:password@host:port` for address confirmation and password "
        "resets. Without it both are off.",
    )
    mail_from: str = Field(
        "Zenzefi <no-reply@localhost>",
        description="Sender address of these e-mails.",
    )

    @field_validator("mail_url")
    @classmethod
    def _mail_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(
            r"(?:smtps?://[^/?#]+/?|log:)\Z", value.get_secret_value()
        ):
            raise ValueError("must be smtp://user:password@host:587, smtps://host:465 or log:")
        return value
