#!/usr/bin/env python3
"""restore.py FILE: fill an empty database from a backup made by backup.py.

Refuses a database that is not empty. Restore into a new one, check it (zenzefi check, zenzefi user
list), then point DATABASE_URL at it. Redis needs no restore. Sign-ins and tokens need the
SECRET_KEY that was in use when the backup was made (or that key in PREVIOUS_SECRET_KEYS).

Needs only Python and, for PostgreSQL, pg_restore and psql (PG_RESTORE and PSQL set other programs).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))
from backup import database, postgres

_TABLES = (
    "SELECT count(*) FROM information_schema.tables "
    "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
)


def main() -> None:
    """All or nothing: PostgreSQL in one transaction, SQLite by one rename."""
    if len(sys.argv) != 2:
        sys.exit("usage: restore.py FILE")
    source, url = Path(sys.argv[1]), database()
    if not source.is_file():
        sys.exit(f"There is no backup at {source}.")
    if url.startswith("sqlite"):
        target = Path("/" + urlsplit(url).path.lstrip("/"))
        if target.exists():
            sys.exit(f"{target} exists already; nothing was changed. Move it away first.")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        shutil.copyfile(source, part)
        part.chmod(0o600)
        part.rename(target)
    else:
        env, name = postgres(url)
        psql = os.environ.get("PSQL", "psql")
        found = subprocess.run(
            [psql, "-XAtc", _TABLES, name], env=env, capture_output=True, text=True, check=False
        )
        if found.returncode != 0:
            sys.exit(f"The database can't be queried: {found.stderr.strip()}")
        if found.stdout.strip() != "0":
            sys.exit(f"The database {name} is not empty; nothing was changed.")
        restore = os.environ.get("PG_RESTORE", "pg_restore")
        options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        done = subprocess.run(
            [restore, *options, f"--dbname={name}", str(source)], env=env, check=False
        )
        if done.returncode != 0:
            sys.exit("pg_restore failed; nothing was changed.")
    print(f"Restored from {source}. Next: zenzefi migrate, zenzefi check")


if __name__ == "__main__":
    main()
