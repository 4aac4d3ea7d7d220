"""A program killed while it works: ``python -m tests.billing.crashing_process URL USER``.

Reads lines ``ACT N BUNDLES...``, does the act in a separate process that dies by SIGKILL right
after its Nth statement, and prints how it ended: ``killed``, or ``done`` when it was complete.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any
from uuid import UUID

from sqlalchemy import event

from tests.kit.billing_model import ACTS, BillingModel
from zenzefi.db.engine import Database


async def _act(url: str, user: str, name: str, last: int, bundles: list[str]) -> None:
    database = Database(url)
    left = last

    def executed(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(database.engine.sync_engine, "after_cursor_execute", executed)
    model = BillingModel(database, UUID(user))
    model.bundle_ids = [UUID(one) for one in bundles]
    await ACTS[name](model)


def main() -> None:
    """Serve until the input ends."""
    url, user = sys.argv[1:]
    for line in sys.stdin:
        name, last, *bundles = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(_act(url, user, name, int(last), bundles))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        done = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        print("killed" if killed else "done" if done else f"failed: {status}", flush=True)


if __name__ == "__main__":
    main()
