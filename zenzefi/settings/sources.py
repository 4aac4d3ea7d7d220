"""``<NAME>_FILE``: a setting whose value is in a file, as container platforms mount secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource


def read_secret_file(name: str) -> str | None:
    """Content of the file at ``<NAME>_FILE``, without trailing newlines; ``None`` if unset.

    Raises ``OSError`` and ``UnicodeDecodeError``.
    """
    path = os.environ.get(f"{name.upper()}_FILE")
    return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None


class SecretFiles(PydanticBaseSettingsSource):
    """Reads ``<NAME>_FILE`` for every setting.

    A file that can't be read leaves its field unset here; ``load_settings`` reports it.
    """

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        try:
            return read_secret_file(field_name), field_name, False
        except (OSError, UnicodeDecodeError):
            return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found
