"""A gate in a separate process whose memory, sockets and tasks a test can count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

from tests.kit.proxy_gates import PREFIX

ENDING = "E" * 64
"""A token that is revoked and added again while it is used (:meth:`MeasuredGate.revoke`)."""

_PROGRAM = textwrap.dedent(
    """
    import asyncio, gc, json, pathlib, sys, tempfile
    from aiohttp import web
    from tests.kit.event_loops import LOOPS
    from tests.kit.proxy_gates import TOKEN, MemoryTokenValidator, proxy_app
    from zenzefi.runtime.drain import GateRunner

    async def main(upstream, port, at_once, ending):
        tokens = MemoryTokenValidator()
        tokens.add(activated=True)
        tokens.add(ending, activated=True)
        app = proxy_app(
            tokens, pathlib.Path(tempfile.mkdtemp()), upstream, port,
            fast_lane=at_once, upstream_read_timeout=3, trusted_proxies="127.0.0.1",
        )
        runner = GateRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        errors = []
        loop.set_exception_handler(lambda _, context: errors.append(repr(context)[:2000]))
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line == "end\\n":
                tokens.revoke(ending)
                tokens.add(ending, activated=True)
                continue
            gc.collect()
            found = {
                "tasks": len(asyncio.all_tasks()),
                "open_connections": sum(map(len, tokens.open_connections.values())),
            }
            if line == "errors\\n":
                found = errors
            print(json.dumps(found), flush=True)

    with asyncio.Runner(loop_factory=LOOPS[sys.argv[5]]) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True", sys.argv[4]))
    """
)


class MeasuredGate:
    """``log`` is the file of its standard error, ``process_info`` its process for psutil."""

    def __init__(
        self, upstream: str, port: int, log: Path, *, loop: str, at_once: bool = True
    ) -> None:
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}{PREFIX}"
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, upstream, str(port), str(at_once), ENDING, loop],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                text=True,
            )
        self.process_info = psutil.Process(self.process.pid)
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def _send(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def revoke(self) -> None:
        """Revoke :data:`ENDING` and add it again."""
        self._send("end")

    def resident_bytes(self) -> int:
        """The size of its resident set."""
        return int(self.process_info.memory_info().rss)

    def count(self) -> dict[str, int]:
        self._send("count")
        return {**json.loads(self._line()), "descriptors": self.process_info.num_fds()}

    def errors(self) -> list[str]:
        """Calls of the event loop's exception handler, and tracebacks in the log."""
        self._send("errors")
        return [*json.loads(self._line()), *self.log.read_text().split("Traceback ")[1:]]

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
