"""Forms: what was typed, and what is wrong with it, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext

_ModelT = TypeVar("_ModelT", bound=BaseModel)


@dataclass(slots=True)
class Form:
    """One form as it came in (or as it is first shown), with errors by field.

    The error under ``""`` belongs to the whole form.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """What was typed into one field, without the space around it."""
        return self.values.get(name, "").strip()

    def raw(self, name: str) -> str:
        """What was typed, as it is: passwords may begin with a space."""
        return self.values.get(name, "")

    def fail(self, name: str, message: str) -> None:
        """Say what is wrong with one field; the first word stays."""
        self.errors.setdefault(name, message)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong so far."""
        return not self.errors

    def read(self, model: type[_ModelT], *names: str) -> _ModelT | None:
        """The model these fields make; ``None``, with an error beside each field at fault."""
        try:
            return model.model_validate({name: self.raw(name) for name in names})
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                name = str(problem["loc"][0]) if problem["loc"] else ""
                if name and not self.text(name):
                    self.fail(name, _("Please fill this in."))
                self.fail(name, _explain(name, problem["type"], problem.get("ctx", {})))
            return None


BLANK = Form()
"""For templates that show a field without any state."""


def _explain(name: str, kind: str, context: Mapping[str, Any]) -> str:
    """A validation error of pydantic in the reader's words."""
    if kind == "string_too_short":
        least = int(context["min_length"])
        return ngettext(
            "At least %(num)s character, please.", "At least %(num)s characters, please.", least
        )
    if kind == "string_too_long":
        most = int(context["max_length"])
        return ngettext(
            "At most %(num)s character, please.", "At most %(num)s characters, please.", most
        )
    if name == "email":
        return _("This does not look like an e-mail address, such as name@example.com.")
    return _("This can't be used here. Please write it differently.")
