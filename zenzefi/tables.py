"""All tables of the program in one metadata: for migrations and for the drift test."""

from __future__ import annotations

import zenzefi.accounts.models
import zenzefi.api.idempotency
import zenzefi.audit.models
import zenzefi.billing.models
import zenzefi.db.probe
import zenzefi.mail.models
import zenzefi.runtime.nodes
import zenzefi.tokens.models  # noqa: F401 - imported for the tables they declare
from zenzefi.db.base import metadata

__all__ = ["metadata"]
