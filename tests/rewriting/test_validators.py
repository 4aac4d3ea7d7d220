"""Validators: derived, mapped back, never lost where a precondition depends on them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zenzefi.rewriting import validators

OPAQUE = st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E), max_size=20)
KEY = "0123abcd"


@given(OPAQUE, st.booleans())
def test_a_derived_tag_maps_back_to_the_very_tag(opaque: str, weak: bool) -> None:
    tag = f'{"W/" if weak else ""}"{opaque}"'
    derived = validators.derive(tag, KEY)
    assert derived is not None
    assert derived.startswith('W/"')
    assert validators.if_none_match(derived, KEY) == validators.original(tag, KEY) or tag


def test_the_strength_of_the_original_is_remembered() -> None:
    assert validators.derive('"v1"', KEY) == 'W/"v1~zs0123abcd"'
    assert validators.derive('W/"v1"', KEY) == 'W/"v1~zw0123abcd"'
    assert validators.if_none_match('W/"v1~zs0123abcd"', KEY) == '"v1"'
    assert validators.if_none_match('W/"v1~zw0123abcd"', KEY) == 'W/"v1"'


def test_deriving_twice_changes_nothing() -> None:
    derived = validators.derive('"v1"', KEY)
    assert derived is not None
    assert validators.derive(derived, "ffffffff") == derived


def test_a_malformed_tag_can_not_be_derived() -> None:
    assert validators.derive("v1", KEY) is None
    assert validators.derive('"a" "b"', KEY) is None


def test_a_stored_body_of_other_plugins_is_out_of_date() -> None:
    other = 'W/"v1~zsffffffff"'
    assert validators.if_none_match(other, KEY) is None
    assert validators.if_none_match(f'{other}, "v2"', KEY) == '"v2"'
    assert validators.if_none_match("*", KEY) == "*"
    assert validators.if_none_match('"plain", W/"weak"', KEY) == '"plain", W/"weak"'


def test_a_precondition_never_vanishes() -> None:
    assert validators.if_match('W/"v1~zs0123abcd"', KEY) == '"v1"'
    assert validators.if_match('W/"v1~zsffffffff"', KEY) == validators.NEVER
    assert validators.if_match("*", KEY) == "*"


def test_ranges_are_requested_only_where_the_response_is_not_rewritten() -> None:
    wants = validators.wants_whole
    assert wants("/page", "document", None)
    assert wants("/app.js", None, None)
    assert wants("/", None, None)
    assert not wants("/film.mp4", "video", None)
    assert not wants("/film.mp4", None, '"v1"')
    assert not wants("/film.mp4", None, "Wed, 21 Oct 2015 07:28:00 GMT")
    assert wants("/film.mp4", None, 'W/"v1~zs0123abcd"')
