"""A gate that lets everybody in for nothing serves only where that is intended."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from zenzefi.runtime import listening
from zenzefi.settings import Settings, free_access

KEY = "Qm8-xV2rTz6Lk9WdPq5hB3nYc7Jf1GsA"
PUBLIC = {"backend_url": "https://gate.example", "secret_key": KEY}
PRICES = [f"token_price_{name}" for name in ("1h", "12h", "24h", "7d", "30d")]
ALL_PRICES = dict.fromkeys(PRICES, Decimal(1))


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path, **values)


def test_a_new_gate_in_public_wants_a_choice(tmp_path: Path) -> None:
    fresh = settings(tmp_path, **PUBLIC)
    problem = free_access.problem(fresh)
    assert problem is not None
    for choice in ("TOKEN_PRICE_1H", "REGISTRATION=closed", "FREE_FOR_ALL=true"):
        assert choice in problem
    assert listening.problem(fresh, ["127.0.0.1"]) == problem


@pytest.mark.parametrize(
    "choice",
    [ALL_PRICES, {"registration": "closed"}, {"free_for_all": True}, {"debug": True}],
    ids=["prices", "closed", "free", "debug"],
)
def test_each_choice_lets_it_serve(tmp_path: Path, choice: dict[str, Any]) -> None:
    chosen = settings(tmp_path, **PUBLIC, **choice)
    assert free_access.problem(chosen) is None
    assert listening.problem(chosen, ["127.0.0.1"]) is None
    assert free_access.warnings(chosen) == []


@pytest.mark.parametrize("free", PRICES)
def test_one_duration_without_a_price_is_a_warning_that_names_it(tmp_path: Path, free: str) -> None:
    mixed = settings(tmp_path, **PUBLIC, **(ALL_PRICES | {free: Decimal(0)}))
    assert free_access.problem(mixed) is None
    (warning,) = free_access.warnings(mixed)
    assert f"{free.upper()} is 0" in warning
    assert listening.warnings(mixed, ["127.0.0.1"]) == [warning]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_laptop_on_loopback_starts_without_a_choice(tmp_path: Path, host: str) -> None:
    assert listening.problem(settings(tmp_path, secret_key=KEY), [host]) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gate.internal"])
def test_the_same_on_an_address_that_others_reach_does_not(tmp_path: Path, host: str) -> None:
    problem = listening.problem(settings(tmp_path, secret_key=KEY), ["127.0.0.1", host])
    assert problem is not None
    assert "FREE_FOR_ALL" in problem
