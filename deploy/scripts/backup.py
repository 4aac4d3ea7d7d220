#!/usr/bin/env python3
"""backup.py FILE: write a backup of the gate's database to FILE.

The database is the one of DATABASE_URL, else the SQLite file in DATA_DIR. PostgreSQL: pg_dump's
custom format, one consistent snapshot while the gate serves. SQLite: the library's online backup.

The keys (SECRET_KEY, PREVIOUS_SECRET_KEYS) are not in it: without them a stolen backup opens
nothing, and nobody's token in it works any more. Keep them elsewhere, and keep them.

Needs nothing but Python and, for PostgreSQL, pg_dump (PG_DUMP names another one).
"""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit


def database() -> str:
    """The URL of the database that the settings in the environment name."""
    url = os.environ.get("DATABASE_URL")
    if url:
        return url.replace("+asyncpg", "").replace("+aiosqlite", "")
    folder = os.environ.get("DATA_DIR")
    if not folder:
        sys.exit("Set DATABASE_URL, or DATA_DIR for the embedded default.")
    return f"sqlite:///{Path(folder).absolute() / 'zenzefi.sqlite3'}"


def postgres(url: str) -> tuple[dict[str, str], str]:
    """The environment of PostgreSQL's programs, and the database's name.

    The password goes by the environment: arguments are seen in the process list.
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
    """Write the backup beside its final name first: a broken one never looks whole."""
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
