"""The effective type of a body, by its label, its destination and its first bytes.

Browsers run a script with any label (HTML, "fetch a classic script") and sniff HTML if there is no
type (WHATWG MIME Sniffing, 7.1); servers label JSON as HTML. The decision does not depend on how
the body is cut into chunks.
"""

from __future__ import annotations

import enum
import re

SCRIPT_DESTINATIONS = frozenset(
    ("script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet")
)
_NEVER_SCRIPT = re.compile(r"(?:image|audio|video)/|text/csv|application/(?:json|wasm)|.*\+json")
_JAVASCRIPT = (
    frozenset(
        f"{family}/{name}"
        for family in ("text", "application")
        for name in ("javascript", "ecmascript", "x-javascript", "x-ecmascript")
    )
    | {"text/jscript", "text/livescript"}
    | {f"text/javascript1.{n}" for n in range(6)}
)
JAVASCRIPT = "text/javascript"
HTML = "text/html"
JSON = "application/json"
CSS = "text/css"
MANIFEST = "application/manifest+json"

WAIT = 1024
"""Most decoded bytes for which a decision waits."""

_JSON_LABELS = ("", JSON, "text/json", "text/plain", "application/octet-stream")
_SPACE = b"\t\n\x0b\x0c\r "
_MARK = b"\xef\xbb\xbf"
_TAG = re.compile(rb"<[!/a-zA-Z?]")
_DATA = re.compile(
    rb"[\[{]|//|/\*|\)\]\}|(?:function|var|let|const|window|document|if|for|import|export)\b"
    rb"|\"use strict\"|[\w.$]+\s*[(=]"
)
_JSON = re.compile(rb"[\[{]|\)\]\}'")
_HTML = re.compile(
    rb"(?:<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)"
    rb"[ >]|<!--|<\?xml)",
    re.I,
)


class Doubt(enum.Enum):
    """The reason why the label does not decide the type."""

    NONE = "none"
    HTML_OR_DATA = "html or data"
    UNLABELLED = "unlabelled"


def essence(content_type: str | None) -> str:
    """``type/subtype`` in lower case; ``""`` for none or an invalid media type."""
    value = (content_type or "").partition(";")[0].strip(" \t").lower()
    if value in _JAVASCRIPT:
        return JAVASCRIPT
    return value if "/" in value else ""


def by_label(label: str, destination: str | None, nosniff: bool) -> tuple[str, Doubt]:
    """The effective type as known before the body, and the doubt that the body must settle.

    ``label`` is an :func:`essence`; ``destination`` is ``Sec-Fetch-Dest``.
    """
    if not nosniff:
        if destination in SCRIPT_DESTINATIONS and not _NEVER_SCRIPT.match(label):
            return JAVASCRIPT, Doubt.NONE
        if (
            destination == "manifest" and label in _JSON_LABELS
        ):  # of any type (Web App Manifest, 1.3)
            return MANIFEST, Doubt.NONE
        if destination == "style" and label in ("", HTML, "text/plain"):
            return CSS, Doubt.NONE
    if label == HTML:
        return HTML, Doubt.HTML_OR_DATA
    if label in ("", "*/*", "unknown/unknown", "application/unknown"):
        return "", Doubt.NONE if nosniff else Doubt.UNLABELLED
    return label, Doubt.NONE


def by_body(doubt: Doubt, head: bytes, final: bool) -> str | None:
    """The effective type, or ``None`` while more of the body is needed (at most :data:`WAIT`)."""
    start = len(_MARK) if head.startswith(_MARK) else 0
    text = head[start:].lstrip(_SPACE)
    enough = final or len(head) >= WAIT
    if doubt is Doubt.HTML_OR_DATA:
        if len(text) >= 2 and _TAG.match(text):
            return HTML
        if not enough:  # a tag anywhere in the text settles it
            return HTML if _TAG.search(text) else None
        return _data_or_html(text)
    if len(text) < 20 and not enough:
        return None
    return HTML if _HTML.match(text) else ""


def _data_or_html(text: bytes) -> str:
    text = text[:WAIT]
    if _TAG.search(text) or not _DATA.match(text):
        return HTML
    return JSON if _JSON.match(text) else JAVASCRIPT
