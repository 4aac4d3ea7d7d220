"""A typed client of the gate's REST API.

    async with ApiClient("https://gate.example", key) as gate:
        token = await gate.buy_token(24)

The credential is an API key or a JWT. :data:`CALLS` lists the operations; a test compares them with
the gate's OpenAPI description. Programs that need others use :meth:`ApiClient.request`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from zenzefi.client.api_models import (
    AccountInfo,
    BalanceInfo,
    BundleListInfo,
    BundlePurchaseInfo,
    RevocationInfo,
    SessionPageInfo,
    TokenInfo,
    TokenStateInfo,
    TransactionPageInfo,
)
from zenzefi.origin import TOKEN_HEADER

API_PREFIX = "/api/v1"
_MAX_RESPONSE = 8 * 1024 * 1024  # bytes
_PAUSE = 0.2  # seconds before the second attempt; doubled after each
_T = TypeVar("_T")


class ApiError(Exception):
    """The gate refused a call, or another server responded.

    ``code`` is one of docs/reference/errors.md, empty if the response was not the gate's.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        """Seconds to wait before the next attempt, if the gate said so."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """An operation of the API, as the client uses it."""

    method: str
    path: str
    returns: Any
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    is_idempotent: bool = False
    """Whether it takes an ``Idempotency-Key``, so that a repeated call has one effect."""


CALLS = {
    "account": ApiCall("GET", "/users/me", AccountInfo),
    "balance": ApiCall("GET", "/currency/balance", BalanceInfo),
    "transactions": ApiCall(
        "GET", "/currency/transactions", TransactionPageInfo, query=("limit", "offset")
    ),
    "tokens": ApiCall(
        "GET", "/tokens/my-tokens", list[TokenInfo], query=("active_only", "limit", "offset")
    ),
    "buy_token": ApiCall(
        "POST",
        "/tokens/purchase",
        TokenInfo,
        body=("duration_hours", "scope", "name"),
        is_idempotent=True,
    ),
    "revoke_token": ApiCall("DELETE", "/tokens/{token_id}", RevocationInfo, is_idempotent=True),
    "release_device": ApiCall("POST", "/tokens/{token_id}/release-device", None),
    "sessions": ApiCall(
        "GET", "/tokens/sessions", SessionPageInfo, query=("active_only", "limit", "offset")
    ),
    "end_session": ApiCall("DELETE", "/tokens/sessions/{session_id}", None),
    "bundles": ApiCall("GET", "/bundles/", BundleListInfo),
    "buy_bundle": ApiCall(
        "POST", "/bundles/{bundle_id}/purchase", BundlePurchaseInfo, is_idempotent=True
    ),
    "token_state": ApiCall("GET", "/proxy/status", TokenStateInfo),
}
"""The operations, by the name of the method of :class:`ApiClient`."""


