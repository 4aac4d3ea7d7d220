"""The budget of upstream connections: its invariants hold after any sequence of events."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID, uuid4

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zenzefi.proxy.upstream.budget import ConnectionBudget
from zenzefi.proxy.upstream.limits import Limits, Reason, Refused

ALICE, BOB, CAROL = (UUID(int=number) for number in (1, 2, 3))


class Connection:
    """Records that it was asked to close; the test says when it is closed."""

    def __init__(self) -> None:
        self.is_closing = False

    def close_idle(self) -> None:
        assert not self.is_closing
        self.is_closing = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def budget_of(
    total: int, *, per_token: int = 100, share: float = 0.75, waiting: int = 100, clock: Any = None
) -> tuple[Any, ...]:
    limits = Limits.of(total, per_token=per_token, long_lived_share=share, waiting=waiting)
    budget = ConnectionBudget(limits, clock or Clock())
    return budget, budget.pool()


def take(
    budget: Any, token: UUID, pool: Any, *, is_fresh: bool = False, is_long_lived: bool = False
) -> Any:
    slot = budget.take(token, pool, is_fresh=is_fresh, is_long_lived=is_long_lived)
    if slot is not None and slot.connection is None:
        slot.connection = Connection()
    return slot


def wait(budget: Any, token: UUID, pool: Any, served: Any, *, is_long_lived: bool = False) -> Any:
    return budget.wait(token, pool, served.append, is_fresh=False, is_long_lived=is_long_lived)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 16, 512, 1024, 65535])
@pytest.mark.parametrize("per_token", [1, 128, 65535])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.75, 0.99])
def test_no_setting_lets_one_token_or_the_long_lived_ones_take_everything(
    total: int, per_token: int, share: float
) -> None:
    limits = Limits.of(total, per_token=per_token, long_lived_share=share, waiting=100)
    assert 0 <= limits.long_lived < limits.total
    assert 1 <= limits.per_token <= max(1, total // 2)
    assert 1 <= limits.long_lived_per_token <= max(1, limits.long_lived // 2)


def test_waiting_is_in_turns_of_tokens_not_of_requests() -> None:
    budget, pool = budget_of(4, per_token=2)
    mine = [take(budget, ALICE, pool) for _ in range(2)]
    others = [take(budget, BOB, pool) for _ in range(2)]
    served: list[Any] = []
    for _ in range(50):
        wait(budget, ALICE, pool, served)
    for _ in range(2):
        wait(budget, BOB, pool, served)
    wait(budget, CAROL, pool, served)
    for slot in (mine[0], others[0], mine[1]):
        slot.make_idle()
    # Alice and Bob have a turn as soon as they are below their share, Carol at once.
    assert [slot.token for slot in served] == [CAROL, ALICE, BOB]


def test_a_token_at_its_share_does_not_block_others() -> None:
    budget, pool = budget_of(4, per_token=2)
    for _ in range(2):
        take(budget, ALICE, pool)
    served: list[Any] = []
    waiter = wait(budget, ALICE, pool, served)
    for _ in range(2):
        assert take(budget, BOB, pool) is not None
    assert not served
    assert budget.withdraw(waiter) is Reason.FULL  # and full it is by now


def test_a_timeout_names_what_the_request_waited_for() -> None:
    budget, pool = budget_of(8, per_token=1)
    take(budget, ALICE, pool)
    assert take(budget, ALICE, pool) is None
    assert budget.withdraw(wait(budget, ALICE, pool, [])) is Reason.TOKEN


def test_idle_connections_count_and_are_closed_to_make_room() -> None:
    budget, pool = budget_of(2)
    other = budget.pool()
    slots = [take(budget, token, other) for token in (ALICE, BOB)]
    for slot in slots:
        slot.make_idle()
    assert (budget.open, budget.idle) == (2, 2)
    served: list[Any] = []
    wait(budget, ALICE, pool, served)
    assert slots[0].connection.is_closing, "the one that was idle for longest"
    assert not slots[1].connection.is_closing
    assert not served, "not before it is closed"
    slots[0].closed()
    assert len(served) == 1
    assert budget.open == 2


def test_a_connection_that_takes_long_to_close_delays_no_one() -> None:
    """A WebSocket whose last bytes are still being written out keeps its slot for seconds."""
    budget, pool = budget_of(2)
    other = budget.pool()
    lingering, idle = take(budget, ALICE, pool), take(budget, BOB, other)
    lingering.closing()
    idle.make_idle()
    served: list[Any] = []
    wait(budget, CAROL, pool, served)
    assert idle.connection.is_closing
    idle.closed()
    assert len(served) == 1


@given(
    contenders=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=12),
    total=st.integers(2, 200),
)
def test_few_tokens_can_not_take_the_long_lived_account_from_the_others(
    contenders: Any, total: int
) -> None:
    """A token opens another one only while it holds fewer than are free."""
    budget, pool = budget_of(total, per_token=50)
    for number, count in contenders:
        for _ in range(count):
            with contextlib.suppress(Refused):
                take(budget, UUID(int=number), pool, is_long_lived=True)
    if budget.limits.long_lived >= 2 ** len({number for number, _ in contenders}):
        assert take(budget, UUID(int=100), pool, is_long_lived=True) is not None


def test_a_long_lived_connection_moves_to_its_own_account() -> None:
    clock = Clock()
    budget, pool = budget_of(4, per_token=1, clock=clock)
    stream = take(budget, ALICE, pool)
    assert take(budget, ALICE, pool) is None
    served: list[Any] = []
    wait(budget, ALICE, pool, served)
    stream.make_long_lived()
    assert len(served) == 1, "the short account has room again"
    with pytest.raises(Refused) as refused:
        served[0].make_long_lived()
    assert refused.value.reason is Reason.LONG_LIVED_TOKEN
    assert served[0].is_in_use, "what is open is not touched by a refusal"


def test_the_long_lived_leave_room_for_short_ones() -> None:
    budget, pool = budget_of(4, share=1.0)
    for token in (ALICE, BOB, CAROL):
        assert take(budget, token, pool, is_long_lived=True)
    with pytest.raises(Refused) as refused:
        take(budget, uuid4(), pool, is_long_lived=True)
    assert refused.value.reason is Reason.LONG_LIVED
    assert take(budget, ALICE, pool) is not None


def test_requests_that_last_are_promoted_as_far_as_the_accounts_permit() -> None:
    clock = Clock()
    budget, pool = budget_of(8, share=0.5, per_token=4, clock=clock)
    old = [take(budget, ALICE, pool) for _ in range(3)] + [take(budget, BOB, pool)]
    clock.now = 9.0
    young = take(budget, CAROL, pool)
    clock.now = 10.0
    budget.sweep(10.0)
    assert [slot.is_long_lived for slot in old] == [True, True, False, True]
    assert not young.is_long_lived
    assert budget.held(ALICE) == (1, 2)


def test_the_queue_is_bounded_per_token_and_in_all() -> None:
    budget, pool = budget_of(1, waiting=4)
    take(budget, CAROL, pool)
    for token in (ALICE, BOB):
        for _ in range(2):
            wait(budget, token, pool, [])
        with pytest.raises(Refused) as refused:
            wait(budget, token, pool, [])
        assert refused.value.reason is Reason.QUEUE_TOKEN
    with pytest.raises(Refused) as refused:
        wait(budget, CAROL, pool, [])
    assert refused.value.reason is Reason.QUEUE


class Model(RuleBasedStateMachine):
    """Everything that can happen to a budget, against plain sums over what the test holds."""

    @initialize(
        total=st.integers(1, 6), per_token=st.integers(1, 4), share=st.sampled_from([0.3, 0.75])
    )
    def begin(self, total: int, per_token: int, share: int) -> None:
        self.clock = Clock()
        self.budget, first = budget_of(
            total, per_token=per_token, share=share, waiting=12, clock=self.clock
        )
        self.pools = [first, self.budget.pool()]
        self.used: Any = []
        self.idle: Any = []
        self.closing: Any = []
        self.waiting: Any = []

    def _granted(self, slot: Any) -> None:
        if slot.connection is None:
            slot.connection = Connection()
        else:
            assert not slot.connection.is_closing
        self.idle = [known for known in self.idle if known is not slot]
        self.used.append(slot)

    def _collect(self) -> None:
        """Idle connections that were asked to close."""
        for slot in [slot for slot in self.idle if slot.connection.is_closing]:
            self.idle.remove(slot)
            self.closing.append(slot)
        self.waiting = [waiter for waiter in self.waiting if waiter.slot is None]

    tokens = st.sampled_from([ALICE, BOB, CAROL])
    which = st.integers(0, 1)

    @rule(token=tokens, which=which, is_fresh=st.booleans(), is_long_lived=st.booleans())
    def request(self, token: UUID, which: Any, is_fresh: Any, is_long_lived: Any) -> None:
        pool = self.pools[which]
        ready_before = self._ready()
        try:
            slot = self.budget.take(token, pool, is_fresh=is_fresh, is_long_lived=is_long_lived)
            if slot is not None:
                assert not ready_before, "nobody is overtaken"
                self._granted(slot)
                return
            waiter = self.budget.wait(
                token, pool, self._granted, is_fresh=is_fresh, is_long_lived=is_long_lived
            )
        except Refused as refused:
            if refused.reason is Reason.LONG_LIVED:
                assert self.budget.long_lived == self.budget.limits.long_lived
            elif refused.reason is Reason.LONG_LIVED_TOKEN:
                held = self.budget.held(token)[1]
                free = self.budget.limits.long_lived - self.budget.long_lived
                assert held >= min(self.budget.limits.long_lived_per_token, free)
                assert held
            else:
                assert len(self.waiting) >= self.budget.limits.waiting_per_token
            return
        if waiter.slot is None:
            self.waiting.append(waiter)
        self._collect()

    @rule(token=tokens, which=which)
    def request_synchronously(self, token: UUID, which: Any) -> None:
        ready_before = self._ready()
        slot = self.budget.take_idle(token, self.pools[which])
        if slot is not None:
            assert not ready_before
            self._granted(slot)

    @precondition(lambda self: self.used)
    @rule(data=st.data(), how=st.sampled_from(["idle", "closing", "closed"]))
    def finish(self, data: Any, how: Any) -> None:
        slot = self.used.pop(data.draw(st.integers(0, len(self.used) - 1)))
        if how == "idle":
            self.idle.append(slot)
            slot.make_idle()
        elif how == "closing":
            self.closing.append(slot)
            slot.closing()
        else:
            slot.closed()
            slot.closed()  # harmless
        self._collect()

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def last(self, data: Any) -> None:
        slot = self.used[data.draw(st.integers(0, len(self.used) - 1))]
        try:
            slot.make_long_lived()
        except Refused:
            assert slot.is_in_use
        self._collect()

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.budget.sweep(10)
        self._collect()
        holding = {*self.waiting, *self.used}
        assert set(self.budget._shares) == {one.token for one in holding}, "no other is remembered"

    @precondition(lambda self: self.closing)
    @rule(data=st.data())
    def closed(self, data: Any) -> None:
        self.closing.pop(data.draw(st.integers(0, len(self.closing) - 1))).closed()
        self._collect()

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def an_idle_one_is_lost(self, data: Any) -> None:
        self.idle.pop(data.draw(st.integers(0, len(self.idle) - 1))).closed()
        self._collect()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        waiter = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.budget.withdraw(waiter)
        self.budget.withdraw(waiter)  # harmless
        self._collect()

    def _ready(self) -> Any:
        """The first waiting requests of tokens, as far as they lack nothing but a slot.

        Later ones wait for the first one of their token in every case.
        """
        heads: Any = {}
        for waiter in self.waiting:
            heads.setdefault(waiter.token, waiter)
        return [
            waiter
            for waiter in heads.values()
            if waiter.is_long_lived
            or self.budget.held(waiter.token)[0] < self.budget.limits.per_token
        ]

    @invariant()
    def the_numbers_hold(self) -> None:
        if not hasattr(self, "budget"):
            return
        budget, limits = self.budget, self.budget.limits
        assert budget.open == len(self.used) + len(self.idle) + len(self.closing)
        assert budget.open <= limits.total
        assert budget.idle == len(self.idle)
        assert budget.waiting == len(self.waiting)
        reserved = [waiter.token for waiter in self.waiting if waiter.is_long_lived]
        long_lived = [slot.token for slot in self.used if slot.is_long_lived] + reserved
        short = [slot.token for slot in self.used if not slot.is_long_lived]
        assert (budget.short, budget.long_lived) == (len(short), len(long_lived))
        assert budget.long_lived <= limits.long_lived
        for token in (ALICE, BOB, CAROL):
            assert budget.held(token) == (short.count(token), long_lived.count(token))
            assert short.count(token) <= limits.per_token
            assert long_lived.count(token) <= limits.long_lived_per_token

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        if not hasattr(self, "budget"):
            return
        if self._ready():
            assert self.budget.open == self.budget.limits.total
            assert not self.idle or any(slot.connection.is_closing for slot in self.closing), (
                "an idle one is closed to make room"
            )


Model.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestModel = Model.TestCase


@given(queues=st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_turns_are_even_whatever_waits(queues: Any) -> None:
    """Every token that waits is served once before any is served twice."""
    rest = sum(queues)
    budget, pool = budget_of(2 * rest, per_token=rest, waiting=10_000)
    held = [take(budget, UUID(int=100 + number), pool) for number in range(2 * rest)]
    served: list[Any] = []
    for number, length in enumerate(queues):
        for _ in range(length):
            wait(budget, UUID(int=number), pool, served)
    for slot in held[:rest]:
        slot.closed()
    expected = [
        number for round_ in range(12) for number, length in enumerate(queues) if length > round_
    ]
    assert [slot.token.int for slot in served] == expected
