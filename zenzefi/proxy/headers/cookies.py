"""Cookies of the upstream, seen at the gate's host: mapped there and back.

Pure. RFC 6265bis throughout. Rules:

- A cookie that a browser would refuse from the upstream is dropped.
- ``Domain`` goes (the gate's host alone keeps the cookie), ``Path`` moves under the mount,
  ``Secure`` goes where the gate itself is plain http; every other byte stays.
- An upstream that honours ``X-Forwarded-Prefix`` or ``X-Forwarded-Host`` sets a path that is
  already under the mount, or the gate's host as ``Domain``: both are accepted as they are meant.
- A name that means something else here is escaped with one reversible prefix: the gate's own
  names, ``__Host-``, ``__Secure-`` and ``__Http-`` names where the mount can't keep their promise,
  and names that begin with the escape itself.
"""

from __future__ import annotations

import functools
import re

from zenzefi.gate_cookies import is_gate_cookie
from zenzefi.origin import Mount, Origin

ESCAPE = "zup-"
"""Prefix for a cookie name that is not allowed at the gate unchanged."""

_PROMISE = re.compile(r"(?i)__(host-http|http|host|secure)-")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WS = " \t"


def map_set_cookie(value: str, upstream: Origin, mount: Mount) -> str | None:
    """One ``Set-Cookie`` value of the upstream as this browser may keep it, or ``None``.

    ``value`` holds bytes as latin-1 characters, so that any byte passes as it is.
    """
    if _CONTROL.search(value):
        return None  # RFC 6265bis, 5.6 step 1
    pair, *parts = value.split(";")
    name, equals, content = pair.partition("=")
    if not equals:
        name, content = "", pair
    name, content = name.strip(_WS), content.strip(_WS)
    attributes = _attributes(parts)
    if not _is_accepted(name, content, attributes, (upstream.host, mount.public.host)):
        return None
    secure_gate = mount.public.scheme == "https"
    kept: list[str] = []
    for part, (key, text) in zip(parts, attributes, strict=True):
        if key == "domain":
            continue
        if not secure_gate and (
            key in ("secure", "partitioned") or (key == "samesite" and text.lower() == "none")
        ):
            # On plain http browsers refuse all three (RFC 6265bis, 5.7): better a lax cookie.
            continue
        if key == "path" and text.startswith("/") and mount.prefix:
            rest = text[len(_repeated(mount.prefix).match(text)[0]) :]  # type: ignore[index]  # matches the empty string
            kept.append(part.replace(text, mount.prefix + rest, 1))
            continue
        kept.append(part)
    if _needs_escape(name, secure_gate):
        pair = pair.replace(name, ESCAPE + name, 1)
    elif mount.prefix and name.lower().startswith("__host-"):
        kept = [part for part in kept if _attribute(part)[0] != "path"] + [" Path=/"]
    return ";".join([pair, *kept])


def unmap_cookie(value: str) -> str:
    """A ``Cookie`` header of the browser as the upstream knows it.

    The gate's cookies are taken out, escaped names restored; ``""`` if nothing is left.
    """
    if not _GATE_OR_ESCAPE.search(value):
        return value
    kept = []
    for part in value.split(";"):
        name = part.partition("=")[0].strip(_WS)
        if is_gate_cookie(name):
            continue
        kept.append(part.replace(ESCAPE, "", 1) if name.startswith(ESCAPE) else part)
    return ";".join(kept).strip(_WS)


_GATE_OR_ESCAPE = re.compile(r"(?i)zenzefi|" + re.escape(ESCAPE))


@functools.lru_cache(maxsize=64)
def _repeated(prefix: str) -> re.Pattern[str]:
    """Any number of whole prefixes at the start of a path."""
    return re.compile(rf"(?:{re.escape(prefix)}(?=/|\Z))*")


def _attribute(part: str) -> tuple[str, str]:
    key, _, text = part.partition("=")
    return key.strip(_WS).lower(), text.strip(_WS)


def _attributes(parts: list[str]) -> list[tuple[str, str]]:
    return [_attribute(part) for part in parts]


def _is_accepted(
    name: str, content: str, attributes: list[tuple[str, str]], hosts: tuple[str, ...]
) -> bool:
    """RFC 6265bis, 5.6 and 5.7: would a browser at one of these hosts keep this cookie?"""
    last = dict(attributes)  # the last attribute of a name wins
    if not name and not content:
        return False
    if not name and (_PROMISE.match(content) or is_gate_cookie(content)):
        # Sent back as "content", which would read as a cookie of that name (5.7 step 21).
        return False
    domain = last.get("domain", "").lower().removeprefix(".")
    if domain and not any(_covers(domain, host) for host in hosts):
        return False
    promise = _PROMISE.match(name)
    if promise is None:
        return True
    if "secure" not in last:
        return False
    kind = promise[1].lower()
    if "http" in kind and "httponly" not in last:
        return False
    return not kind.startswith("host") or (last.get("path") == "/" and not domain)


def _covers(domain: str, host: str) -> bool:
    """RFC 6265bis, 5.1.3: whether the domain is the host or one above it."""
    if domain == host:
        return True
    is_address = host.startswith("[") or re.fullmatch(r"[\d.]+", host)
    return not is_address and host.endswith("." + domain)


def _needs_escape(name: str, secure_gate: bool) -> bool:
    if not name:
        return False
    if is_gate_cookie(name) or name.startswith(ESCAPE):
        return True
    return not secure_gate and _PROMISE.match(name) is not None
