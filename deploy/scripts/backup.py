#!/usr/bin/env python3
"""backup.py FILE: write a backup of the gate's database to FILE.

The database is DATABASE_URL, or else the SQLite file in DATA_DIR. PostgreSQL: pg_dump's
custom format, one consistent snapshot while the gate runs. SQLite: the library's online backup.

The keys (SECRET_KEY, PREVIOUS_SECRET_KEYS) are not included. Without them a stolen backup gives no
access, but the tokens in it cannot be used either: keep the keys in another place.

Needs only Python and, for PostgreSQL, pg_dump (PG_DUMP sets another program).
"""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


def database() -> str:
    """The URL of the database in the environment's settings."""
    url = os.environ.get("DATABASE_URL")
    if url:
        return url.replace("+asyncpg", "").replace("+aiosqlite", "")
    folder = os.environ.get("DATA_DIR")
    if not folder:
        sys.exit("Set DATABASE_URL, or DATA_DIR for the embedded default.")
    return f"sqlite:///{Path(folder).absolute() / 'zenzefi.sqlite3'}"


def postgres(url: str) -> tuple[dict[str, str], str]:
    """The environment of PostgreSQL's programs, and the database's name.

    The password is passed in the environment, because arguments are visible in the process list.
    """
    parts = urlsplit(url)
    env = {
        **os.environ,
        "PGHOST": parts.hostname or "localhost",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or "postgres"),
    }
    if parts.password:
        env["PGPASSWORD"] = unquote(parts.password)
    return env, unquote(parts.path.lstrip("/"))


def main() -> None:
    """Write the backup under a temporary name first: an incomplete one never gets FILE's name."""
    if len(sys.argv) != 2:
        sys.exit("usage: backup.py FILE")
    target, url = Path(sys.argv[1]), database()
    if target.exists():
        sys.exit(f"{target} exists already; nothing was written.")
    os.umask(0o077)
    part = target.with_name(target.name + ".part")
    try:
        if url.startswith("sqlite"):
            source = Path("/" + urlsplit(url).path.lstrip("/"))
            if not source.is_file():
                sys.exit(f"There is no database at {source}.")
            old = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
            new = sqlite3.connect(part)
            with new:
                old.backup(new)
            new.close()
            old.close()
        else:
            env, name = postgres(url)
            program = os.environ.get("PG_DUMP", "pg_dump")
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={part}"]
            done = subprocess.run([program, *options, name], env=env, check=False)
            if done.returncode != 0:
                sys.exit("pg_dump failed; nothing was written.")
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    print(f"Backed up to {target} ({target.stat().st_size} bytes).")


if __name__ == "__main__":
    main()
