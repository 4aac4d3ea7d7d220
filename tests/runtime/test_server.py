"""The process that serves."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from zenzefi.runtime.server import run

async def main():
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))

resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
run(main())
"""


def limits(hard: int) -> str:
    program = PROGRAM.format(hard=hard)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_it_takes_as_many_descriptors_as_the_system_lets_it_have() -> None:
    assert limits(4096) == "4096 4096"
    assert limits(256) == "256 256"
