"""One pass over a body: composition, chunk independence, and plugins that misbehave."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting.edits import Edit, EditConflict
from zenzefi.rewriting.pipeline import Budget, Pass


class _Runner:
    """Keeps what the pipeline reports."""

    def __init__(self, name: str, *, shadow: bool = False) -> None:
        self.name = name
        self.shadow = shadow
        self.errors: list[str] = []
        self.conflicts: list[EditConflict] = []
        self.shown: list[tuple[bytes, bytes]] = []
        self.good = 0

    def failed(self, error: BaseException | str) -> None:
        self.errors.append(str(error))

    def spent(self, seconds: float, edits: int, size: int = 0) -> None:
        assert seconds >= 0

    def succeeded(self) -> None:
        self.good += 1

    def shadowed(self, before: bytes, after: bytes) -> None:
        self.shown.append((before, after))

    def conflicted(self, conflict: EditConflict) -> None:
        self.conflicts.append(conflict)


class Words:
    """Replaces whole words; holds an unfinished one back."""

    def __init__(self, new: dict[bytes, bytes]) -> None:
        self.new = new

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        cut = len(window) if final else window.rfind(b" ") + 1
        edits = [
            Edit(*word.span(), self.new[word[0]])
            for word in re.finditer(rb"\S+", window[:cut])
            if word[0] in self.new
        ]
        return cut, edits


class Spans:
    """Replaces a literal wherever it is, also inside words."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.old, self.new = old, new

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        edits = [Edit(*m.span(), self.new) for m in re.finditer(re.escape(self.old), window)]
        settled = len(window) if final else max(0, len(window) - len(self.old) + 1)
        edits = [edit for edit in edits if edit.start < settled]
        return max([settled, *(edit.end for edit in edits)]), edits


def run(pass_: Pass, data: bytes, size: int) -> bytes:
    parts = [pass_.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(parts) + pass_.finish()


def test_edits_of_two_plugins_are_made_in_one_pass_over_one_source() -> None:
    first, second = _Runner("first"), _Runner("second")
    pass_ = Pass([(first, Words({b"a": b"b"})), (second, Words({b"b": b"c"}))], Budget())
    assert run(pass_, b"a b a", 2) == b"b c b"
    assert first.good == second.good == 1


def test_the_earlier_plugin_wins_where_two_edit_the_same_place() -> None:
    first, second = _Runner("first"), _Runner("second")
    pass_ = Pass([(first, Words({b"abc": b"X"})), (second, Spans(b"bc", b"Y"))], Budget())
    assert run(pass_, b"abc bc", 100) == b"X Y"
    assert [conflict.source for conflict in second.conflicts] == ["second"]


@given(
    data=st.text("ab c", max_size=80),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_the_cut_of_the_chunks_makes_no_difference_to_a_composition(
    data: str, cuts: list[int]
) -> None:
    def fresh() -> Pass:
        return Pass(
            [
                (_Runner("words"), Words({b"ab": b"<1>", b"ba": b"<2>"})),
                (_Runner("spans"), Spans(b"bab", b"<3>")),
                (_Runner("inserts"), Inserts()),
            ],
            Budget(),
        )

    source = data.encode()
    whole = run(fresh(), source, 10_000)
    pass_, out, at = fresh(), [], 0
    for cut in cuts * (len(source) // len(cuts) + 1):
        if at >= len(source):
            break
        out.append(pass_.feed(source[at : at + cut]))
        at += cut
    assert b"".join(out) + pass_.finish() == whole


class Inserts:
    """Puts a mark in front of every c."""

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        return len(window), [Edit(m.start(), m.start(), b"^") for m in re.finditer(b"c", window)]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_what_no_edit_covers_is_identical(data: bytes, size: int) -> None:
    assert run(Pass([(_Runner("none"), Words({}))], Budget()), data, size) == data


class Raises:
    def __init__(self, after: int) -> None:
        self.after = after

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        self.after -= 1
        if self.after < 0:
            raise RuntimeError("plugin is broken")
        return Words({b"a": b"X"}).scan(window, final)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_plugin_that_raises_never_loses_a_byte_and_the_others_go_on(after: int) -> None:
    bad, good = _Runner("bad"), _Runner("good")
    pass_ = Pass([(bad, Raises(after)), (good, Words({b"b": b"Y"}))], Budget())
    out = run(pass_, b"a b a b a b ", 2)
    assert out.replace(b"X", b"a") == b"a Y a Y a Y "
    assert bad.errors == ["plugin is broken"]
    assert bad.good == 0
    assert good.good == 1


@pytest.mark.parametrize(
    "result",
    [
        None,
        (1,),
        ("1", []),
        (99, []),
        (-1, []),
        (3, None),
        (3, [(0, 1)]),
        (3, [(0, 1, "text")]),
        (3, [(1, 0, b"")]),
        (3, [(2, 3, b""), (0, 1, b"")]),
        (3, [(0, 2, b""), (1, 3, b"")]),
        (1, [(0, 2, b"")]),
        (3, [(0.0, 1, b"")]),
    ],
)
def test_an_invalid_result_counts_as_an_error_and_the_original_passes(result: object) -> None:
    class Wrong:
        def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
            return result  # type: ignore[return-value] # the mistake

    runner = _Runner("wrong")
    assert run(Pass([(runner, Wrong())], Budget()), b"abc", 3) == b"abc"
    assert len(runner.errors) == 1


def test_a_plugin_that_hoards_is_dropped_and_nothing_is_lost() -> None:
    class Hoards:
        def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
            return 0, []

    runner = _Runner("hoards")
    pass_ = Pass([(runner, Hoards())], Budget(held=20_000))
    data = b"x" * 100_000
    parts = [pass_.feed(data[i : i + 1000]) for i in range(0, len(data), 1000)]
    assert b"".join(parts) + pass_.finish() == data
    assert len(runner.errors) == 1
    assert "memory budget" in runner.errors[0]
    assert sum(map(len, parts)) > 0  # it passed before the end


def test_a_slow_plugin_is_dropped_for_the_body() -> None:
    now = [0.0]

    class Slow:
        def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
            now[0] += 1.0
            return len(window), []

    runner = _Runner("slow")
    pass_ = Pass([(runner, Slow())], Budget(step=0.1, slow_steps=3), clock=lambda: now[0])
    assert run(pass_, b"x" * 10, 1) == b"x" * 10
    assert now[0] == 3.0
    assert "too slow" in runner.errors[0]


def test_a_plugin_that_writes_without_end_is_stopped() -> None:
    runner = _Runner("writer")
    pass_ = Pass([(runner, Words({b"a": b"z" * 100}))], Budget(inserted=250))
    assert run(pass_, b"a a a a ", 2) == b"z" * 100 + b" " + b"z" * 100 + b" a a "
    assert len(runner.errors) == 1


def test_a_shadow_plugin_shows_its_edits_and_changes_nothing() -> None:
    shadow = _Runner("shadow", shadow=True)
    assert run(Pass([(shadow, Words({b"a": b"X"}))], Budget()), b"a b a", 2) == b"a b a"
    assert shadow.shown == [(b"a", b"X"), (b"a", b"X")]


def test_an_unfinished_token_costs_linear_work() -> None:
    calls = []

    class Never:
        def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
            calls.append(len(window))
            return (len(window) if final else 0), []

    data = b"x" * 300_000
    assert run(Pass([(_Runner("never"), Never())], Budget()), data, 500) == data
    assert sum(calls) < 8 * len(data)
