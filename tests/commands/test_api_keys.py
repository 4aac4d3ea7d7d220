"""API keys from the command line, on a real database."""

import json
from typing import Any


def test_a_key_is_created_listed_and_revoked(zenzefi: Any) -> None:
    zenzefi("user", "create", "ann@example.com", ZENZEFI_PASSWORD="correct horse battery")
    asked = ("key", "create", "ann@example.com", "--name", "nightly", "--permission")
    refused = zenzefi(*asked, "admin:read")
    assert refused.exit_code == 1
    assert "Superuser permissions required" in refused.stderr
    assert zenzefi(*asked, "everything").exit_code == 2
    made = zenzefi(*asked, "buy", "--permission", "tokens:read")
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert key.startswith("znk_")
    listed = zenzefi("key", "list", "ann@example.com", "--json")
    (found,) = json.loads(listed.stdout)
    assert key not in listed.stdout
    assert found["permissions"] == ["buy", "tokens:read"]
    assert zenzefi("key", "revoke", found["id"]).stdout == "Revoked nightly.\n"
    assert "revoked" in zenzefi("key", "list", "ann@example.com").stdout
    unknown = zenzefi("key", "revoke", "00000000-0000-4000-8000-000000000000")
    assert unknown.exit_code == 1
