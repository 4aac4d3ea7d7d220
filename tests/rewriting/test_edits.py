import pytest

from zenzefi.rewriting.edits import Edit, EditConflict, apply, compose


def test_what_no_edit_covers_stays() -> None:
    assert apply(b"0123456789", [Edit(2, 4, b"ab"), Edit(4, 4, b"+"), Edit(9, 10, b"")]) == (
        b"01ab+45678"
    )


def test_no_edit_returns_the_very_input() -> None:
    data = b"unchanged"
    assert apply(data, []) is data


def test_an_offset_places_edits_in_a_stream() -> None:
    assert apply(b"world", [Edit(100, 105, b"gate")], offset=100) == b"gate"


def test_edits_of_several_sources_are_applied_in_the_order_of_their_places() -> None:
    edits, conflicts = compose([("a", [Edit(5, 6, b"x")]), ("b", [Edit(0, 1, b"y")])])
    assert edits == [Edit(0, 1, b"y"), Edit(5, 6, b"x")]
    assert conflicts == []


def test_the_first_source_wins_an_overlap_and_the_loss_is_reported() -> None:
    edits, conflicts = compose([("a", [Edit(2, 5, b"x")]), ("b", [Edit(4, 8, b"y")])])
    assert edits == [Edit(2, 5, b"x")]
    assert conflicts == [EditConflict(Edit(4, 8, b"y"), "b", Edit(2, 5, b"x"), "a")]


def test_an_edit_that_encloses_an_accepted_one_is_a_conflict() -> None:
    edits, conflicts = compose(
        [("a", [Edit(2, 3, b"x"), Edit(2, 2, b"i")]), ("b", [Edit(0, 9, b"y")])]
    )
    assert edits == [Edit(2, 2, b"i"), Edit(2, 3, b"x")]
    assert len(conflicts) == 1


def test_insertions_at_one_place_stay_in_the_order_of_the_sources() -> None:
    edits, conflicts = compose([("a", [Edit(3, 3, b"1")]), ("b", [Edit(3, 3, b"2")])])
    assert apply(b"abcdef", edits) == b"abc12def"
    assert conflicts == []


@pytest.mark.parametrize("place", [2, 5])
def test_an_insertion_may_stand_at_a_border_of_a_replacement(place: int) -> None:
    for sources in (
        [("a", [Edit(2, 5, b"x")]), ("b", [Edit(place, place, b"!")])],
        [("b", [Edit(place, place, b"!")]), ("a", [Edit(2, 5, b"x")])],
    ):
        edits, conflicts = compose(sources)
        assert conflicts == []
        assert apply(b"abcdefg", edits) == (b"ab!xfg" if place == 2 else b"abx!fg")


def test_an_insertion_inside_a_replacement_is_a_conflict() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        spans = {"a": Edit(2, 5, b"x"), "b": Edit(3, 3, b"!")}
        edits, conflicts = compose([(first, [spans[first]]), (second, [spans[second]])])
        assert edits == [spans[first]]
        assert [c.dropped for c in conflicts] == [spans[second]]


def test_the_same_replacement_named_twice_counts_once() -> None:
    edits, conflicts = compose([("a", [Edit(2, 5, b"x")]), ("b", [Edit(2, 5, b"x")])])
    assert edits == [Edit(2, 5, b"x")]
    assert conflicts == []


def test_an_edit_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="plugin"):
        compose([("plugin", [Edit(5, 4, b"")])])
