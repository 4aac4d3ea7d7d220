"""``SECRET_KEY``: which keys are too weak, and the generated key of the embedded default."""

from __future__ import annotations

import math
import os
import re
import secrets
from itertools import pairwise
from pathlib import Path

from zenzefi.settings.errors import SettingsError

HOW_TO_GENERATE = 'Generate one with: python -c "import secrets; print(secrets.token_urlsafe(48))"'
_MIN_LENGTH = 32
_MIN_ENTROPY = 3.0  # bits per character
_GUESSABLE = re.compile(r"(?i)secret|password|change.?me|example|12345678|qwerty|your[-_ ]")


def weakness(key: str) -> str | None:
    """Why an attacker might guess this key, as the end of a sentence; ``None`` for a strong key."""
    if len(key) < _MIN_LENGTH:
        return f"is shorter than {_MIN_LENGTH} characters"
    if _entropy(key) < _MIN_ENTROPY or _is_patterned(key) or _GUESSABLE.search(key):
        return "can be guessed (repetitive, or made of common words)"
    return None


def _is_patterned(key: str) -> bool:
    """Whether the key counts up or down or repeats itself, which random keys do not."""
    steps = sum(abs(ord(a) - ord(b)) <= 1 for a, b in pairwise(key))
    threes = {key[at : at + 3] for at in range(len(key) - 2)}
    return 2 * steps > len(key) or 3 * len(threes) < 2 * (len(key) - 2)


def _entropy(key: str) -> float:
    """Shannon entropy in bits per character, from the frequencies of the characters."""
    return -sum(p * math.log2(p) for p in (key.count(c) / len(key) for c in set(key)))


def load_or_generate(folder: Path) -> str:
    """Return the key stored in ``folder``; the first call generates it, readable by its owner only.

    Raises :class:`SettingsError` if the folder is not usable.
    """
    path = folder / "secret_key"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii").strip()
        key = secrets.token_urlsafe(48)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
        return key
    except OSError as error:
        raise SettingsError([f"DATA_DIR: {folder} can't be used ({error.strerror})."]) from error
