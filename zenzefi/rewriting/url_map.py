"""The interface of the URL mapping for plugins and policies."""

from __future__ import annotations

from typing import Protocol

from zenzefi.origin import Origin


class UrlMap(Protocol):
    """The one URL mapping of an exchange (:class:`zenzefi.rewriting.urls.UrlMapper`)."""

    @property
    def upstream(self) -> Origin:
        """The upstream's own origin."""

    @property
    def origins(self) -> frozenset[Origin]:
        """The upstream's origin and its declared aliases."""

    def map(self, url: str, document_url: str) -> str:
        """Upstream's view to browser's view; returns the same object if nothing changes."""

    def levels(self, document_url: str) -> int | None:
        """How often ``../`` may begin a URL that stays as it is; ``None``: any number of times."""

    def unmap(self, url: str) -> str:
        """An absolute URL in the browser's view to the upstream's view."""

    def resolve(self, url: str, document_url: str) -> str | None:
        """``url`` of a document as an absolute URL in the upstream's view."""

    def is_own(self, url: str) -> bool:
        """Whether an absolute URL, in the upstream's view, belongs to the upstream."""
