"""``python -m bench``: every benchmark there is; ``--quick`` takes under two minutes."""

from __future__ import annotations

from bench.proxy.__main__ import main as proxy
from bench.rewriting.__main__ import main as rewriting

raise SystemExit(proxy() or rewriting())
