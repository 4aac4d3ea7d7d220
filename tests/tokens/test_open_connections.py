"""Closing the open connections of an ended token, in slices."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from uuid import uuid4

import pytest

from zenzefi.sliced_calls import SLICE
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity, OpenConnections

_MANY = 5 * SLICE + 1


async def _steps() -> None:
    """More steps of the loop than there are slices."""
    for _ in range(_MANY // SLICE + 2):
        await asyncio.sleep(0)


def _access() -> TokenAccess:
    return TokenAccess(uuid4(), uuid4(), "full", 24)


@pytest.mark.parametrize(
    "end",
    [
        lambda registry, access, client: registry.end_token(access.token_id, "over"),
        lambda registry, access, client: registry.end_user(access.user_id, "over"),
        lambda registry, access, client: registry.end_sign_in(client.sign_in, "over"),
        lambda registry, access, client: registry.end_clients(
            access.token_id, lambda one: one == client, "over"
        ),
    ],
    ids=["token", "user", "sign-in", "clients"],
)
async def test_many_connections_are_closed_in_slices(
    end: Callable[[OpenConnections, TokenAccess, ClientIdentity], int],
) -> None:
    registry, access, closed = OpenConnections(), _access(), list[str]()
    client = ClientIdentity("device", "192.0.2.1", "agent", uuid4())
    for _ in range(_MANY):
        registry.add(access, closed.append, client)
    assert end(registry, access, client) == _MANY
    assert access.token_id not in registry
    seen = [len(closed)]
    while len(closed) < _MANY:
        await asyncio.sleep(0)
        seen.append(len(closed))
    assert max(after - before for before, after in pairwise([0, *seen])) <= SLICE
    assert set(closed) == {"over"}


async def test_a_connection_released_before_its_slice_is_not_closed() -> None:
    registry, access, closed = OpenConnections(), _access(), list[int]()
    connections = [
        registry.add(access, lambda _, number=number: closed.append(number))  # type: ignore[misc]
        for number in range(_MANY)
    ]
    registry.end_token(access.token_id, "over")
    left = next(number for number in range(_MANY) if number not in closed)
    connections[left].release()
    await _steps()
    assert sorted(closed) == [number for number in range(_MANY) if number != left]


async def test_a_connection_is_closed_once_when_its_token_ends_twice() -> None:
    registry, access, closed = OpenConnections(), _access(), list[str]()
    for _ in range(_MANY):
        registry.add(access, closed.append)
    assert registry.end_token(access.token_id, "first") == _MANY
    assert registry.end_token(access.token_id, "second") == 0
    later = registry.add(access, closed.append)
    await _steps()
    assert closed == ["first"] * _MANY
    later.release()
    assert len(registry) == 0
