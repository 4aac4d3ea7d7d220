"""Web application manifests (W3C Web Application Manifest): members with URLs.

Only rooted URLs (``/start``): the ``json`` plugin maps absolute URLs of the upstream.
"""

from __future__ import annotations

from zenzefi.plugins import Context, Edit, JsonValue, Match, Needs, Plugin

_TOP = frozenset(("start_url", "scope", "id"))
_LISTS = {
    "icons": frozenset(("src",)),
    "screenshots": frozenset(("src",)),
    "shortcuts": frozenset(("url",)),
    "file_handlers": frozenset(("action",)),
    "protocol_handlers": frozenset(("url",)),
    "related_applications": frozenset(("url",)),
    "widgets": frozenset(("ms_ac_template", "data")),
}
_OBJECTS = {
    "share_target": frozenset(("action",)),
    "serviceworker": frozenset(("src", "scope")),
    "note_taking": frozenset(("new_note_url",)),
    "lock_screen": frozenset(("start_url",)),
    "tab_strip": frozenset(("url",)),
}


def is_address(path: tuple[str | int, ...]) -> bool:
    """Whether the member at ``path`` is a URL."""
    match path:
        case (str(key),):
            return key in _TOP
        case (str(key), str(member)):
            return member in _OBJECTS.get(key, ())
        case (str(key), int(), str(member)):
            return member in _LISTS.get(key, ())
        case ("shortcuts" | "widgets", int(), "icons" | "screenshots", int(), "src"):
            return True
    return False


class WebManifest(Plugin):
    """Keeps an installed application under the mount."""

    name = "webmanifest"
    matches = Match(content_types=("application/manifest+json", "application/webmanifest"))
    needs = Needs.JSON

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """Map a rooted URL."""
        if not value.raw.startswith(b'"') or not is_address(value.path):
            return None
        old = str(value.value)
        if old.startswith("//") or "://" in old[:12]:
            return None
        new = context.map(old)
        return value.replace(new) if new != old else None
