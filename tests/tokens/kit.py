"""What tests of access tokens share."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.conftest import GateClient
from tests.kit import buy, sign_up
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.validation import TOKEN_VALIDATOR, TokenValidator

SOON = 10.0
"""Seconds that what must happen "within a second" gets on a busy machine."""


def keeper(node: GateClient) -> TokenValidator:
    """The token validator of the node."""
    return node.app[TOKEN_VALIDATOR]


async def until(condition: Any) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the program
            await asyncio.sleep(0.01)


async def live(node: GateClient) -> GateClient:
    """Wait until the node hears of ends."""
    await until(lambda: keeper(node).is_live)
    return node


async def bought(node: GateClient) -> tuple[str, TokenAccess, str]:
    """A token whose clock runs: its value, its access, and its owner's bearer token."""
    bearer = await sign_up(node)
    token = (await buy(node, bearer))["token"]
    access = await keeper(node).activate(await keeper(node).validate(token))
    return token, access, bearer
