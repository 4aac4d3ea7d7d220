"""The refund rule for all prices, durations and remaining times."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zenzefi.settings import DURATIONS
from zenzefi.tokens.refunds import refund_due

costs = st.decimals(min_value=0, max_value=9_999_999, places=2)
durations = st.sampled_from(DURATIONS)
policies = st.sampled_from(("nothing", "pro_rata"))
seconds = st.floats(-1e9, 1e9, allow_nan=False)


@given(costs, durations, policies)
def test_an_unused_token_is_refunded_in_full(cost: Any, hours: Any, policy: Any) -> None:
    due = refund_due(cost, duration_hours=hours, seconds_left=None, used_tokens=policy)
    assert due == cost


@given(costs, durations, seconds)
def test_a_used_token_is_not_refunded_by_default(cost: Any, hours: Any, left: Any) -> None:
    due = refund_due(cost, duration_hours=hours, seconds_left=left, used_tokens="nothing")
    assert due == Decimal("0.00")


@given(costs, durations, seconds)
def test_pro_rata_refunds_at_most_the_remaining_share(cost: Any, hours: Any, left: Any) -> None:
    due = refund_due(cost, duration_hours=hours, seconds_left=left, used_tokens="pro_rata")
    share = cost * Decimal(max(0.0, left)) / (hours * 3600)
    assert 0 <= due <= min(cost, share)
    assert min(cost, share) - due < Decimal("0.01")
    assert due == due.quantize(Decimal("0.01"))


@given(costs, durations, seconds, seconds)
def test_pro_rata_is_monotonic_in_the_remaining_time(
    cost: Any, hours: Any, one: Any, other: Any
) -> None:
    less, more = sorted((one, other))
    dues = [
        refund_due(cost, duration_hours=hours, seconds_left=left, used_tokens="pro_rata")
        for left in (less, more)
    ]
    assert dues[0] <= dues[1]


def test_pro_rata_rounds_down() -> None:
    due = refund_due(
        Decimal("18.01"), duration_hours=24, seconds_left=12 * 3600, used_tokens="pro_rata"
    )
    assert due == Decimal("9.00")
