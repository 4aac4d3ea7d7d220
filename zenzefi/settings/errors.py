"""Errors of the settings: complete sentences, one for each mistake."""

from __future__ import annotations


class SettingsError(Exception):
    """The settings are invalid. ``problems`` holds one sentence per mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SettingsConflict(SettingsError):
    """Values that are valid alone but not together.

    ``conflicts`` holds, for each conflict, the names of the fields involved and the sentence.
    """

    def __init__(self, conflicts: list[tuple[set[str], str]]) -> None:
        self.conflicts = conflicts
        super().__init__([text for _, text in conflicts])
