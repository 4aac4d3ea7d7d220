"""A new SQLite file, opened by several programs at once."""

import asyncio
from pathlib import Path

from sqlalchemy import text

from zenzefi.db.engine import Database


async def _look(database: Database) -> str:
    async with database.read() as connection:
        return str((await connection.execute(text("PRAGMA journal_mode"))).scalar_one())


async def test_many_that_open_a_new_file_at_once_all_get_it(tmp_path: Path) -> None:
    for attempt in range(30):
        url = f"sqlite+aiosqlite:///{tmp_path / str(attempt)}.sqlite3"
        programs = [Database(url) for _ in range(8)]
        try:
            assert await asyncio.gather(*map(_look, programs)) == ["wal"] * len(programs)
        finally:
            for program in programs:
                await program.close()
