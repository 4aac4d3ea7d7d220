"""Settings of the database and of Redis.

``DATABASE_URL``, or the ``POSTGRES_*`` settings, or the embedded SQLite file. Likewise
``REDIS_URL``, or the ``REDIS_*`` settings, or a cache in the process.
"""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.values import ServerUrl


class ServerSettings(BaseSettings):
    """Database and Redis."""

    database_url: ServerUrl | None = Field(
        None,
        description="`postgresql://...` or `sqlite:///...`, or use the `POSTGRES_*` settings. "
        "Default: the embedded SQLite.",
    )
    postgres_server: str | None = Field(None, description="Host of PostgreSQL.")
    postgres_port: int = Field(5432, ge=1, le=65535, description="Port of PostgreSQL.")
    postgres_user: str | None = Field(None, description="User of PostgreSQL.")
    postgres_password: SecretStr = Field(SecretStr(""), description="Password of PostgreSQL.")
    postgres_db: str | None = Field(None, description="Database name in PostgreSQL.")
    database_pool_size: int = Field(
        10,
        ge=1,
        le=200,
        description="Database connections that one process keeps open; it may open up to twice as "
        "many.",
    )
    redis_url: ServerUrl | None = Field(
        None,
        description="`redis://...`, or use the `REDIS_*` settings. Default: an in-process cache.",
    )
    redis_host: str | None = Field(None, description="Host of Redis.")
    redis_port: int = Field(6379, ge=1, le=65535, description="Port of Redis.")
    redis_password: SecretStr | None = Field(None, description="Password of Redis.")
    redis_db: int = Field(0, ge=0, description="Database number in Redis.")

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"(rediss?|unix)://", value.get_secret_value()):
            raise ValueError("must start with redis://, rediss:// (TLS) or unix://")
        return value
