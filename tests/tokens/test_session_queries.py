"""The chart of a token's traffic: the bytes of sessions are distributed over its intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from zenzefi.tokens.session_queries import Session, distribute

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EDGES = [NOON + timedelta(hours=n) for n in range(4)]


def session(start: float, end: float, bytes_in: int, bytes_out: int = 0) -> Session:
    """A session from ``start`` to ``end``, in hours after noon."""
    begin, last = NOON + timedelta(hours=start), NOON + timedelta(hours=end)
    return Session(
        id=UUID(int=1),
        token_id=UUID(int=2),
        user_id=UUID(int=3),
        device=None,
        address=None,
        agent=None,
        started_at=begin,
        last_seen_at=last,
        ended_at=None,
        end_reason=None,
        requests=1,
        bytes_in=bytes_in,
        bytes_out=bytes_out,
    )


def test_a_session_within_one_interval_counts_there() -> None:
    assert distribute([session(1.2, 1.8, 100, 7)], EDGES) == [(0, 0), (100, 7), (0, 0)]


def test_a_session_over_several_intervals_is_distributed_by_time() -> None:
    assert distribute([session(0.5, 2.5, 100)], EDGES) == [(25, 0), (50, 0), (25, 0)]


def test_bytes_outside_of_the_chart_are_left_out() -> None:
    sessions = [session(-1, 1, 100), session(2, 4, 40), session(7, 8, 9), session(-3, -2, 9)]
    assert distribute(sessions, EDGES) == [(50, 0), (0, 0), (20, 0)]


def test_a_single_request_counts_in_its_interval() -> None:
    for at, expected in ((0.0, 0), (1.0, 1), (2.999, 2)):
        assert [bytes_in for bytes_in, _ in distribute([session(at, at, 5)], EDGES)] == [
            5 if index == expected else 0 for index in range(3)
        ]
    assert distribute([session(3, 3, 5)], EDGES) == [(0, 0)] * 3


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 3), st.integers(0, 10**12)).map(
            lambda t: session(min(t[:2]), max(t[:2]), t[2])
        ),
        max_size=8,
    )
)
def test_the_sum_over_the_intervals_is_the_total(sessions: list[Session]) -> None:
    inside = [one for one in sessions if one.last_seen_at < EDGES[-1]]
    total = sum(bytes_in for bytes_in, _ in distribute(inside, EDGES))
    assert abs(total - sum(one.bytes_in for one in inside)) <= len(EDGES)
