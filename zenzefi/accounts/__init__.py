"""Accounts: registration, sign-in, bearer tokens."""
