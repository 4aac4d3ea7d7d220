"""Releasing memory that a process does not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from zenzefi.runtime.memory import _unwritten

PROGRAM = """
import json, re
from pathlib import Path
import zenzefi.settings, ssl
from zenzefi.runtime import memory

def sizes():
    text = Path("/proc/self/smaps_rollup").read_text()
    return {name: int(size) for name, size in re.findall(r"^(\\w+): +(\\d+) kB", text, re.M)}

memory.freeze()
before = sizes()
memory.release()
after = sizes()
# All of it still works, and comes back when it is used.
ssl.create_default_context()
import zenzefi.app
print(json.dumps([before, after, sizes()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_file_pages_go_and_everything_that_was_written_stays() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, after, later = json.loads(done.stdout)
    assert after["Rss"] < before["Rss"] - 2_000
    # Only free memory of malloc goes.
    assert after["Anonymous"] > before["Anonymous"] * 0.8
    assert later["Rss"] > after["Rss"]


SMAPS = """
55d0-55e0 r-xp 00002000 08:01 131 /usr/bin/python3
Rss:                  64 kB
Anonymous:             0 kB
55e0-55f0 r--p 00012000 08:01 131 /usr/bin/python3
Rss:                  64 kB
Anonymous:             4 kB
55f0-5600 rw-p 00022000 08:01 131 /usr/bin/python3
Anonymous:             0 kB
5600-5700 rw-p 00000000 00:00 0 [heap]
Anonymous:             0 kB
7f00-7f10 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f10-7f20 r--s 00000000 08:01 132 /tmp/shared
Anonymous:             0 kB
7f20-7f40 r--p 00000000 08:01 133 /usr/lib/library with spaces.so (deleted)
Size:                  8 kB
Anonymous:             0 kB
"""


def test_only_private_file_mappings_without_a_written_page_are_released() -> None:
    assert list(_unwritten(SMAPS.splitlines())) == [(0x55D0, 0x10), (0x7F20, 0x20)]
