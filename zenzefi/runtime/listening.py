"""Settings that are unsafe on an address that other machines can reach.

``BACKEND_URL`` is where browsers find the gate; the address to listen on decides which machines can
connect to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from zenzefi.settings import Settings, free_access


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only.

    A name other than ``localhost`` may resolve to any address, so it does not count.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def problem(settings: Settings, hosts: Sequence[str]) -> str | None:
    """Why ``zenzefi serve`` must not listen on these addresses; ``None`` if it may."""
    weakness = settings.secret_key_weakness
    reachable = [host for host in hosts if not is_loopback(host)]
    if weakness is None or settings.debug or not reachable:
        return free_access.problem(settings, is_reachable=bool(reachable))
    return f"{weakness} Other machines can reach --host {reachable[0]}."


def warnings(settings: Settings, hosts: Sequence[str]) -> list[str]:
    """Warnings about these addresses with these settings."""
    free = free_access.warnings(settings)
    if not settings.debug or (all(map(is_loopback, hosts)) and settings.is_private):
        return free
    text = (
        "DEBUG=true where other machines can reach this gate: weak keys, the mock payment provider "
        "and e-mails in the log are allowed. Set DEBUG=false in production."
    )
    return [*free, text]
