"""Accounts: registration, sign-in, bearer tokens, page sessions, two-step sign-in."""
