"""Traffic on a chart: how the bytes of sessions fall between the marks of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from zenzefi.tokens.session_queries import Session, spread

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EDGES = [NOON + timedelta(hours=n) for n in range(4)]


def session(start: float, end: float, received: int, sent: int = 0) -> Session:
    """One from ``start`` to ``end``, in hours after noon."""
    begin, last = NOON + timedelta(hours=start), NOON + timedelta(hours=end)
    return Session(UUID(int=1), None, None, begin, last, None, 1, received, sent)


def test_a_session_within_one_span_counts_there() -> None:
    assert spread([session(1.2, 1.8, 100, 7)], EDGES) == [(0, 0), (100, 7), (0, 0)]


def test_a_session_over_several_spans_counts_in_each_by_its_time() -> None:
    assert spread([session(0.5, 2.5, 100)], EDGES) == [(25, 0), (50, 0), (25, 0)]


def test_what_lies_outside_does_not_count() -> None:
    sessions = [session(-1, 1, 100), session(2, 4, 40), session(7, 8, 9), session(-3, -2, 9)]
    assert spread(sessions, EDGES) == [(50, 0), (0, 0), (20, 0)]


def test_a_single_request_counts_in_its_span() -> None:
    for at, expected in ((0.0, 0), (1.0, 1), (2.999, 2)):
        assert [received for received, _ in spread([session(at, at, 5)], EDGES)] == [
            5 if index == expected else 0 for index in range(3)
        ]
    assert spread([session(3, 3, 5)], EDGES) == [(0, 0)] * 3


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 3), st.integers(0, 10**12)).map(
            lambda t: session(min(t[:2]), max(t[:2]), t[2])
        ),
        max_size=8,
    )
)
def test_nothing_is_lost_or_made_inside_the_edges(sessions: list[Session]) -> None:
    inside = [one for one in sessions if one.last_seen_at < EDGES[-1]]
    total = sum(received for received, _ in spread(inside, EDGES))
    assert abs(total - sum(one.received for one in inside)) <= len(EDGES)
