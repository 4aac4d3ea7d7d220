"""HTTP requests to identity providers: no redirects, small responses, short timeouts, few at once.

A provider is configured by the operator, but its responses are not trusted: a compromised or slow
provider must not take the gate's memory, tasks or connections, nor send it to another host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from zenzefi.observability.metrics import PROVIDER_REQUESTS
from zenzefi.oidc.errors import ProviderUnavailable
from zenzefi.settings.sign_in import is_provider_url

TIMEOUT = 10.0
"""Seconds for one request, with its connection and body."""
MAX_BODY = 256 * 1024
"""Bytes of a response."""
MAX_CONCURRENT = 20
MAX_WAITING = 100
"""Requests that wait for one of :data:`MAX_CONCURRENT`; further ones are refused."""


class ProviderHttp:
    """The HTTP client for all providers. Call :meth:`close` at shutdown."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._waiting = 0

    async def get(self, url: str, *, bearer: str | None = None) -> dict[str, Any]:
        """The JSON object at a URL. Raises ``ProviderUnavailable``."""
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        status, body = await self._request("GET", url, headers, None)
        if status != 200:
            raise _failed("status", f"GET responded with status {status}")
        PROVIDER_REQUESTS.labels("success").inc()
        return body

    async def post(
        self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of the response to a form. Raises ``ProviderUnavailable``.

        The status is below 500: an OAuth error is a JSON object as well (RFC 6749, 5.2).
        """
        status, body = await self._request("POST", url, headers, fields)
        if status >= 500 or 300 <= status < 400:
            raise _failed("status", f"POST responded with status {status}")
        PROVIDER_REQUESTS.labels("success").inc()
        return status, body

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None
    ) -> tuple[int, dict[str, Any]]:
        if not is_provider_url(url):
            raise _failed("url", "an endpoint is not an https:// URL")
        if self._waiting >= MAX_WAITING:
            raise _failed("full", "too many sign-ins wait for the provider")
        self._waiting += 1
        try:
            async with self._slots, asyncio.timeout(self._timeout.total):
                status, raw = await self._exchange(method, url, headers, fields)
        except TimeoutError:
            raise _failed("timeout", f"no response within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed("connection", f"{type(error).__name__}: {error}") from None
        finally:
            self._waiting -= 1
        return status, _object(raw)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        if self._session is None:
            # Cookies of a provider are of no use here. A coded body could expand without a bound.
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        async with self._session.request(
            method, url, headers=sent, data=fields, allow_redirects=False
        ) as response:
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise ValueError("the body has a content coding")
            body = bytearray()
            async for piece in response.content.iter_chunked(64 * 1024):
                body += piece
                if len(body) > MAX_BODY:
                    raise ValueError(f"the body is larger than {MAX_BODY} bytes")
            return response.status, bytes(body)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise _failed("content", "the response is not JSON") from None
    if not isinstance(value, dict):
        raise _failed("content", "the response is not a JSON object")
    return value


def _failed(result: str, reason: str) -> ProviderUnavailable:
    PROVIDER_REQUESTS.labels(result).inc()
    error = ProviderUnavailable()
    error.add_note(reason)
    return error
