"""A reverse proxy that is missing in TRUSTED_PROXIES does not go unnoticed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import Visitor, promote
from zenzefi.http import ignored_forwarding
from zenzefi.http.ignored_forwarding import IGNORED_FORWARDING, IgnoredForwarding
from zenzefi.settings import SETTINGS, Settings

FORWARDED = {"X-Forwarded-For": "198.51.100.7"}


async def written(gate: GateClient) -> None:
    await asyncio.gather(*gate.app[IGNORED_FORWARDING]._writing)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    return [line for line in found if line.startswith("forwarded headers ignored")]


@pytest.mark.parametrize(
    "headers",
    [
        FORWARDED,
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=1.2.3.4"},
        {"X-Real-IP": "1.1.1.1"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_it_is_logged_once_and_kept(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    gate = await make_gate()
    for _ in range(3):
        await gate.get("/livez", headers=headers)
    await written(gate)
    assert lines(caplog) == ["forwarded headers ignored: peer=127.0.0.1 is not in TRUSTED_PROXIES"]
    settings = gate.app[SETTINGS]
    assert ignored_forwarding.peers(settings) == ["127.0.0.1"]
    (note,) = ignored_forwarding.notes(settings)
    assert "TRUSTED_PROXIES" in note
    listed = settings.model_copy(update={"trusted_proxies": networks("127.0.0.0/8")})
    assert ignored_forwarding.notes(listed) == [], "it is listed now"


def networks(text: str) -> Any:
    return Settings(_env_file=None, debug=True, trusted_proxies=text).trusted_proxies


async def test_a_listed_proxy_and_a_plain_client_are_no_news(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await make_gate(trusted_proxies="127.0.0.1")
    await gate.get("/livez", headers=FORWARDED)
    other = await make_gate()
    await other.get("/livez")
    assert lines(caplog) == []
    assert not list(gate.app[SETTINGS].data_dir.glob("ignored-proxies.json*"))


@pytest.mark.parametrize(
    ("language", "told"), [("en", "Forwarded headers from 127.0.0.1"), ("ru", "от 127.0.0.1")]
)
async def test_the_administration_shows_it(make_gate: MakeGate, language: str, told: str) -> None:
    gate = await make_gate()
    visitor = await Visitor(gate, language).register("root")
    await promote(gate)
    await gate.get("/livez", headers=FORWARDED)
    await written(gate)
    await visitor.open("/admin")
    assert told in visitor.text


def test_many_peers_take_bounded_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def noting() -> None:
        notices = IgnoredForwarding(tmp_path)
        for number in range(100):
            notices.note(f"10.0.0.{number}", FORWARDED)
        await asyncio.gather(*notices._writing)

    asyncio.run(noting())
    assert len(lines(caplog)) == 16
    (file,) = tmp_path.iterdir()
    assert len(json.loads(file.read_text())) == 16


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"10.0.0.1": "x"}', '{"10.0.0.1": 1}', '{"' + "9" * 99 + '": 9e9}']
)
def test_a_file_that_is_old_or_damaged_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "ignored-proxies.json").write_text(content)
    settings = Settings(_env_file=None, debug=True, data_dir=tmp_path)
    assert ignored_forwarding.notes(settings) == []
