"""``python -m bench`` runs the proxy and the rewriting benchmark; ``--quick``: under 2 minutes."""

from __future__ import annotations

from bench.proxy.__main__ import main as proxy
from bench.rewriting.__main__ import main as rewriting

raise SystemExit(proxy() or rewriting())
