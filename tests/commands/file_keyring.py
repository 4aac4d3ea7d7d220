"""A keyring for the tests: one JSON file, named by the environment."""

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class Backend(KeyringBackend):
    """Chosen by ``PYTHON_KEYRING_BACKEND``."""

    priority = 1

    def _kept(self) -> dict[str, str]:
        path = Path(os.environ["TEST_KEYRING"])
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _keep(self, values: dict[str, str]) -> None:
        Path(os.environ["TEST_KEYRING"]).write_text(json.dumps(values))

    def get_password(self, service: str, username: str) -> str | None:
        return self._kept().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._keep({**self._kept(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        values = self._kept()
        if values.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError("not kept")
        self._keep(values)
