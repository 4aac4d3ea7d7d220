"""``zenzefi check``: the settings against the real database, Redis and upstream."""

from __future__ import annotations

import asyncio
import dataclasses

import click

from zenzefi.commands.common import (
    Exit,
    as_json,
    json_option,
    plainly,
    quiet_libraries,
    read_settings,
)


@click.command()
@json_option
@plainly
async def check(wants_json: bool) -> None:
    """Test the settings against the real database, Redis and upstream, and say what works.

    Ends with 0 when all of it does, 3 when a setting is wrong, 4 when something can't be reached.
    """
    from zenzefi.db.engine import Database
    from zenzefi.ops import checks

    settings = read_settings()
    quiet_libraries()
    database = Database(settings.sqlalchemy_url)
    found = [checks.Check("settings", ok=True, detail="complete and consistent")]
    try:
        waiting = [
            checks.check_database(database, automatic=settings.is_embedded),
            checks.check_upstream(settings),
        ]
        if settings.redis_dsn is not None:
            waiting.insert(1, checks.check_redis(settings.redis_dsn))
        found += await asyncio.gather(*waiting)
    finally:
        await database.close()
    found.append(checks.check_key(settings))
    if wants_json:
        as_json(
            {
                "ok": all(one.ok for one in found),
                "checks": [dataclasses.asdict(one) for one in found],
            }
        )
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            mark = click.style("works", fg="green") if one.ok else click.style("FAILS", fg="red")
            click.echo(f"  {mark}  {one.name:<{width}}  {one.detail}")
    if not all(one.ok for one in found):
        raise SystemExit(Exit.UNAVAILABLE)
