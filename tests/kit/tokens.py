"""Helpers for tests of access tokens."""

from __future__ import annotations

from tests.kit.api import buy, sign_up
from tests.kit.gates import GateClient
from tests.kit.waiting import until
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.validation import TOKEN_VALIDATOR, TokenValidator

SOON = 10.0
"""Timeout in seconds for events that take less than a second, on a busy machine."""


def validator_of(node: GateClient) -> TokenValidator:
    """The token validator of the node."""
    return node.app[TOKEN_VALIDATOR]


async def subscribed(node: GateClient) -> GateClient:
    """Wait until the node receives invalidation messages."""
    await until(lambda: validator_of(node).subscription.is_live)
    return node


async def active_token(node: GateClient) -> tuple[str, TokenAccess, str]:
    """An activated token in plain text, its access, and its owner's bearer token."""
    bearer = await sign_up(node)
    token = (await buy(node, bearer))["token"]
    access = await validator_of(node).activate(await validator_of(node).validate(token))
    return token, access, bearer
