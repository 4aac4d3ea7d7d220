"""``python -m bench`` runs the proxy and the rewriting benchmark; ``--quick`` only prints."""

from __future__ import annotations

from bench import machine
from bench.proxy.__main__ import main as proxy
from bench.rewriting.__main__ import main as rewriting

before = machine.load()
raise SystemExit(proxy(before) or rewriting(before))
