"""Settings are validated at start, and every mistake is reported at once."""

import base64
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from zenzefi.runtime import listening
from zenzefi.settings import Settings, SettingsError, load_settings

GOOD_KEY = "N3pTqzH0aYw7uVJrKc8dXf2LmB5sGe9RiOoUtZ1W"
PRODUCTION = {
    "SECRET_KEY": GOOD_KEY,
    "DATABASE_URL": "postgresql://gate@db/gate",
    "ZENZEFI_TARGET_URL": "https://app.example",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run without the settings of this machine and without ``.env``."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


def set_environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return caught.value.problems


def test_the_embedded_default_generates_its_secret_key(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.is_embedded
    kept = tmp_path / "data" / "secret_key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert load_settings().secret_key == settings.secret_key


def test_production_settings_load(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **PRODUCTION)
    settings = load_settings()
    assert settings.sqlalchemy_url == "postgresql+asyncpg://gate@db/gate"
    assert str(settings.target_origin) == "https://app.example"


def test_invalid_values_and_conflicts_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_environment(
        monkeypatch,
        POSTGRES_SERVER="db",
        POSTGRES_PORT="many",
        ZENZEFI_BASIC_AUTH_USER="gate",
        PAYMENT_PROVIDERS="mock",
        TRUSTED_PROXIES="10.0.0.0/8, anywhere",
        SCOPES='{"full": ["/"]}',
        PLUGIN_OPTIONS="{bad",
        ZENZEFI_CA_FILE="absent.pem",
    )
    reported = "\n".join(problems())
    assert len(problems()) == 10
    assert "SCOPES: the scope 'full' is built in" in reported
    assert "PLUGIN_OPTIONS: must be a JSON object (" in reported
    assert "ZENZEFI_CA_FILE: absent.pem can't be used (No such file or directory)" in reported
    assert "POSTGRES_PORT: " in reported
    assert "TRUSTED_PROXIES: 'anywhere' does not appear to be an IPv4 or IPv6 network" in reported
    assert "POSTGRES_SERVER, POSTGRES_USER and POSTGRES_DB go together" in reported
    assert "ZENZEFI_BASIC_AUTH_USER and ZENZEFI_BASIC_AUTH_PASSWORD" in reported
    assert "'mock' credits money without a payment" in reported
    assert "ZENZEFI_TARGET_URL is required" in reported
    assert "SECRET_KEY is required" in reported


def test_an_invalid_value_is_not_reported_again_as_a_missing_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_environment(monkeypatch, **PRODUCTION, DEBUG="perhaps")
    set_environment(monkeypatch, ZENZEFI_TARGET_URL="https://app.example/with/path")
    assert sorted(line.split(":")[0] for line in problems()) == ["DEBUG", "ZENZEFI_TARGET_URL"]


def test_a_secret_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(GOOD_KEY + "\n")
    set_environment(monkeypatch, **PRODUCTION)
    monkeypatch.delenv("SECRET_KEY")
    set_environment(monkeypatch, SECRET_KEY_FILE=str(tmp_path / "key"))
    assert load_settings().secret_key.get_secret_value() == GOOD_KEY


def test_unreadable_secret_files_are_reported_with_the_other_mistakes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_environment(monkeypatch, **PRODUCTION, REDIS_PORT="0")
    monkeypatch.delenv("SECRET_KEY")
    set_environment(monkeypatch, SECRET_KEY_FILE=str(tmp_path / "absent"))
    set_environment(monkeypatch, REDIS_PASSWORD_FILE=str(tmp_path))
    reported = "\n".join(problems())
    assert len(problems()) == 3
    assert f"SECRET_KEY_FILE: {tmp_path / 'absent'} can't be read" in reported
    assert "REDIS_PASSWORD_FILE" in reported
    assert "REDIS_PORT" in reported


@pytest.mark.parametrize(
    "key",
    [
        "Qx7",
        "password" * 8,
        "ab" * 30,
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop",
        "0123456789abcdefghijklmnopqrstuvwxyz",
        "zyxwvutsrqponmlkjihgfedcba9876543210",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef",
        "aabbccddeeffgghhiijjkkllmmnnooppqq",
        "k9Fw2mXtZ7pL" * 4,
        "k9Fw2mXtZ7pLq3Vb" * 2,
    ],
)
def test_a_weak_key_is_refused_outside_development(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    set_environment(monkeypatch, **{**PRODUCTION, "SECRET_KEY": key})
    (reported,) = problems()
    assert reported.startswith("SECRET_KEY")
    assert key not in reported
    set_environment(monkeypatch, DEBUG="true")
    assert load_settings().secret_key.get_secret_value() == key


def test_a_key_generated_as_recommended_is_never_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    makers: tuple[Callable[[], str], ...] = (
        partial(secrets.token_urlsafe, 48),
        partial(secrets.token_hex, 32),
        lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
        lambda: str(uuid4()),
    )
    for make in makers:
        for _ in range(50):
            key = make()
            set_environment(monkeypatch, SECRET_KEY=key)
            assert load_settings().secret_key_weakness is None, key


def test_a_weak_key_is_accepted_with_a_warning_on_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_environment(monkeypatch, SECRET_KEY="password" * 8, BACKEND_URL="http://127.0.0.1:8000")
    weakness = load_settings().secret_key_weakness
    assert weakness is not None
    assert weakness.startswith("SECRET_KEY can be guessed")
    set_environment(monkeypatch, BACKEND_URL="https://gate.example.org")
    assert problems() == [weakness]
    set_environment(monkeypatch, SECRET_KEY=GOOD_KEY)
    assert load_settings().secret_key_weakness is None


def test_mail_in_the_log_needs_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **PRODUCTION, MAIL_URL="log:")
    (reported,) = problems()
    assert reported.startswith("MAIL_URL: log:")
    set_environment(monkeypatch, DEBUG="true")
    assert load_settings().mail_url is not None


PRIVATE = ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1", "[::1]"]
PUBLIC = ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "203.0.113.9", "fe80::1%eth0", "gate.example"]


@pytest.mark.parametrize("host", [*PRIVATE, *PUBLIC])
@pytest.mark.parametrize("more", [{}, {"BACKEND_URL": "http://127.0.0.1:8000"}])
def test_a_weak_key_is_refused_on_an_address_that_other_machines_reach(
    monkeypatch: pytest.MonkeyPatch, host: str, more: dict[str, str]
) -> None:
    set_environment(monkeypatch, SECRET_KEY="password", FREE_FOR_ALL="true", **more)
    settings = load_settings()
    problem = listening.problem(settings, [host])
    assert (problem is None) == (host in PRIVATE)
    assert problem is None or ("SECRET_KEY" in problem and '"password"' not in problem)
    assert listening.warnings(settings, [host]) == []
    set_environment(monkeypatch, SECRET_KEY=GOOD_KEY)
    assert listening.problem(load_settings(), [host]) is None


@pytest.mark.parametrize("host", [*PRIVATE, *PUBLIC])
def test_debug_on_an_address_that_other_machines_reach_logs_a_warning(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    set_environment(monkeypatch, SECRET_KEY="password", DEBUG="true")
    settings = load_settings()
    assert listening.problem(settings, [host]) is None
    assert bool(listening.warnings(settings, [host])) == (host in PUBLIC)
    set_environment(monkeypatch, BACKEND_URL="https://gate.example")
    assert listening.warnings(load_settings(), [host])


def test_no_message_contains_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, **PRODUCTION)
    set_environment(monkeypatch, DATABASE_URL="mysql://root:hunter2@db/gate", REDIS_PORT="hunter2")
    reported = "\n".join(problems())
    assert "DATABASE_URL" in reported
    assert "hunter2" not in reported
