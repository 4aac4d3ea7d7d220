"""Verification of JSON Web Tokens signed by an identity provider.

Pure, apart from the lazy import of the libraries. The rules are those of OpenID Connect Core 1.0,
3.1.3.7 for ID tokens, and of the JWT best current practices (RFC 8725): the algorithm must be on
the gate's list, and its family must be that of the key.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

MAX_TOKEN = 16 * 1024
"""Characters of a token."""
MAX_KEYS = 50
"""Keys of a provider that are considered."""
LEEWAY = 60
"""Seconds by which the clocks of the gate and the provider may differ."""
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC"}
_MIN_RSA = 2048  # bits; RFC 7518, 3.3


class InvalidToken(ValueError):
    """A token that is malformed, or whose signature or claims are invalid; the text says why."""


class UnknownKey(InvalidToken):
    """A token signed with a key that is not among the known ones: the keys may have rotated."""


def usable_keys(document: Mapping[str, Any]) -> list[Any]:
    """The public signature keys of a JWK set (RFC 7517, 5); others are ignored."""
    from joserfc import jwk
    from joserfc.errors import JoseError

    offered = document.get("keys")
    found: list[Any] = []
    for one in offered[:MAX_KEYS] if isinstance(offered, list) else []:
        if not isinstance(one, dict) or one.get("kty") not in ("RSA", "EC"):
            continue  # a symmetric key can't be public
        if one.get("use", "sig") != "sig" or (one["kty"] == "RSA" and _bits(one) < _MIN_RSA):
            continue
        try:
            key: Any = jwk.import_key(one)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        found.append(key)
    return found


def _bits(key: Mapping[str, Any]) -> int:
    """The size of an RSA key; 0 if its modulus is malformed."""
    modulus = key.get("n")
    if not isinstance(modulus, str) or not modulus.isascii():
        return 0
    try:
        raw = urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    except ValueError:
        return 0
    return int.from_bytes(raw, "big").bit_length()


def verified_claims(token: str, keys: Sequence[Any], algorithms: Sequence[str]) -> dict[str, Any]:
    """The claims of a token with a valid signature.

    Raises :class:`UnknownKey`, and :class:`InvalidToken` for any other fault.
    """
    from joserfc import jwt
    from joserfc.errors import BadSignatureError, JoseError

    algorithm, key_id = _header(token)
    if algorithm not in algorithms:
        raise InvalidToken(f"the algorithm {algorithm[:20]!r} is not accepted")
    family = _FAMILIES[algorithm[:2]]
    fitting = [
        key
        for key in keys
        if key.key_type == family
        and key_id in (None, key.kid)
        and key.get("alg", algorithm) == algorithm
    ]
    if not fitting:
        raise UnknownKey("it was signed with an unknown key")
    for key in fitting:
        try:
            return dict(jwt.decode(token, key, algorithms=[algorithm]).claims)
        except BadSignatureError:
            continue
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise InvalidToken(f"malformed: {type(error).__name__}") from None
    # A provider may replace a key without a new ID: the caller reads the keys again, once.
    raise UnknownKey("its signature is invalid")


def check_id_token(
    claims: Mapping[str, Any],
    algorithm: str,
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str | None,
    now: int,
) -> None:
    """Check the claims of an ID token of the code flow. Raises :class:`InvalidToken`."""
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError

    options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True}}
    params = {"client_id": client_id, "access_token": access_token}
    token = CodeIDToken(claims, {"alg": algorithm}, options=options, params=params)
    try:
        token.validate(now=now, leeway=LEEWAY)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidToken(f"{type(error).__name__}: {error}") from None
    check_audience(claims, client_id)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise InvalidToken("the nonce is not the one of this sign-in")
    subject = claims["sub"]
    if not 1 <= len(subject) <= 255 or not subject.isascii():  # Core, 2
        raise InvalidToken("the subject is not 1 to 255 ASCII characters")


def check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    """Check that the token is for this gate. Raises :class:`InvalidToken`.

    With several audiences the authorized party must be the gate (Core, 3.1.3.7, 4 and 5).
    """
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    if client_id not in several:
        raise InvalidToken("it is for another audience")
    if len(several) > 1 and claims.get("azp") != client_id:
        raise InvalidToken("it is for several audiences, and the gate is not the authorized party")


def algorithm_of(token: str) -> str:
    """The algorithm in the token's header. Raises :class:`InvalidToken`."""
    return _header(token)[0]


def _header(token: str) -> tuple[str, str | None]:
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        raise InvalidToken("it is not a signed JWT")
    head = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise InvalidToken("its header is malformed") from None
    if not isinstance(header, dict):
        raise InvalidToken("its header is malformed")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None):
        raise InvalidToken("its header is malformed")
    return algorithm, key_id
