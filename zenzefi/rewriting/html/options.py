"""Options of the scanner of HTML documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zenzefi.rewriting.csp import FreshNonce, InlineHashes
from zenzefi.rewriting.scanner import Scanner


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlOptions:
    """Options of the scanner; by default it only maps URLs."""

    head: bytes = b""
    """Markup for the very start of ``<head>`` (the runtime); for documents only."""
    shown: bool = False
    """Whether a browser shows the body as a document. Otherwise a body that begins like a script or
    JSON counts as one with the wrong label, even if its strings contain markup."""
    scripts: Callable[[str], Scanner | None] | None = None
    """Returns the scanner for an inline script by its ``type`` in lower case, or ``None``."""
    csp: Callable[[str], str] | None = None
    """Maps the content of ``<meta http-equiv=content-security-policy>``."""
    hashes: InlineHashes | None = None
    """The inline scripts and styles that the document's policy allows by their hash."""
    nonce: FreshNonce | None = None
    """For those that a policy in ``<meta>`` allows by their hash; without one, they get none."""
    credentials: bool = False
    """Whether web manifests are to be fetched with the browser's cookies."""
    keep_integrity: Callable[[str], bool] | None = None
    """Whether the upstream's resource at a URL is certainly not rewritten. By default, a root mount
    keeps ``integrity``; under a prefix it goes, or a rewritten style sheet would be blocked."""
