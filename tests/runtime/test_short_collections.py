"""Garbage collections of a process with many live objects."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from zenzefi.runtime.memory import ShortCollections


@pytest.fixture(autouse=True)
def unchanged_collector() -> Iterator[None]:
    """No other collections than those of the test, and none of its effects afterwards."""
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


class Node:
    def __init__(self) -> None:
        self.other: Node | None = None


def cycle() -> weakref.ref[Node]:
    """An unreachable reference cycle."""
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def test_survivors_of_a_long_collection_are_not_visited_again() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    collections = ShortCollections(longest=0.0)
    live = [[] for _ in range(1000)]  # type: list[list[int]]
    gc.collect()
    assert gc.get_freeze_count() >= before + len(live)
    # The collector still finds cycles among newer objects, and permanent ones are still freed.
    new = cycle()
    assert new() is not None
    gc.collect()
    assert new() is None
    permanent = gc.get_freeze_count()
    del live
    assert gc.get_freeze_count() <= permanent - 1000
    collections.close()


def test_survivors_of_a_short_collection_are_visited_again() -> None:
    collections = ShortCollections(longest=60.0)
    before = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() == before
    collections.close()
    assert not [one for one in gc.callbacks if "ShortCollections" in repr(one)]


def test_cycles_among_permanent_objects_are_collected_when_there_are_many() -> None:
    gc.freeze()
    collections = ShortCollections(longest=0.0, most=500)
    one, two = Node(), Node()
    one.other, two.other = two, one
    lost = weakref.ref(one)
    gc.collect()
    del one, two  # a permanent cycle
    gc.collect()
    assert lost() is not None
    many = [[] for _ in range(gc.get_freeze_count() + 1000)]  # type: list[list[int]]
    gc.collect()
    gc.collect()
    assert lost() is None
    assert gc.get_freeze_count() > len(many)
    collections.close()
