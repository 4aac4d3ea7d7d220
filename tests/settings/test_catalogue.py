"""Price lists of the settings: durations, prices, prices with a scope, and currencies."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from zenzefi.settings import Settings, free_access
from zenzefi.settings.catalogue import MAX_HOURS, Catalogue, parse_duration, parse_price

PRICES = st.one_of(st.none(), st.integers(0, 10**11).map(lambda cents: Decimal(cents).scaleb(-2)))
TABLES = st.dictionaries(st.integers(1, MAX_HOURS), PRICES, max_size=8)


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, data_dir=Path("unused"), **values)


@given(TABLES, st.dictionaries(st.sampled_from(["a", "b", "full"]), TABLES, max_size=3))
def test_a_price_list_is_the_same_after_it_was_stored(
    prices: dict[int, Decimal | None], by_scope: dict[str, dict[int, Decimal | None]]
) -> None:
    listed = Catalogue(prices, by_scope)
    assert Catalogue.of_content(listed.content()) == listed


@given(TABLES, st.dictionaries(st.sampled_from(["a", "b"]), TABLES, max_size=2))
def test_a_duration_is_on_sale_exactly_if_it_has_a_price(
    prices: dict[int, Decimal | None], by_scope: dict[str, dict[int, Decimal | None]]
) -> None:
    listed = Catalogue(prices, by_scope)
    for scope in ("full", "a", "b"):
        for hours in listed.known_durations:
            assert (hours in listed.durations(scope)) == (listed.price(hours, scope) is not None)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_in_range_or_refused(text: str) -> None:
    try:
        hours = parse_duration(text)
    except ValueError:
        return
    assert 1 <= hours <= MAX_HOURS


@given(st.one_of(st.text(max_size=16), st.floats(), st.integers(), st.booleans()))
def test_any_value_is_a_price_of_zero_or_more_or_refused(value: object) -> None:
    try:
        price = parse_price(value)
    except ValueError:
        return
    assert price is None or (price >= 0 and price == round(price, 2))


def test_a_price_that_is_not_set_is_off_while_others_are_set() -> None:
    listed = settings(token_price_1h="2.00", token_price_24h="18.00").catalogue
    assert listed.durations("full") == [1, 24]
    assert listed.price(720, "full") is None


def test_without_any_price_every_usual_duration_is_free() -> None:
    assert settings().catalogue.durations("full") == [1, 12, 24, 168, 720]
    assert settings().catalogue.price(720, "full") == 0


def test_a_price_of_zero_is_free_and_off_is_not_on_sale() -> None:
    listed = settings(token_price_1h="0", token_price_12h="off", token_price_24h="5").catalogue
    assert listed.price(1, "full") == 0
    assert listed.durations("full") == [1, 24]


@pytest.mark.parametrize("named", [{"token_prices": '{"6h": "3.10"}'}, {"token_price_1h": "1"}])
def test_prices_that_are_not_set_are_named_in_a_warning(named: dict[str, str]) -> None:
    found = free_access.warnings(settings(registration="closed", **named))
    assert len(found) == 1
    assert "TOKEN_PRICE_30D" in found[0]
    assert "Not on sale" in found[0]


def test_own_durations_and_prices_with_a_scope_replace_the_usual_ones() -> None:
    listed = settings(
        token_price_24h="18.00",
        token_prices='{"6h": 3.1, "90d": "500", "24h": "17.00"}',
        scope_prices='{"certificates_only": {"24": "9.00", "90d": "off"}}',
    ).catalogue
    assert listed.durations("full") == [6, 24, 2160]
    assert listed.price(6, "full") == Decimal("3.10")
    assert listed.price(24, "full") == Decimal("17.00")
    assert listed.price(24, "certificates_only") == Decimal("9.00")
    assert listed.durations("certificates_only") == [6, 24]


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_price_1h": "a lot"},
        {"token_price_1h": "-1"},
        {"token_price_1h": "1.005"},
        {"token_price_1h": "1e3"},
        {"token_prices": "[]"},
        {"token_prices": '{"0": "1"}'},
        {"token_prices": '{"6": "1", "6h": "2"}'},
        {"token_prices": '{"9999d": "1"}'},
        {"scope_prices": '{"full": "1"}'},
        {"scope_texts": '{"full": {"en": {}}}'},
        {"currency_rates": '{"EUR": "0"}'},
        {"currency_rates": '{"RUB": "10"}'},
        {"currency_rates": '{"JPY": "10"}'},
        {"currency_rates": '{"XXQ": "10"}'},
    ],
)
def test_a_setting_that_can_not_be_read_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**wrong)
    assert error.value.errors()[0]["loc"][0] == next(iter(wrong))


def test_the_currency_that_buyers_pay_in_needs_a_rate() -> None:
    with pytest.raises(Exception, match="CURRENCY_RATES must contain"):
        settings(payment_currency="EUR")
    chosen = settings(payment_currency="EUR", currency_rates='{"USD": "0.11", "EUR": "0.10"}')
    assert list(chosen.rates) == ["EUR", "USD"]
    assert list(settings(currency_rates='{"USD": "0.11"}').rates) == ["RUB", "USD"]
