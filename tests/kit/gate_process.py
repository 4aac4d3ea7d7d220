"""A gate in a separate process, as an operator starts it."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def environment(data_dir: str, **settings: str) -> dict[str, str]:
    """The machine's environment with these settings only; tokens are free unless they say so."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "LC_ALL") if k in os.environ}
    own = {"DATA_DIR": data_dir, "PYTHONPATH": str(ROOT), "FREE_FOR_ALL": "true"}
    return {**kept, **own, **settings}


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: dict[str, str]
    body: bytes


class GateProcess:
    """``zenzefi serve`` on a free port; ``announcement`` is what it said when it was ready."""

    def __init__(
        self,
        data_dir: str,
        *args: str,
        program: tuple[str, ...] = (sys.executable, "-m", "zenzefi"),
        in_checkout: bool = True,
        **settings: Any,
    ) -> None:
        env = environment(data_dir, **settings)
        if not in_checkout:
            del env["PYTHONPATH"]
        self.process = subprocess.Popen(
            [*program, "serve", "--port", "0", *args],
            env=env,
            cwd=data_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._output: list[str] = []
        self._ready = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_errors, daemon=True),
            threading.Thread(target=self._read_output, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        assert self._ready.wait(240), "the gate said nothing for four minutes"
        found = re.search(r"listens +http://127\.0\.0\.1:(\d+)", self.announcement) or re.search(
            r"http://127\.0\.0\.1:(\d+)/", self.announcement
        )
        assert found, f"the gate did not start:\n{self.announcement}\n{self.output}"
        self.port = int(found[1])

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            if "Ctrl+C" in line:
                self._ready.set()
        self._ready.set()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        self._output.extend(self.process.stdout)

    @property
    def announcement(self) -> str:
        return "".join(self._lines)

    @property
    def output(self) -> str:
        """Its log so far."""
        return "".join(self._output)

    def get(self, path: str, **headers: str) -> HttpResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={**headers, "Connection": "close"})
            response = connection.getresponse()
            return HttpResponse(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def stop(self) -> int:
        """Ask it to go; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has gone; its exit code."""
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise
        for reader in self._readers:
            reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code
