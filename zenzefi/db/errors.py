"""Errors of the database."""

from __future__ import annotations

from zenzefi.errors import Unavailable


class DatabaseUnavailable(Unavailable):
    """The database is unreachable or too slow, and the cache can't serve the request."""

    code = "database_unavailable"


class DatabaseNotWritable(DatabaseUnavailable):
    """The database rejects writes: its disk is full, or it is a read-only standby."""

    code = "database_not_writable"
    default = "The service can't save changes right now. Try again in a moment."
