from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.gate import Gate


@pytest.fixture
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gate]:
    """A running gate; parametrize it with settings."""
    running = Gate(str(tmp_path), **getattr(request, "param", {}))
    yield running
    running.stop()
