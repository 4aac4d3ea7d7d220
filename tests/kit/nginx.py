"""Debian's nginx with a file of deploy/, on this machine's addresses and without TLS."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.kit.programs import program
from zenzefi.client.certificate import server_context

NGINX = program("nginx")
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "nginx"


def certificate(folder: Path) -> Path:
    """A pair for 127.0.0.1 under the names that the configuration uses."""
    folder.mkdir()
    server_context(folder)
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.copy(folder / "connect.pem", folder / name)
    return folder


def plain(name: str, port: int, addresses: Mapping[str, str]) -> str:
    """The text of ``deploy/nginx/<name>`` with ``addresses`` put in, listening on ``port``."""
    text = (FOLDER / name).read_text()
    for written, real in addresses.items():
        assert written in text, written
        text = text.replace(written, real)
    text = re.sub(r"server \{\n    listen 80;.*?\n\}\n", "", text, flags=re.DOTALL)
    text = re.sub(r"    (ssl_|listen \[).*\n", "", text)
    return text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port};")


def as_it_is(name: str, tls: Path, ports: Mapping[int, int], addresses: Mapping[str, str]) -> str:
    """The text of ``deploy/nginx/<name>`` with other addresses, ports and certificates, no more."""
    text = (FOLDER / name).read_text()
    for written_there, real in addresses.items():
        assert written_there in text, written_there
        text = text.replace(written_there, real)
    text = re.sub(r"    listen \[::\].*\n", "", text)  # a machine may have no IPv6
    for port, real_port in ports.items():
        text = re.sub(rf"listen {port}\b", f"listen 127.0.0.1:{real_port}", text)
    return text.replace("/etc/nginx/tls", str(tls))


def written(folder: Path, text: str) -> Path:
    """The path of a whole configuration with these servers in it."""
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}\n{text}\n}}\n"
    )
    return path


@contextlib.contextmanager
def running(folder: Path, port: int, text: str) -> Iterator[None]:
    """nginx with these servers for as long as the block runs."""
    assert NGINX is not None
    path = written(folder, text)
    process = subprocess.Popen([NGINX, "-c", str(path), "-e", str(folder / "start.log")])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)
