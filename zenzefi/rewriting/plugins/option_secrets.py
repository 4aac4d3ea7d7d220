"""Secrets among the options of plugins: read from the environment or from a file.

An option of the type ``pydantic.SecretStr`` may be given as ``{"env": "NAME"}`` or
``{"file": "/run/secrets/name"}`` instead of its value, so that ``PLUGIN_OPTIONS`` holds no secret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

_LONGEST = 64 * 1024


class SecretMissing(Exception):
    """A secret can't be read; the text names the option and the reason, never a value."""


def with_secrets(options: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with their secrets in place. Raises :class:`SecretMissing`."""
    return {
        name: _secret(name, value)
        if name in options.model_fields and _is_secret(options.model_fields[name].annotation)
        else value
        for name, value in given.items()
    }


def _is_secret(annotation: object) -> bool:
    arguments = getattr(annotation, "__args__", ())
    return annotation is SecretStr or SecretStr in arguments


def _secret(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    match value:
        case {"env": str(variable), **rest} if not rest:
            if variable not in os.environ:
                raise SecretMissing(f"{name}: the variable {variable} is not set.")
            return os.environ[variable]
        case {"file": str(file), **rest} if not rest:
            try:
                with Path(file).open("rb") as source:
                    data = source.read(_LONGEST + 1)
                text = data.decode()
            except (OSError, UnicodeDecodeError) as error:
                raise SecretMissing(f"{name}: {file} can't be read: {error}.") from None
            if len(data) > _LONGEST:
                raise SecretMissing(f"{name}: {file} is longer than {_LONGEST} bytes.")
            return text.rstrip("\r\n")
        case _:
            raise SecretMissing(f'{name}: a secret is a text, {{"env": ...}} or {{"file": ...}}.')


def secrets_digest(options: object) -> str:
    """A digest that changes with the secrets among the options, ``""`` without any."""
    if not isinstance(options, BaseModel):
        return ""
    values = [getattr(options, name) for name in type(options).model_fields]
    secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    return hashlib.sha256("\0".join(secrets).encode()).hexdigest() if secrets else ""
