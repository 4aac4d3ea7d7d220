"""``python -m bench`` runs three benchmarks: proxy, rewriting, runtime; ``--quick`` only prints."""

from __future__ import annotations

from bench import machine
from bench.proxy.__main__ import main as proxy
from bench.rewriting.__main__ import main as rewriting
from bench.runtime.__main__ import main as runtime

before = machine.load()
raise SystemExit(proxy(before) or rewriting(before) or runtime(before))
