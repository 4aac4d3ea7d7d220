"""The state of a payment depends on its facts, not on their order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.billing.payment_state import PaymentFact, payment_state
from zenzefi.billing.providers.base import Event, Outcome

ZNC, RUB = Decimal("10.00"), Decimal("100.00")
CENTS = st.integers(0, 20_000).map(lambda cents: Decimal(cents).scaleb(-2))
FACTS = st.builds(
    PaymentFact,
    st.sampled_from(list(Outcome)),
    st.none() | CENTS,
    st.sampled_from(["RUB", "USD", None]),
    st.sampled_from([None, "a", "b"]),
)


@given(st.lists(FACTS, max_size=8), st.randoms(), st.integers(1, 10**9), st.integers(1, 10**9))
def test_order_and_repetition_change_nothing(
    facts: list[PaymentFact], random: object, znc: int, rub: int
) -> None:
    amounts = Decimal(znc).scaleb(-2), Decimal(rub).scaleb(-2)
    first = payment_state(*amounts, facts)
    again = facts * 2
    random.shuffle(again)  # type: ignore[attr-defined]  # hypothesis names no type for it
    assert payment_state(*amounts, again) == first
    assert 0 <= first.reversed_rub <= amounts[1]
    assert 0 <= first.reversed_znc <= amounts[0]
    assert (first.reversed_rub == amounts[1]) <= (first.reversed_znc == amounts[0])


def rub_after(*facts: tuple[Outcome, str | None, str | None]) -> str:
    events = [
        PaymentFact(outcome, None if amount is None else Decimal(amount), "RUB", part)
        for outcome, amount, part in facts
    ]
    return str(payment_state(ZNC, RUB, events).reversed_rub)


REFUNDED, FAILED = Outcome.REFUNDED, Outcome.REFUND_FAILED
DISPUTED, WON = Outcome.DISPUTED, Outcome.DISPUTE_WON


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ([(REFUNDED, "30", None), (REFUNDED, "50", None)], "50"),  # totals: the latest is greatest
        ([(REFUNDED, "30", "r1"), (REFUNDED, "20", "r2")], "50"),  # by name they add up
        (
            [(REFUNDED, "30", "r1"), (REFUNDED, "30", None)],
            "30",
        ),  # both ways, counted once
        ([(REFUNDED, "30", "r1"), (FAILED, "30", "r1")], "0.00"),
        ([(REFUNDED, "50", None), (REFUNDED, "30", "r1"), (FAILED, "30", "r1")], "20"),
        ([(REFUNDED, "30", None), (DISPUTED, "70", "d1")], "100"),
        ([(REFUNDED, "30", None), (DISPUTED, None, "d1")], "100.00"),  # never more than all
        ([(REFUNDED, "30", None), (DISPUTED, None, "d1"), (WON, None, "d1")], "30"),
        ([(WON, None, "d1"), (DISPUTED, None, "d1")], "0.00"),  # the decision arrived first
        ([(DISPUTED, "40", "d1"), (DISPUTED, "40", "d1")], "40"),  # opened, then withdrawn
        ([(DISPUTED, "40", "d1"), (DISPUTED, "30", "d1")], "40"),  # the earlier one came late
        ([(DISPUTED, "30", "d1"), (DISPUTED, "40", "d1")], "40"),
        ([(REFUNDED, "40", "r1"), (REFUNDED, "30", "r1")], "40"),
        ([(DISPUTED, "40", "d1"), (WON, None, "d2")], "40"),
    ],
)
def test_refunds_and_disputes_add_up(
    facts: list[tuple[Outcome, str | None, str | None]], left: str
) -> None:
    assert Decimal(rub_after(*facts)) == Decimal(left)


@pytest.mark.parametrize(
    ("amount", "currency", "is_paid"),
    [("100", "RUB", True), ("99.99", "RUB", False), ("100", "USD", False), (None, "RUB", False)],
)
def test_paid_is_exactly_the_amount_in_roubles(
    amount: str | None, currency: str, is_paid: bool
) -> None:
    fact = PaymentFact(Outcome.PAID, None if amount is None else Decimal(amount), currency)
    assert payment_state(ZNC, RUB, [fact]).is_paid is is_paid


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "x" * 256},
        {"type": "x" * 101},
        {"charge": "x" * 256},
        {"currency": "rub"},
        {"currency": "RUBLE"},
        {"amount": Decimal("NaN")},
        {"amount": Decimal("Infinity")},
        {"amount": Decimal("-0.01")},
        {"amount": Decimal("0.001")},
        {"amount": Decimal(10) ** 30},
    ],
)
def test_an_event_that_can_not_be_stored_is_rejected(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {"id": "e", "type": "t", "outcome": Outcome.PAID} | wrong
    with pytest.raises(ValueError, match=r"characters|capital letters|decimal places"):
        Event(**fields)  # type: ignore[arg-type]  # wrong on purpose
