"""Signed values and the replacement of keys."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zenzefi.keys import Keyring, Signer

OLD, NEW = "o" * 40, "n" * 40


def test_a_signature_is_valid_for_its_parts_its_purpose_and_its_key_only() -> None:
    signer = Keyring(NEW).signer("cookies")
    signature = signer.sign("a", "b:c")
    assert signer.is_valid(signature, "a", "b:c")
    assert not signer.is_valid(signature, "a:b", "c")
    assert not signer.is_valid(signature, "a", "b")
    assert not signer.is_valid(signature[:-1], "a", "b:c")
    assert not signer.is_valid("", "a", "b:c")
    assert not Keyring(NEW).signer("forms").is_valid(signature, "a", "b:c")
    assert not Keyring(OLD).signer("cookies").is_valid(signature, "a", "b:c")


def test_signatures_of_a_previous_key_stay_valid_and_new_ones_use_the_newest_key() -> None:
    signer = Keyring(NEW, [OLD]).signer("cookies")
    assert signer.is_valid(Keyring(OLD).signer("cookies").sign("a"), "a")
    assert signer.sign("a") == Keyring(NEW).signer("cookies").sign("a")


def test_only_the_last_part_may_contain_a_colon() -> None:
    with pytest.raises(ValueError, match="last part"):
        Signer([b"k"]).sign("a:b", "c")


@pytest.mark.parametrize("text", ["\udc80", "\0", "ÿ", "😀"])
def test_any_text_can_be_verified(text: str) -> None:
    signer = Signer([b"k"])
    assert not signer.is_valid(text, "a")
    assert signer.is_valid(signer.sign(text), text)


def test_device_cookies_of_earlier_versions_have_the_same_signature() -> None:
    """HMAC-SHA-256 of ``mark:account``: these cookies are kept for a year."""
    key = HKDF(SHA256(), 32, salt=None, info=b"zenzefi:known-browser").derive(NEW.encode())
    expected = hmac.new(key, b"mark:account", hashlib.sha256).hexdigest()
    assert Keyring(NEW).signer("known-browser").sign("mark", "account") == expected
