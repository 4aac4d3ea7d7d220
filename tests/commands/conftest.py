from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.kit.gate_process import GateProcess
from zenzefi.cli import main


@pytest.fixture
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GateProcess]:
    """A running gate; parametrize it with settings."""
    running = GateProcess(str(tmp_path), **getattr(request, "param", {}))
    yield running
    running.stop()


@pytest.fixture(params=["postgresql", "embedded"])
def zenzefi(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run ``zenzefi ...`` in this process; the standard input is not a terminal."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FREE_FOR_ALL", "true")
    if request.param == "postgresql":
        monkeypatch.setenv("DATABASE_URL", request.getfixturevalue("postgres_database"))
        monkeypatch.setenv("REDIS_URL", request.getfixturevalue("redis_url"))
        monkeypatch.setenv("ZENZEFI_TARGET_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("SECRET_KEY", "kV7w2-Lr9xQz4TnB8mYc3Hd6Jp5Gs1Fa")

    def run(*args: str, input: str | None = None, **env: str) -> Result:
        return CliRunner().invoke(main, args, input=input, env=env, catch_exceptions=False)

    return run
