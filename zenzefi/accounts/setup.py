"""Set up accounts on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.accounts import api_key_views, views
from zenzefi.accounts.api_key_views import ON_API_KEY
from zenzefi.accounts.api_keys import API_KEYS, ApiKeys
from zenzefi.accounts.current_user import BearerAuthentication
from zenzefi.accounts.identity import IDENTITIES, Identities
from zenzefi.accounts.invitations import INVITATIONS, Invitations
from zenzefi.accounts.links import LINKS, Links
from zenzefi.accounts.page_sessions import PAGE_SESSIONS, PageSessions
from zenzefi.accounts.passwords import Passwords
from zenzefi.accounts.registration import ON_REGISTER, REGISTRATIONS, Registrations
from zenzefi.accounts.second_factor import SECOND_FACTOR, SecondFactor
from zenzefi.accounts.service import ACCOUNTS, ON_PASSWORD_CHANGE, Accounts
from zenzefi.api import routing
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING
from zenzefi.settings import SETTINGS


def setup(app: web.Application) -> None:
    """Provide the services and mount the API; requires database and keyring."""
    passwords = Passwords()
    app[routing.AUTHENTICATION] = BearerAuthentication()
    app[IDENTITIES] = Identities(app[SETTINGS], app[DATABASE], app[KEYRING])
    app[API_KEYS] = ApiKeys(app[DATABASE])
    app[ON_API_KEY] = []
    app[PAGE_SESSIONS] = PageSessions(app[DATABASE], app[KEYRING])
    app[SECOND_FACTOR] = SecondFactor(app[DATABASE], app[KEYRING])
    app[LINKS] = Links(app[DATABASE], app[KEYRING])
    app[ON_PASSWORD_CHANGE] = []
    app[ACCOUNTS] = Accounts(
        app[DATABASE],
        passwords,
        app[IDENTITIES],
        password_sign_in=app[SETTINGS].password_sign_in,
    )
    app[INVITATIONS] = Invitations(app[DATABASE], app[KEYRING])
    app[REGISTRATIONS] = Registrations(
        app[SETTINGS], app[DATABASE], app[ACCOUNTS], app[INVITATIONS]
    )
    app[ON_REGISTER] = []
    routing.setup(app, views.routes, api_key_views.routes)

    async def life(_: web.Application) -> AsyncIterator[None]:
        await passwords.warm_up()
        yield
        passwords.close()

    app.cleanup_ctx.append(life)