class ApiClient:
    """The API of one gate, for one credential.

    Calls raise :class:`ApiError`, ``aiohttp.ClientError`` and ``TimeoutError``. Reads, and calls
    with an idempotency key, are repeated if the connection fails.
    """

    def __init__(
        self,
        gate: str | URL,
        credential: str = "",
        *,
        tls: SSLContext | bool = True,
        timeout: float = 30.0,
        attempts: int = 3,
    ) -> None:
        """``gate`` is an origin; ``tls``: how its certificate is verified; ``timeout``: seconds.

        ``attempts``: of a call that is safe to repeat, if the connection fails.
        """
        self.gate = URL(gate).origin()
        self._credential = credential
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._attempts = attempts
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        # Without a jar: cookies of a response are never sent back.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def account(self) -> AccountInfo:
        """The account of the credential."""
        return await self._call("account", AccountInfo)

    async def balance(self) -> BalanceInfo:
        """The balance."""
        return await self._call("balance", BalanceInfo)

    async def transactions(self, *, limit: int = 50, offset: int = 0) -> TransactionPageInfo:
        """A page of the ledger, newest first."""
        query = {"limit": limit, "offset": offset}
        return await self._call("transactions", TransactionPageInfo, query=query)

    async def tokens(
        self, *, active_only: bool = True, limit: int = 1000, offset: int = 0
    ) -> list[TokenInfo]:
        """Access tokens, newest first."""
        query = {"active_only": active_only, "limit": limit, "offset": offset}
        return await self._call("tokens", list[TokenInfo], query=query)

    async def buy_token(
        self,
        duration_hours: int,
        *,
        scope: str = "full",
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> TokenInfo:
        """Buy an access token. ``idempotency_key``: to repeat a purchase whose end is unknown."""
        body = {"duration_hours": duration_hours, "scope": scope, "name": name}
        return await self._call("buy_token", TokenInfo, body=body, key=idempotency_key)

    async def revoke_token(
        self, token_id: UUID, *, idempotency_key: str | None = None
    ) -> RevocationInfo:
        """Revoke an access token; an unused one is refunded."""
        return await self._call(
            "revoke_token", RevocationInfo, at={"token_id": token_id}, key=idempotency_key
        )

    async def release_device(self, token_id: UUID) -> None:
        """Release the device that uses a token."""
        await self._call("release_device", object, at={"token_id": token_id})

    async def sessions(
        self, *, active_only: bool = False, limit: int = 50, offset: int = 0
    ) -> SessionPageInfo:
        """A page of sessions, last seen first."""
        query = {"active_only": active_only, "limit": limit, "offset": offset}
        return await self._call("sessions", SessionPageInfo, query=query)

    async def end_session(self, session_id: UUID) -> None:
        """End a session and close its connections."""
        await self._call("end_session", object, at={"session_id": session_id})

    async def bundles(self) -> BundleListInfo:
        """The bundles on sale."""
        return await self._call("bundles", BundleListInfo)

    async def buy_bundle(
        self, bundle_id: UUID, *, idempotency_key: str | None = None
    ) -> BundlePurchaseInfo:
        """Buy a bundle."""
        return await self._call(
            "buy_bundle", BundlePurchaseInfo, at={"bundle_id": bundle_id}, key=idempotency_key
        )

    async def token_state(self, access_token: str) -> TokenStateInfo:
        """The state of an access token; never activates it. Needs no other credential."""
        return await self._call("token_state", TokenStateInfo, headers={TOKEN_HEADER: access_token})

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Any operation: the JSON of its response. ``path`` is below ``/api/v1``."""
        if self._session is None:
            raise RuntimeError("ApiClient is used without its context")
        sent = {"Accept": "application/json", **(headers or {})}
        if self._credential and TOKEN_HEADER not in sent:
            sent["Authorization"] = f"Bearer {self._credential}"
        async with self._session.request(
            method,
            self.gate.with_path(API_PREFIX + path),
            params=query,
            json=body,
            headers=sent,
            allow_redirects=False,  # a redirect to another server would get the credential
        ) as response:
            return await _json_of(response)

    async def _call(
        self,
        name: str,
        returns: type[_T],
        *,
        at: Mapping[str, UUID] | None = None,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> _T:
        call = CALLS[name]
        sent = dict(headers or {})
        if call.is_idempotent:
            sent["Idempotency-Key"] = key or secrets.token_urlsafe(24)
        texts = {name: str(value).lower() for name, value in (query or {}).items()}
        for attempt in range(self._attempts):
            try:
                found = await self.request(
                    call.method,
                    call.path.format(**(at or {})),
                    query=texts,
                    body=None if body is None else dict(body),
                    headers=sent,
                )
                break
            except aiohttp.ClientConnectionError as error:
                is_safe = call.is_idempotent or call.method == "GET"
                is_certificate = isinstance(error, aiohttp.ClientSSLError)
                if not is_safe or is_certificate or attempt + 1 == self._attempts:
                    raise
            await asyncio.sleep(_PAUSE * 2**attempt)
        try:
            return TypeAdapter(returns).validate_python(found)
        except ValidationError:
            raise ApiError(200, "", f"{self.gate} responds, but not like a Zenzefi gate.") from None


async def _json_of(response: aiohttp.ClientResponse) -> Any:
    """The JSON of a response. Raises :class:`ApiError`."""
    content = await response.content.read(_MAX_RESPONSE + 1)
    while content and len(content) <= _MAX_RESPONSE and not response.content.at_eof():
        content += await response.content.read(_MAX_RESPONSE + 1)
    if len(content) > _MAX_RESPONSE:
        raise ApiError(response.status, "", "The response is too large.")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if 200 <= response.status < 300 and body is not None:
        return body
    known = body if isinstance(body, dict) and isinstance(body.get("code"), str) else {}
    retry_after = response.headers.get("Retry-After", "")
    raise ApiError(
        response.status,
        str(known.get("code", "")),
        _detail_of(known) or f"The server responded with {response.status}.",
        retry_after=int(retry_after) if retry_after.isdecimal() and len(retry_after) < 8 else None,
    )


def _detail_of(body: Mapping[str, Any]) -> str:
    detail = body.get("detail", "")
    if isinstance(detail, list):  # of a 422
        problems = [one for one in detail if isinstance(one, dict)]
        return "; ".join(
            f"{'.'.join(map(str, one.get('loc', ())[1:]))}: {one.get('msg', '')}"
            for one in problems
        )
    return str(detail)
