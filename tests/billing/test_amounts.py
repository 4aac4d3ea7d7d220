"""Amounts of payments: never below what is missing, and always payable."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.gates import SECRET_KEY
from zenzefi.billing.amounts import PaymentAmounts
from zenzefi.errors import Invalid
from zenzefi.settings import load_settings

HUNDREDTHS = st.integers(1, 10**7).map(lambda cents: Decimal(cents).scaleb(-2))


def amounts(rate: str, minimum: str = "0.01") -> PaymentAmounts:
    values: dict[str, Any] = {
        "secret_key": SECRET_KEY,
        "payment_currency": "EUR",
        "currency_rates": f'{{"EUR": "{rate}"}}',
        "payment_minimum": minimum,
    }
    return PaymentAmounts(load_settings(values))


@given(
    st.sampled_from(["0.0001", "0.003", "0.1", "0.125", "1", "9.99", "1234.5"]),
    st.sampled_from(["0.01", "0.50", "10"]),
    HUNDREDTHS,
)
def test_what_is_missing_can_be_paid_exactly_or_rounded_up(
    rate: str, minimum: str, missing: Decimal
) -> None:
    found = amounts(rate, minimum)
    exact, rounded = found.at_least(missing), found.rounded_up(missing)
    assert missing <= exact <= rounded
    assert exact == missing or found.cost(exact) - Decimal(rate) <= Decimal(minimum)
    assert Decimal(minimum) <= found.cost(exact) <= found.cost(rounded)


@pytest.mark.parametrize(
    ("rate", "missing", "price"),
    [
        *(("10", "18.00", "200.00"), ("10", "20.00", "200.00"), ("10", "20.01", "500.00")),
        *(("0.125", "99.20", "20.00"), ("0.1", "0.01", "1.00"), ("1", "0.99", "1.00")),
        *(("1", "501", "1000.00"), ("1", "10", "10.00"), ("1", "9.99", "10.00")),
    ],
)
def test_a_round_price_begins_with_one_two_or_five(rate: str, missing: str, price: str) -> None:
    found = amounts(rate)
    assert found.cost(found.rounded_up(Decimal(missing))) == Decimal(price)


@pytest.mark.parametrize("amount", ["0.01", "4.94"])
def test_an_amount_below_the_smallest_payment_is_refused(amount: str) -> None:
    with pytest.raises(Invalid):
        amounts("0.1", "0.50").cost(Decimal(amount))
    assert amounts("0.1", "0.50").cost(Decimal("5.00")) == Decimal("0.50")
