"""gunicorn's settings for the gate, for those who run everything under it.

    zenzefi migrate
    gunicorn -c deploy/gunicorn.conf.py zenzefi.gunicorn:gate

Several workers need Redis. ``zenzefi serve --workers N`` does the same without gunicorn. On SIGHUP
gunicorn starts new workers, which read all settings anew, and drains the old ones.
"""

import os
import shutil
import tempfile
from typing import Any

bind = "127.0.0.1:8000"
workers = 2
worker_class = "aiohttp.GunicornUVLoopWebWorker"
# A little more than DRAIN_DELAY and DRAIN_TIMEOUT together: what is left then is cut.
graceful_timeout = 45

# The workers share their metrics through files; named before anything is imported, and once: this
# file is read anew on SIGHUP.
_PREFIX = "zenzefi-metrics-"
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_PREFIX)


def child_exit(server: Any, worker: Any) -> None:
    """A worker has gone: what it had open is open no more."""
    from zenzefi.ops.metrics import forget_process

    forget_process(worker.pid)


def on_exit(server: Any) -> None:
    """All have gone: so may the files that were made here."""
    if _PREFIX in os.environ["PROMETHEUS_MULTIPROC_DIR"]:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
