"""The mapping of addresses as plugins and policies use it: an interface, without its rules."""

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
        """The upstream's view -> the browser's; the very input when nothing changes."""

    def unmap(self, url: str) -> str:
        """The browser's absolute URL -> the upstream's."""

    def resolve(self, url: str, document_url: str) -> str | None:
        """The absolute URL at the upstream that ``url`` means in a document."""

    def is_own(self, url: str) -> bool:
        """Whether an absolute URL, in the upstream's view, is the upstream's."""
