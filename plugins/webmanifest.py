"""Web application manifests (W3C Web Application Manifest): members with URLs.

Only rooted URLs (``/start``): the ``json`` plugin maps absolute URLs of the upstream.
"""

from __future__ import annotations

from zenzefi.plugins import Context, Edit, JsonValue, Match, Mount, Needs, Plugin

_ICON = ("*", "src")  # Image Resource, 2.1; a list of them
_MEMBERS = (
    # Web Application Manifest, 1: the section after each member
    ("start_url",),  # 1.9
    ("scope",),  # 1.11
    ("id",),  # 1.10
    ("icons", *_ICON),  # 1.8
    ("icons_localized", "*", *_ICON),  # 1.4, localizable members
    ("shortcuts", "*", "url"),  # 3.2.1
    ("shortcuts", "*", "icons", *_ICON),
    ("shortcuts", "*", "icons_localized", "*", *_ICON),
    ("related_applications", "*", "url"),  # 3.3
    # Web App Manifest - Application Information
    ("screenshots", *_ICON),  # 2.3
    ("screenshots_localized", "*", *_ICON),
    # Web Share Target, 3
    ("share_target", "action"),
    # Manifest Incubations
    ("file_handlers", "*", "action"),
    ("file_handlers", "*", "icons", *_ICON),
    ("protocol_handlers", "*", "url"),
    ("note_taking", "new_note_url"),
    ("tab_strip", "home_tab", "icons", *_ICON),
    ("tab_strip", "home_tab", "scope_patterns", "*"),  # a URL pattern, or its components
    ("tab_strip", "home_tab", "scope_patterns", "*", "pathname"),
    ("tab_strip", "new_tab_button", "url"),
    ("tab_strip", "url"),
    ("migrate_to", "id"),
    ("migrate_to", "install_url"),
    ("migrate_from", "*", "id"),
    ("migrate_from", "*", "install_url"),
    # Lock screen and widgets (proposals), and the removed member for service workers
    ("lock_screen", "start_url"),
    ("widgets", "*", "ms_ac_template"),
    ("widgets", "*", "template"),
    ("widgets", "*", "data"),
    ("widgets", "*", "icons", *_ICON),
    ("widgets", "*", "screenshots", *_ICON),
    ("serviceworker", "src"),
    ("serviceworker", "scope"),
    # User preferences (proposal): the members of a manifest once more
    ("user_preferences", "*", "*", "icons", *_ICON),
)
_BY_LENGTH = {
    length: tuple(member for member in _MEMBERS if len(member) == length)
    for length in {len(member) for member in _MEMBERS}
}


def is_address(path: tuple[str | int, ...]) -> bool:
    """Whether the member at ``path`` is a URL."""
    return any(
        all(name in ("*", step) for name, step in zip(member, path, strict=True))
        for member in _BY_LENGTH.get(len(path), ())
    )


class WebManifest(Plugin):
    """Keeps an installed application under the mount."""

    name = "webmanifest"
    matches = Match(content_types=("application/manifest+json", "application/webmanifest"))
    needs = Needs.JSON

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True at a root mount, where rooted URLs stay."""
        return mount.is_root

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """Map a rooted URL."""
        if not value.raw.startswith(b'"') or not is_address(value.path):
            return None
        old = str(value.value)
        if old.startswith("//") or "://" in old[:12]:
            return None
        new = context.map(old)
        return value.replace(new) if new != old else None
