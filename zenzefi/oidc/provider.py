"""One identity provider: its metadata and keys, and the two steps of a sign-in.

States of the metadata: *unknown* until the first sign-in, *fresh* for :data:`FRESH` seconds, then
*stale*: read again by the next sign-in, and still used if that fails. Keys are read again when they
are stale and when a token has an unknown key or an invalid signature, at most once in
:data:`KEY_INTERVAL` seconds, so that forged tokens do not cause a request each.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from base64 import b64encode
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import quote_plus

from zenzefi.oidc.errors import (
    ProviderSignInCancelled,
    ProviderSignInRejected,
    ProviderUnavailable,
)
from zenzefi.oidc.flow import Flow, ProviderAccount, account_of
from zenzefi.oidc.metadata import InvalidMetadata, Metadata, discovery_url, parse_metadata
from zenzefi.oidc.provider_http import ProviderHttp
from zenzefi.oidc.signed_tokens import (
    InvalidToken,
    UnknownKey,
    algorithm_of,
    check_id_token,
    usable_keys,
    verified_claims,
)
from zenzefi.settings.sign_in import ProviderOptions

log = logging.getLogger(__name__)

FRESH = 3600.0
KEY_INTERVAL = 10.0
_PAUSE = 5.0  # seconds after a failure in which sign-ins fail at once, instead of one by one
_MAX_CODE = 2000  # characters


class IdentityProvider:
    """One configured identity provider."""

    def __init__(
        self, name: str, options: ProviderOptions, http: ProviderHttp, callback: str
    ) -> None:
        """``callback`` is the gate's redirect URI for this provider."""
        self.name = name
        self.options = options
        self.title = options.title or name.capitalize()
        self.callback = callback
        self._http = http
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._keys: list[Any] | None = None
        self._keys_at = 0.0
        self._failed_at = -_PAUSE
        self._lock = asyncio.Lock()

    # --- metadata and keys

    async def metadata(self) -> Metadata:
        """The discovered metadata. Raises ``ProviderUnavailable``."""
        async with self._lock:
            if self._metadata is None or monotonic() - self._read_at > FRESH:
                try:
                    document = await self._read(discovery_url(self.options.issuer))
                    self._metadata = parse_metadata(document, self.options.issuer)
                except (ProviderUnavailable, InvalidMetadata) as error:
                    self._log("discovery failed", error)
                    if self._metadata is None:
                        raise ProviderUnavailable from None
                self._read_at = monotonic()
            return self._metadata

    async def _known_keys(self, metadata: Metadata, *, unlike: list[Any] | None) -> list[Any]:
        """The keys; ``unlike``: read them again, unless another task has done so already."""
        async with self._lock:
            age = monotonic() - self._keys_at
            is_due = age > FRESH or (self._keys is unlike and age > KEY_INTERVAL)
            if self._keys is None or is_due:
                try:
                    document = await self._read(metadata.jwks_uri)
                except ProviderUnavailable as error:
                    self._log("keys not read", error)
                    if self._keys is None:
                        raise
                else:
                    self._keys = usable_keys(document)
                self._keys_at = monotonic()
            return self._keys

    async def _read(self, url: str) -> dict[str, Any]:
        """A document; fails at once shortly after a failure. The lock is held."""
        if monotonic() - self._failed_at < _PAUSE:
            raise ProviderUnavailable
        try:
            return await self._http.get(url)
        except ProviderUnavailable:
            self._failed_at = monotonic()
            raise

    async def verified(self, metadata: Metadata, token: str) -> dict[str, Any]:
        """The claims of a token that this provider signed.

        Raises ``InvalidToken``, ``ProviderUnavailable``.
        """
        keys = await self._known_keys(metadata, unlike=None)
        try:
            return verified_claims(token, keys, metadata.algorithms)
        except UnknownKey:
            keys = await self._known_keys(metadata, unlike=keys)
            return verified_claims(token, keys, metadata.algorithms)

    # --- a sign-in

    async def begin(self, flow: Flow) -> str:
        """The URL at the provider to which the browser is sent. Raises ``ProviderUnavailable``."""
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        metadata = await self.metadata()
        return str(
            prepare_grant_uri(
                metadata.authorization_endpoint,
                self.options.client_id,
                "code",
                redirect_uri=self.callback,
                scope=self.options.scopes,
                state=flow.state,
                nonce=flow.nonce,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
            )
        )

    async def complete(self, flow: Flow, query: Mapping[str, str]) -> ProviderAccount:
        """The account of the person, from the parameters of the redirect back.

        Raises ``ProviderSignInCancelled``, ``ProviderSignInRejected``, ``ProviderUnavailable``.
        """
        metadata = await self.metadata()
        self._check_response(metadata, flow, query)
        answer = await self._exchange(metadata, flow, query["code"])
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise ProviderSignInRejected("the token response has no ID token")
        access = access if isinstance(access, str) and len(access) < 16_384 else None
        try:
            claims = await self.verified(metadata, token)
            check_id_token(
                claims,
                algorithm_of(token),
                issuer=self.options.issuer,
                client_id=self.options.client_id,
                nonce=flow.nonce,
                access_token=access,
                now=int(time.time()),
            )
        except InvalidToken as error:
            raise ProviderSignInRejected(f"ID token: {error}") from None
        claims = await self._with_userinfo(metadata, claims, access)
        return account_of(
            self.name,
            self.options.issuer,
            claims,
            trust_email=self.options.trust_email,
            groups_claim=self.options.groups_claim,
            id_token=token,
        )

    async def sign_out_url(self, id_token: str, back: str) -> str | None:
        """The URL at which the user signs out of the provider (RP-Initiated Logout 1.0, 2).

        ``back`` is where the provider leads afterwards. ``None`` if the provider has no such URL or
        can't be reached.
        """
        from authlib.common.urls import add_params_to_uri

        try:
            endpoint = (await self.metadata()).end_session_endpoint
        except ProviderUnavailable:
            return None
        if endpoint is None:
            return None
        fields = [("client_id", self.options.client_id), ("post_logout_redirect_uri", back)]
        if id_token:
            fields.append(("id_token_hint", id_token))
        return str(add_params_to_uri(endpoint, fields))

    def _check_response(self, metadata: Metadata, flow: Flow, query: Mapping[str, str]) -> None:
        """Check the authorization response (RFC 6749, 4.1.2; RFC 9207, 2.4)."""
        if flow.provider != self.name:
            raise ProviderSignInRejected("the sign-in began with another provider")
        if not hmac.compare_digest(query.get("state", "").encode(), flow.state.encode()):
            raise ProviderSignInRejected("the state is not the one of this sign-in")
        issuer = query.get("iss")
        if issuer is None and metadata.names_issuer:
            raise ProviderSignInRejected("the response does not name its issuer")
        if issuer is not None and issuer != self.options.issuer:
            raise ProviderSignInRejected("the response is of another issuer")
        if "error" in query:
            error = query["error"][:60]
            if error in ("access_denied", "login_required", "interaction_required"):
                raise ProviderSignInCancelled(error)
            raise ProviderSignInRejected(f"the provider reported {error!r}")
        if not 1 <= len(query.get("code", "")) <= _MAX_CODE:
            raise ProviderSignInRejected("the response has no code")

    async def _exchange(self, metadata: Metadata, flow: Flow, code: str) -> dict[str, Any]:
        """Exchange the code for tokens (RFC 6749, 4.1.3; RFC 7636, 4.5)."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "code_verifier": flow.verifier,
        }
        headers = {}
        secret = self.options.client_secret
        if secret is None:
            fields["client_id"] = self.options.client_id
        elif metadata.sends_secret_in_form:
            fields["client_id"] = self.options.client_id
            fields["client_secret"] = secret.get_secret_value()
        else:  # RFC 6749, 2.3.1: both parts are form-encoded first
            pair = f"{quote_plus(self.options.client_id)}:{quote_plus(secret.get_secret_value())}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        status, answer = await self._http.post(metadata.token_endpoint, fields, headers)
        if status != 200:
            reported = str(answer.get("error"))[:60]
            raise ProviderSignInRejected(f"the token endpoint reported {reported!r}")
        return answer

    async def _with_userinfo(
        self, metadata: Metadata, claims: dict[str, Any], access: str | None
    ) -> dict[str, Any]:
        """The claims, with those of the userinfo endpoint if needed ones are missing (Core, 5.3).

        Signed claims are not replaced. A verification counts only for the address that comes from
        the same source.
        """
        needed = {"email", "email_verified"}
        if self.options.admin_groups or self.options.group_scopes:
            needed.add(self.options.groups_claim.partition(".")[0])
        if needed <= claims.keys():
            return claims
        if metadata.userinfo_endpoint is None or access is None:
            return claims
        more = await self._http.get(metadata.userinfo_endpoint, bearer=access)
        if more.get("sub") != claims["sub"]:  # Core, 5.3.2
            raise ProviderSignInRejected("the userinfo is of another subject")
        if "email" not in claims:
            claims = {name: value for name, value in claims.items() if name != "email_verified"}
        elif claims["email"] != more.get("email"):
            more.pop("email_verified", None)
        return {**more, **claims}

    def _log(self, event: str, error: Exception) -> None:
        reason = "; ".join(getattr(error, "__notes__", [])) or str(error)
        log.warning(
            "identity provider: %s", event, extra={"provider": self.name, "reason": reason[:300]}
        )
