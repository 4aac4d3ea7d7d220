"""Sections of ``docs/benchmarks.md`` that a benchmark writes."""

from __future__ import annotations

from pathlib import Path


def write(mark: str, program: str, section: str, path: Path) -> None:
    """Put a section between the markers of ``mark``, or at the end of the page without them.

    ``program`` is the module that writes it.
    """
    begin = f"<!-- {mark}: begin (written by `python -m {program}`; do not edit) -->"
    end = f"<!-- {mark}: end -->"
    page = path.read_text()
    block = f"{begin}\n\n{section.rstrip()}\n\n{end}\n"
    if begin in page:
        before, rest = page.split(begin, 1)
        page = before + block + rest.split(end, 1)[1].removeprefix("\n")
    else:
        page = page.rstrip() + "\n\n" + block
    path.write_text(page)
