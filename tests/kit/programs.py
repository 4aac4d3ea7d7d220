"""The web servers that the tests of ``deploy/`` run: where they are, how they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


def program(name: str) -> str | None:
    """The path of a program of this virtual environment, else of the system; ``None`` if missing.

    Caddy and Traefik come as wheels (extra ``test``), nginx is a package of the system.
    """
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{_SYSTEM}")


@contextlib.asynccontextmanager
async def serving(
    argv: Sequence[str | Path], folder: Path, is_ready: Callable[[], Awaitable[bool]]
) -> AsyncIterator[None]:
    """Run a server until the block ends. Its output goes to ``folder / "log"``.

    Raises ``AssertionError`` with that output when the process exits before ``is_ready`` returns
    true, and ``TimeoutError`` when it is not ready within 60 seconds.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )
    try:
        async with asyncio.timeout(60):
            while not await is_ready():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def run_program(
    *argv: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300
) -> str:
    """Run a program to its end; its failure is the test's, with what it said."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
