"""Every kind of mount, and upstreams in every relation to it."""

from __future__ import annotations

from zenzefi.origin import Mount, MountKind, Origin

PREFIX = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), "/api/v1/proxy")
SECURE_PREFIX = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
OWN_ORIGIN = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))
CLIENT_ROOT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
CLIENT_PREFIX = Mount(MountKind.PREFIX, Origin("https", "127.0.0.1", 61000), "/app")
MOUNTS = (PREFIX, SECURE_PREFIX, OWN_ORIGIN, CLIENT_ROOT, CLIENT_PREFIX)

UPSTREAMS = (
    Origin("https", "app.example", 443),
    Origin("http", "app.example", 8080),
    Origin("http", "127.0.0.1", 9000),  # the host of the desktop client's mount
    Origin("http", "gate.example", 9000),  # the gate's host at another port
)
