"""Billing: ledger, payments, payment providers, statements."""
