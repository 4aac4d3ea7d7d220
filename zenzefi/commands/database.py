"""``zenzefi migrate``: the database's schema."""

from __future__ import annotations

import click

from zenzefi.commands.common import (
    as_json,
    json_option,
    plainly,
    progress,
    quiet_libraries,
    read_settings,
)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail when the schema is outdated.")
@json_option
@plainly
async def migrate(check: bool, wants_json: bool) -> None:
    """Migrate the database to the schema that this program needs.

    Safe to run from several nodes at once. On the embedded default, `serve` migrates by itself.
    """
    from zenzefi.db import migrate as schema
    from zenzefi.db.engine import Database

    quiet_libraries()
    database = Database(read_settings().sqlalchemy_url)
    try:
        before = await schema.current(database)
        with progress("Bringing the schema up to date"):
            await schema.ensure(database, automatic=not check)
        after = await schema.current(database)
    finally:
        await database.close()
    if wants_json:
        as_json({"before": before, "after": after, "changed": before != after})
    elif before == after:
        click.echo(f"The schema is up to date ({after}).")
    else:
        click.echo(f"Migrated from {before or 'an empty database'} to {after}.")
