"""Permissions of API keys, and the one that an operation requires.

Users who sign in have all of them. A key has those that its owner chose, and never more than its
owner: the checks of the user apply as well.
"""

from __future__ import annotations

from enum import StrEnum


class KeyPermission(StrEnum):
    """One permission of an API key."""

    ACCOUNT_READ = "account:read"
    """See name, e-mail address and balance."""
    ACCOUNT_WRITE = "account:write"
    """Change the name."""
    TOKENS_READ = "tokens:read"
    """List access tokens, with their values, and sessions."""
    TOKENS_WRITE = "tokens:write"
    """Revoke access tokens, release devices, end sessions."""
    MONEY_READ = "money:read"
    """See balance, transactions, payments and bundles."""
    BUY = "buy"
    """Spend the balance on access tokens and bundles, and start payments."""
    ADMIN_READ = "admin:read"
    """Read everything that administrators see."""
    ADMIN_WRITE = "admin:write"
    """Make the changes that administrators may make, except of accounts."""
    ADMIN_ACCOUNTS = "admin:accounts"
    """Change accounts: roles, addresses, sign-ins, deletion. Allows to take over accounts."""

    @property
    def is_administrative(self) -> bool:
        """Whether only keys of administrators can have it."""
        return self.value.startswith("admin:")


_GROUPS = {
    "Accounts": (KeyPermission.ACCOUNT_READ, KeyPermission.ACCOUNT_WRITE),
    "Tokens": (KeyPermission.TOKENS_READ, KeyPermission.TOKENS_WRITE),
    "Money": (KeyPermission.MONEY_READ, KeyPermission.BUY),
    "Administration": (KeyPermission.ADMIN_READ, KeyPermission.ADMIN_WRITE),
}
"""For each group of operations: the permission to read, and the one to change."""


def default_permission(group: str, method: str) -> KeyPermission:
    """The permission for an operation of ``group`` that names no other.

    Raises ``TypeError`` for an unknown group: a new one must be listed here.
    """
    if group not in _GROUPS:
        raise TypeError(f"no permissions for the group {group}")
    return _GROUPS[group][0 if method == "GET" else 1]
