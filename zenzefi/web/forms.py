"""Form values and validation errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_WHOLE_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(slots=True)
class Form:
    """Values of one form, with error messages by field name; ``""`` is the whole form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Value of a field without surrounding whitespace."""
        return self.values.get(name, "").strip()

    def raw(self, name: str) -> str:
        """Value of a field unchanged: a password may begin with a space."""
        return self.values.get(name, "")

    def whole_number(self, name: str) -> int | None:
        """Value of a field as a whole number of at most nine digits; ``None`` for other texts."""
        text = self.text(name)
        return int(text) if _WHOLE_NUMBER.fullmatch(text) else None

    def amount_text(self, name: str) -> str:
        """Value of a field as the API writes amounts, without spaces and with a decimal point.

        Users write a decimal comma, and spaces between thousands.
        """
        return re.sub(r"\s", "", self.text(name)).replace(",", ".")

    def fail(self, name: str, message: str) -> None:
        """Add an error to a field that has none yet."""
        self.errors.setdefault(name, message)

    @property
    def ok(self) -> bool:
        """Whether the form has no errors."""
        return not self.errors

    def read(self, model: type[_ModelT], *names: str) -> _ModelT | None:
        """Validate the named fields; ``None`` if invalid, with an error for each invalid field."""
        return self.validate(model, {name: self.raw(name) for name in names})

    def validate(self, model: type[_ModelT], values: Mapping[str, Any]) -> _ModelT | None:
        """Validate values that were read from the fields; like :meth:`read`."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                name = str(problem["loc"][0]) if problem["loc"] else ""
                if name and not self.text(name):
                    self.fail(name, _("Please fill this in."))
                self.fail(name, _explain(name, problem["type"], problem.get("ctx", {})))
            return None


BLANK = Form()
"""For templates that show a field without values or errors."""


def _explain(name: str, kind: str, context: Mapping[str, Any]) -> str:
    """Error message for a validation error of pydantic."""
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
    return _("This value is not accepted. Please enter another one.")
