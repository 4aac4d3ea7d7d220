"""What plugins get at start: a bounded cache; and their secrets, from files and environment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from zenzefi.plugins import LookupCache, Plugin, PluginOptions
from zenzefi.rewriting.plugins.registry import PluginError, Registry


async def test_concurrent_look_ups_share_one_call_and_results_end() -> None:
    now = [0.0]
    cache: LookupCache[str, str] = LookupCache(10, 5.0, clock=lambda: now[0])
    calls = []

    async def look_up() -> str:
        calls.append(now[0])
        await asyncio.sleep(0)
        return f"result {len(calls)}"

    assert await asyncio.gather(*(cache.get("a", look_up) for _ in range(5))) == ["result 1"] * 5
    now[0] = 4.9
    assert await cache.get("a", look_up) == "result 1"
    now[0] = 5.0
    assert await cache.get("a", look_up) == "result 2"
    assert calls == [0.0, 5.0]


async def test_the_result_of_one_user_is_not_that_of_another() -> None:
    cache: LookupCache[tuple[str, str], str] = LookupCache(10, 5.0)

    async def of(user: str) -> str:
        return f"of {user}"

    for user in ("anna", "otto", "anna"):
        assert await cache.get((user, "name"), lambda user=user: of(user)) == f"of {user}"  # type: ignore[misc] # bound at once


async def test_a_failed_look_up_is_not_remembered_and_the_cache_is_bounded() -> None:
    cache: LookupCache[int, int] = LookupCache(3, 60.0)

    async def fails() -> int:
        raise OSError("no")

    async def one() -> int:
        return 1

    with pytest.raises(OSError, match="no"):
        await cache.get(0, fails)
    for key in range(20):
        assert await cache.get(key, one) == 1
    assert len(cache) == 3


async def test_a_caller_that_leaves_does_not_end_the_look_up_of_others() -> None:
    cache: LookupCache[str, int] = LookupCache(3, 60.0)
    goes = asyncio.Event()

    async def look_up() -> int:
        await goes.wait()
        return 1

    first, second = (asyncio.ensure_future(cache.get("a", look_up)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    goes.set()
    assert await second == 1
    assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)


class Keyed(Plugin):
    name = "keyed"

    class Options(PluginOptions):
        key: SecretStr
        note: str = ""

    options: Options


def keyed(value: object) -> Registry:
    return Registry(entry_points=False, classes=[Keyed], options={"keyed": {"key": value}})


def key_of(registry: Registry) -> str:
    options = registry["keyed"].plugin.options
    assert isinstance(options, Keyed.Options)
    return options.key.get_secret_value()


def test_a_secret_comes_from_the_environment_or_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("from a file\n")
    monkeypatch.setenv("THE_KEY", "from outside")
    assert key_of(keyed("plain")) == "plain"
    assert key_of(keyed({"env": "THE_KEY"})) == "from outside"
    registry = keyed({"file": str(file)})
    assert key_of(registry) == "from a file"
    assert "from a file" not in repr(registry["keyed"].plugin.options)
    before = registry.fingerprint
    file.write_text("another")
    assert keyed({"file": str(file)}).fingerprint != before


@pytest.mark.parametrize(
    "value", [{"env": "NOT_SET_ANYWHERE"}, {"file": "/absent/key"}, {"other": 1}, {}]
)
def test_a_secret_that_can_not_be_read_is_named(value: object) -> None:
    with pytest.raises(PluginError, match=r"PLUGIN_OPTIONS\.keyed\.key: "):
        keyed(value)
