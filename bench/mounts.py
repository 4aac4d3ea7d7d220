"""The cost of each mount: changed lines and function calls for one body.

``python -m bench.mounts`` prints the table of ``docs/how-to/choose-a-mount.md``. Calls are counted
by cProfile and do not depend on the load of the machine.
"""

from __future__ import annotations

import cProfile
import difflib
import pstats

from zenzefi.plugins_testing import MountName, exchange
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ROUNDS = 20
LINK = b'<p><a href="/item">a link</a> and some text of a paragraph</p>\n'
BODIES = {
    "page, 150 links": ("text/html", b"<html><head></head><body>\n" + LINK * 150),
    "style sheet, 50 addresses": ("text/css", b"a { background: url(/img/a.png) }\n" * 50),
    "script, 10 kB": ("text/javascript", b"export const twice = (x) => x * 2;\n" * 290),
    "API response, 10 kB": ("application/json", b'{"name":"lamp","price":15}\n' * 370),
}
MOUNTS: dict[str, MountName] = {"prefix": "prefix", "separate origin": "root", "client": "client"}


def _destination(content_type: str) -> str:
    return {"text/html": "document", "text/css": "style", "text/javascript": "script"}.get(
        content_type, "empty"
    )


def row(engine: Engine, content_type: str, data: bytes, mount: MountName) -> str:
    """Changed lines and calls."""

    def one() -> bytes:
        head = exchange(
            headers={"Content-Type": content_type},
            mount=mount,
            destination=_destination(content_type),
        )
        search = engine.origin_search(head)
        if search is not None and not search.finds(data, ""):
            return data
        rewrite = engine.plan(head)
        return data if rewrite is None else rewrite.feed(data) + rewrite.finish()

    before, after = data.decode().splitlines(), one().decode().splitlines()
    changed = sum(line.startswith("+ ") for line in difflib.ndiff(before, after))
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(ROUNDS):
        one()
    profile.disable()
    calls = pstats.Stats(profile).total_calls / ROUNDS  # type: ignore[attr-defined] # no stub
    return f"{changed} of {len(before)} lines, {calls:.0f} calls"


def main() -> None:
    engine = Engine(Registry([bundled("plugins")], entry_points=False))
    print("| body |", " | ".join(MOUNTS), "|")
    print("|---|" + "---|" * len(MOUNTS))
    for name, (content_type, data) in BODIES.items():
        cells = [row(engine, content_type, data, mount) for mount in MOUNTS.values()]
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
