"""Loads the settings and reports all mistakes at once: invalid values, conflicts, secret files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from zenzefi.settings.errors import SettingsConflict, SettingsError
from zenzefi.settings.model import Settings
from zenzefi.settings.secret_key import load_or_generate
from zenzefi.settings.sources import read_secret_file


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and validate the settings.

    On the embedded default a missing ``SECRET_KEY`` is generated and stored in ``DATA_DIR``.

    Raises :class:`SettingsError`, which lists every mistake.
    """
    given = dict(overrides or {})
    wrong = _unreadable_files()
    problems = list(wrong.values())
    settings = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        faults = error.errors()
        problems += [_sentence(fault) for fault in faults]
        wrong |= dict.fromkeys((str(fault["loc"][0]) for fault in faults if fault["loc"]), "")
        problems += _conflicts_of_valid_fields(wrong.keys(), given)
    except SettingsConflict as error:
        problems += [text for fields, text in error.conflicts if not fields & wrong.keys()]
    if settings is None or problems:
        raise SettingsError(problems)
    if not settings.secret_key.get_secret_value():
        settings.secret_key = SecretStr(load_or_generate(settings.data_dir))
    return settings


def unknown_settings() -> list[str]:
    """A sentence for each variable that looks like a misspelt setting, here or in ``.env``."""
    file = Settings.model_config.get("env_file")
    names = {*os.environ, *(dotenv_values(str(file)) if file else ())}
    return [
        f"Unknown setting {name}. Did you mean {meant}?" for name, meant in misspelt(names).items()
    ]


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Variables whose names resemble a setting but are none, each with the most similar setting."""
    known = {name.upper() for name in Settings.model_fields}
    stems = {_stem(name): name for name in known}
    found = {}
    for name in sorted({name.upper() for name in names}):
        plain = name.removesuffix("_FILE")
        if name not in known and plain not in known:
            for similar in difflib.get_close_matches(_stem(plain), stems, 1, 0.88):
                found[name] = stems[similar] + name[len(plain) :]
    return found


def _stem(name: str) -> str:
    """The words of a name without what is easily confused: plural, underscores, the prefix."""
    words = name.removeprefix("ZENZEFI_").split("_")
    return "".join(re.sub(r"(?<=...)(?:IES|Y|S)$", "", word) for word in words)


def _unreadable_files() -> dict[str, str]:
    found = {}
    for name in Settings.model_fields:
        try:
            read_secret_file(name)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            path = os.environ[f"{name.upper()}_FILE"]
            found[name] = f"{name.upper()}_FILE: {path} can't be read ({reason})."
    return found


def _conflicts_of_valid_fields(wrong: AbstractSet[str], given: Mapping[str, Any]) -> list[str]:
    """The conflicts among the fields that are valid alone.

    pydantic does not check conflicts when a field is invalid, so the fields ``wrong`` get their
    defaults here.
    """
    fields = Settings.model_fields
    defaults = {
        name: fields[name].get_default(call_default_factory=True) for name in wrong & fields.keys()
    }
    try:
        Settings(**{**given, **defaults})
    except SettingsConflict as error:
        return [text for involved, text in error.conflicts if not involved & wrong]
    except ValidationError:  # a mistake that shows up only without the others: reported next time
        return []
    return []


def _sentence(problem: Any) -> str:
    first, *inside = problem["loc"] or ("settings",)
    name = ".".join([str(first).upper(), *map(str, inside)])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}."
