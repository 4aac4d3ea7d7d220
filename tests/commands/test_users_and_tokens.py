"""Accounts and tokens from the command line, on a real database."""

import json
from typing import Any

import pytest

PASSWORD = "correct horse battery"


def made(zenzefi: Any, email: str = "ann@example.com", *more: str) -> dict[str, Any]:
    done = zenzefi("user", "create", email, "--json", *more, ZENZEFI_PASSWORD=PASSWORD)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_the_first_administrator_is_made_on_an_empty_machine(zenzefi: Any) -> None:
    done = zenzefi(
        "user", "create", "--admin", "boss@example.com", "--password-stdin", input=PASSWORD + "\n"
    )
    assert done.exit_code == 0, done.output
    assert "Created the administrator boss <boss@example.com>." in done.stdout
    (listed,) = json.loads(zenzefi("user", "list", "--json").stdout)
    assert listed["is_superuser"] is True
    assert "boss@example.com" in zenzefi("user", "list").stdout


def test_the_password_never_comes_from_the_arguments(zenzefi: Any) -> None:
    refused = zenzefi("user", "create", "ann@example.com")
    assert refused.exit_code == 2
    assert "--password-stdin" in refused.stderr
    assert zenzefi("user", "create", "ann@example.com", "--password", "x").exit_code == 2


@pytest.mark.parametrize(
    ("args", "password", "complaint"),
    [
        (("nonsense",), PASSWORD, "email:"),
        (("ann@example.com",), "short", "password:"),
        (("ann@example.com", "--username", "x"), PASSWORD, "username:"),
    ],
)
def test_an_invalid_account_is_reported_plainly(
    zenzefi: Any, args: tuple[str, ...], password: str, complaint: str
) -> None:
    refused = zenzefi("user", "create", *args, ZENZEFI_PASSWORD=password)
    assert refused.exit_code == 2
    assert complaint in refused.stderr
    assert "short" not in refused.stderr.replace("shorter", "")


def test_an_address_is_taken_once(zenzefi: Any) -> None:
    made(zenzefi)
    again = zenzefi("user", "create", "ann@example.com", ZENZEFI_PASSWORD=PASSWORD)
    assert again.exit_code == 1
    assert "Email already registered" in again.stderr


def test_promotion_and_demotion(zenzefi: Any) -> None:
    made(zenzefi)
    assert "is an administrator now" in zenzefi("user", "promote", "ANN@example.com").stdout
    assert json.loads(zenzefi("user", "list", "--json").stdout)[0]["is_superuser"] is True
    zenzefi("user", "demote", "ann@example.com")
    assert json.loads(zenzefi("user", "list", "--json").stdout)[0]["is_superuser"] is False
    nobody = zenzefi("user", "promote", "nobody@example.com")
    assert (nobody.exit_code, "no account has the address" in nobody.stderr) == (1, True)


def test_the_list_is_searched_literally(zenzefi: Any) -> None:
    made(zenzefi, "ann@example.com")
    made(zenzefi, "bob_b@example.com")
    found = json.loads(zenzefi("user", "list", "--search", "b_", "--json").stdout)
    assert [one["email"] for one in found] == ["bob_b@example.com"]


def test_a_token_is_issued_shown_and_revoked(zenzefi: Any) -> None:
    made(zenzefi)
    issued = zenzefi("token", "issue", "ann@example.com", "--hours", "1")
    assert issued.exit_code == 0, issued.output
    value = issued.stdout.strip()
    assert len(value) == 64
    (listed,) = json.loads(zenzefi("token", "list", "ann@example.com", "--json").stdout)
    assert listed["state"] == "ready"
    shown = zenzefi("token", "show", listed["id"])
    assert value not in shown.stdout
    assert "ann@example.com" in shown.stdout
    assert value in zenzefi("token", "show", listed["id"], "--reveal").stdout
    assert "Revoked. 0.00 ZNC" in zenzefi("token", "revoke", listed["id"]).stdout
    assert "revoked before" in zenzefi("token", "revoke", listed["id"]).stdout
    assert zenzefi("token", "list", "ann@example.com", "--active").stdout.strip() == "No tokens."


def test_an_unknown_scope_names_the_known_ones(zenzefi: Any) -> None:
    made(zenzefi)
    refused = zenzefi("token", "issue", "ann@example.com", "--scope", "everything")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("zenzefi: This gate knows the scopes: full")
