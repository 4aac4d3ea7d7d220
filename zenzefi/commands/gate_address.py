"""The address of a remote gate, as users type it."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

import click

from zenzefi.commands.common import Exit, fail
from zenzefi.i18n import gettext as _

if TYPE_CHECKING:
    from zenzefi.origin import Origin


def read_gate(text: str, *, insecure: bool) -> Origin:
    """The origin of a gate; ends the command for an invalid one.

    Plain http elsewhere than on this computer is refused without ``insecure``: it would send the
    credential unencrypted.
    """
    from zenzefi.settings import parse_origin

    try:
        origin = parse_origin(text if "://" in text else f"https://{text}")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="GATE") from None
    if origin.scheme == "http" and not insecure and not _is_here(origin.host):
        fail(
            _(
                "%(gate)s is not encrypted, so your token could be read in transit. "
                "Use https://, or --insecure if you trust the whole network path.",
                gate=origin,
            ),
            Exit.USAGE,
        )
    return origin


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False
