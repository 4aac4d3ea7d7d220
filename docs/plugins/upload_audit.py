"""Logs each upload with its size and digest, however large it is."""

from __future__ import annotations

import hashlib
import logging

from zenzefi.plugins import Exchange, Match, Plugin, PluginServices

logger = logging.getLogger("zenzefi.plugins.upload_audit")


class UploadAudit(Plugin):
    """Pieces pass at once: nothing is held back."""

    name = "upload-audit"
    matches = Match(paths=("/up", "/upload/*"))
    _count = 0

    def startup(self, services: PluginServices) -> None:
        """Begin to count."""
        self._count = 0

    def request_chunk(self, exchange: Exchange, data: bytes, final: bool) -> None:
        """The digest of one upload is kept in ``state``."""
        digest = exchange.state.setdefault("digest", hashlib.sha256())
        digest.update(data)
        exchange.state["size"] = exchange.state.get("size", 0) + len(data)
        if final:
            self._count += 1
            logger.info(
                "upload: user=%s path=%s bytes=%d sha256=%s",
                exchange.client.user_id,
                exchange.path,
                exchange.state["size"],
                digest.hexdigest(),
            )

    def shutdown(self) -> None:
        """Called when the process stops, and before a reload."""
        logger.info("uploads in this process: %d", self._count)
