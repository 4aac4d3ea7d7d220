"""Content steering manifests of HLS and DASH (RFC 8216bis, 7.2; ETSI TS 103 998, 6.4).

``HOST`` of a replacement is a bare host, which has no place for a prefix: it stays.
"""

from __future__ import annotations

from zenzefi.plugins import Context, Edit, JsonValue, Match, Mount, Needs, Plugin


class Steering(Plugin):
    """Keeps the reloads of a steering manifest under the mount."""

    name = "steering"
    matches = Match(content_types=("application/vnd.apple.steering-list",))
    needs = Needs.JSON

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True at a root mount, where rooted URLs stay."""
        return mount.is_root

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """Map a URL."""
        match value.path:
            case ("RELOAD-URI",):
                pass
            case ("PATHWAY-CLONES", int(), "URI-REPLACEMENT", "PER-VARIANT-URIS", str()):
                pass
            case ("PATHWAY-CLONES", int(), "URI-REPLACEMENT", "PER-RENDITION-URIS", str()):
                pass
            case _:
                return None
        if not value.raw.startswith(b'"'):
            return None
        old = str(value.value)
        new = context.map(old)
        return value.replace(new) if new != old else None
