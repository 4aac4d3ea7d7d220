"""Compare the gate with its peers: ``python -m bench.proxy [--quick]``.

Each round runs every case against every program in turn, so that other load on the machine affects
all of them alike. The table shows the median of the rounds. The load generator and the upstream
share the first core; the program under test has the second. Writes ``docs/benchmarks.md``, unless
the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import machine
from bench.proxy import report
from bench.proxy.cases import CASES
from bench.proxy.programs import ROOT
from bench.proxy.run import Plan, run


def main(load_before: float | None = None) -> int:
    """The command line. ``load_before``: the load average of the machine, if it was read before."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round; only prints")
    parser.add_argument("--force", action="store_true", help="run on a busy machine; only prints")
    parser.add_argument("--rounds", type=int, help="rounds (default 3; quick 1)")
    parser.add_argument("--seconds", type=float, help="seconds for each run (default 2; quick 0.2)")
    parser.add_argument("--peers", help="only programs whose name contains one of these (comma)")
    parser.add_argument("--cases", help="only cases whose name contains one of these (comma)")
    parser.add_argument("--json", type=Path, help="also write every measurement to this file")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md")
    given = parser.parse_args()
    before = machine.load() if load_before is None else load_before
    only_prints = given.quick or given.force or given.no_write
    refused = machine.refusal(before, force=only_prints)
    if refused is not None:
        print(refused, file=sys.stderr)
        return 2
    words = [word for word in (given.cases or "").split(",") if word]
    names = [word for word in (given.peers or "").split(",") if word]
    outcome = run(
        Plan(
            cases=[c for c in CASES if not words or any(word in c.name for word in words)],
            rounds=given.rounds or (1 if given.quick else 3),
            seconds=given.seconds or (0.2 if given.quick else 2),
            warm_up=0.2 if given.quick else 3,
            is_chosen=lambda name: not names or any(word in name for word in names),
        )
    )
    print(report.text(outcome))
    if given.json:
        given.json.write_text(
            json.dumps([vars(measurement) for measurement in outcome.measurements], indent=1)
        )
    if not (only_prints or names or words):
        report.write(outcome, ROOT / "docs" / "benchmarks.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
