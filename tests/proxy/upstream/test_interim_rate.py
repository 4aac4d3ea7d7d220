"""The rate of 1xx responses to one request."""

from __future__ import annotations

from zenzefi.proxy.upstream.interim_rate import MAX_PER_SECOND, InterimRate


def test_any_number_may_come_at_a_slow_rate() -> None:
    rate = InterimRate()
    assert all(rate.allows(number / MAX_PER_SECOND) for number in range(1000))


def test_a_flood_is_refused() -> None:
    rate = InterimRate()
    allowed = [rate.allows(100.0 + number / 1000) for number in range(100)]
    assert allowed == [True] * MAX_PER_SECOND + [False] * (100 - MAX_PER_SECOND)


def test_the_next_request_is_counted_separately() -> None:
    rate = InterimRate()
    for _ in range(MAX_PER_SECOND):
        assert rate.allows(1.0)
    rate.clear()
    assert rate.allows(1.0)
