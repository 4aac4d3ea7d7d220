"""Titles and descriptions of scopes, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping

from zenzefi.i18n import LANGUAGES, N_, current
from zenzefi.i18n import gettext as _
from zenzefi.settings.offer_values import ScopeText

Texts = Mapping[str, Mapping[str, ScopeText]]
"""Texts of the operator by scope and language (the setting SCOPE_TEXTS)."""

_BUILT_IN = {
    "full": (N_("Everything"), N_("All pages and API calls of the application.")),
    "certificates_only": (
        N_("Certificates only"),
        N_("Certificate pages only; all other pages are refused."),
    ),
}


def scope_text(name: str, texts: Texts) -> tuple[str, str]:
    """Title and description: those of the operator, else the built-in ones, else the name.

    A language without a text of the operator gets the first of the others.
    """
    given = texts.get(name, {})
    if given:
        languages = (current().language, *LANGUAGES, *given)
        chosen = given[next(language for language in languages if language in given)]
        return chosen.title, chosen.description
    if name in _BUILT_IN:
        title, note = _BUILT_IN[name]
        return _(title), _(note)
    return name.replace("_", " "), _("A part of the application, set up by its operator.")
