"""What an address to listen on means for the settings: others may reach it.

``BACKEND_URL`` says where browsers find the gate; the address says who can open a connection to it.
"""

from __future__ import annotations

import ipaddress

from zenzefi.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only.

    A name other than ``localhost`` may mean any address.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def problem(settings: Settings, host: str) -> str | None:
    """Why ``zenzefi serve`` must not listen on this address; ``None``: it may."""
    doubt = settings.secret_key_doubt
    if doubt is None or settings.debug or is_loopback(host):
        return None
    return f"{doubt} Other machines can reach --host {host}."


def doubts(settings: Settings, host: str) -> list[str]:
    """What is worth a warning about this address and these settings."""
    if not settings.debug or (is_loopback(host) and settings.is_private):
        return []
    text = (
        "DEBUG=true where other machines can reach this gate: weak keys, the mock payment provider "
        "and mail in the log are allowed. Set DEBUG=false in production."
    )
    return [text]
