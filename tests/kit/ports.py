"""Ports for servers whose address must be known before they listen.

A port that the system assigned and that was closed again can be assigned a second time: to another
server of the same test, or to any outgoing connection. These ports therefore lie below the range
from which systems assign (Linux: 32768, RFC 6335: 49152), each process of a test run has its
own part, and none is handed out twice before the part is used up.
"""

from __future__ import annotations

import os
import random
import re
import socket

_FIRST, _LAST = 10_000, 32_000
_PARTS = 11


def _part() -> range:
    """The ports of this process: the first part without workers, then one for each worker."""
    worker = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    number = (1 + int(worker[1])) % _PARTS if worker else 0
    size = (_LAST - _FIRST) // _PARTS
    return range(_FIRST + number * size, _FIRST + (number + 1) * size)


class _Ports:
    def __init__(self, ports: range) -> None:
        self._ports = ports
        # Another run on the same machine uses the same part: it begins elsewhere.
        self._next = random.SystemRandom().randrange(len(ports))

    def take(self) -> int:
        for _ in self._ports:
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            if _is_free(port):
                return port
        raise RuntimeError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ports = _Ports(_part())


def free_port() -> int:
    """A TCP port of the loopback address without a listener."""
    return _ports.take()


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of the loopback address without listeners."""
    return [free_port() for _ in range(count)]
