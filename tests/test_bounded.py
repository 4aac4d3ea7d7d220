"""The bounded dictionary: order, eviction and its callback."""

from zenzefi.bounded import BoundedDict


def test_the_oldest_entry_is_evicted_when_the_dictionary_is_full() -> None:
    cache: BoundedDict[str, int] = BoundedDict(2)
    for number, key in enumerate("abc"):
        cache[key] = number
    assert list(cache.items()) == [("b", 1), ("c", 2)]
    assert cache.oldest() == ("b", 1)


def test_assignment_makes_an_existing_entry_the_newest() -> None:
    cache: BoundedDict[str, int] = BoundedDict(2)
    cache["a"], cache["b"] = 1, 2
    cache["a"] = 3
    cache["c"] = 4
    assert list(cache) == ["a", "c"]


def test_refresh_protects_an_entry_from_eviction() -> None:
    cache: BoundedDict[str, int] = BoundedDict(2)
    cache["a"], cache["b"] = 1, 2
    assert cache.refresh("a") == 1
    assert cache.refresh("missing") is None
    cache["c"] = 3
    assert list(cache) == ["a", "c"]


def test_setdefault_is_bounded_too() -> None:
    cache: BoundedDict[str, int] = BoundedDict(1)
    cache.setdefault("a", 1)
    cache.setdefault("b", 2)
    assert list(cache) == ["b"]


def test_on_evict_is_called_for_evicted_entries_only() -> None:
    evicted: list[tuple[str, int]] = []
    cache: BoundedDict[str, int] = BoundedDict(1, lambda key, value: evicted.append((key, value)))
    cache["a"] = 1
    cache["b"] = 2
    del cache["b"]
    cache["c"] = 3
    cache.clear()
    assert evicted == [("a", 1)]
    assert cache.oldest() is None
