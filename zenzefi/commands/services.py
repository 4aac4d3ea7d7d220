"""The services behind the commands about users and tokens, without a server around them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from zenzefi.accounts.identity import Identities, User, select_users, user_of
from zenzefi.accounts.models import users
from zenzefi.accounts.passwords import Passwords
from zenzefi.accounts.schemas import email_key
from zenzefi.accounts.service import Accounts
from zenzefi.commands.common import fail, quiet_libraries, read_settings
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.settings import Settings
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.service import Tokens
from zenzefi.tokens.validation import TokenValidator


@dataclass(frozen=True, slots=True)
class Services:
    """The services that one command uses."""

    settings: Settings
    database: Database
    keyring: Keyring
    accounts: Accounts
    tokens: Tokens
    redis_cache: RedisCache | None

    async def user(self, email: str) -> User:
        """The user with this address; ends the command when there is none."""
        query = select_users().where(users.c.email_key == email_key(email.strip()))
        async with self.database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            fail(f"no account has the address {email}.")
        return user_of(row)


@contextlib.asynccontextmanager
async def services() -> AsyncIterator[Services]:
    """Everything connected; on the embedded default the schema is made first."""
    settings = read_settings()
    quiet_libraries()
    database = Database(settings.sqlalchemy_url)
    passwords = Passwords()
    redis_cache = None if settings.redis_dsn is None else RedisCache(settings.redis_dsn)
    try:
        await migrate.ensure(database, automatic=settings.is_embedded)
        keyring = Keyring.of(settings)
        token_validator = TokenValidator(database, keyring, redis_cache)
        yield Services(
            settings,
            database,
            keyring,
            Accounts(database, passwords, Identities(settings, database, keyring)),
            Tokens(settings, database, keyring, token_validator, Scopes(settings.scopes)),
            redis_cache,
        )
    finally:
        passwords.close()
        if redis_cache is not None:
            await redis_cache.close()
        await database.close()
