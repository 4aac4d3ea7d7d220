"""Parses JSON bodies and query strings into models; errors become one 422 shape.

Pure. JSON is RFC 8259: UTF-8, no ``NaN``, and no name twice in one
object (4: "names SHOULD be unique"; two readers could choose differently).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

from multidict import MultiMapping
from pydantic import BaseModel, ValidationError

from zenzefi.errors import Invalid

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_SECRET_FIELDS = ("password", "token", "secret", "code")
_HIDDEN = "**********"
_SHOWN = 200  # characters of an invalid value that are sent back
_PROBLEMS = 50


class _Refused(ValueError):
    """Accepted by Python's JSON parser, but invalid by RFC 8259."""


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a name appears twice in one object")
    return found


def parse_json(raw: bytes) -> Any:
    """Parse JSON; numbers with a fraction become decimals. Raises ``Invalid`` (422)."""
    try:
        return json.loads(
            raw.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        where: int = error.pos
        message = error.msg
    except UnicodeDecodeError as error:
        where, message = error.start, "it is not UTF-8"
    except RecursionError:
        where, message = 0, "it is nested too deeply"
    except _Refused as error:
        where, message = 0, str(error)
    except ValueError:  # more digits than Python accepts
        where, message = 0, "it contains a number that is too long"
    raise Invalid(
        [
            {
                "type": "json_invalid",
                "loc": ["body", where],
                "msg": f"The body is not valid JSON: {message}",
                "input": {},
            }
        ]
    )


def _shown(value: Any, depth: int = 0) -> Any:
    """An invalid value, shortened and without secrets, for the response."""
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() else str(value)
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "…"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return _shown(str(value)) if abs(value) < 10**_SHOWN else "a huge number"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= 2:
        return "…"
    if isinstance(value, Mapping):
        return {
            _shown(str(key)): _HIDDEN if _is_secret(str(key)) else _shown(inner, depth + 1)
            for key, inner in list(value.items())[:20]
        }
    if isinstance(value, list | tuple):
        return [_shown(inner, depth + 1) for inner in value[:20]]
    return _shown(str(value))


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_FIELDS)


def problems(error: ValidationError, place: str) -> Invalid:
    """The 422 of the API: ``[{"type", "loc": ["body", "field"], "msg", "input"}, ...]``."""
    found = []
    for problem in error.errors(include_url=False, include_context=False)[:_PROBLEMS]:
        loc = [place, *(_shown(part) for part in problem["loc"])]
        secret = any(isinstance(part, str) and _is_secret(part) for part in problem["loc"])
        # The input of a missing field is the whole object; _shown hides its secret fields.
        hidden = secret and problem["type"] != "missing"
        found.append(
            {
                "type": problem["type"],
                "loc": loc,
                "msg": problem["msg"].removeprefix("Value error, "),
                "input": _HIDDEN if hidden else _shown(problem["input"]),
            }
        )
    return Invalid(found)


def read_body(model: type[_ModelT], raw: bytes, content_type: str | None) -> _ModelT:
    """Parse a JSON body into a model. Raises ``Invalid`` for every error.

    ``content_type`` is the media type of the request, ``None`` without one.
    """
    if content_type is not None:
        name = content_type.lower()
        if name != "application/json" and not (
            name.startswith("application/") and name.endswith("+json")
        ):
            raise Invalid.field(
                "body",
                type="content_type",
                msg="The body must be JSON, sent as Content-Type: application/json",
                input=_shown(content_type),
            )
    value = parse_json(raw) if raw.strip() else None
    if value is None and not raw.strip():
        raise Invalid.field("body", type="missing", msg="Field required", input=None)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise problems(error, "body") from None


def read_query(model: type[_ModelT], query: MultiMapping[str]) -> _ModelT:
    """Parse a query string into a model. Raises ``Invalid``, also for repeated parameters."""
    values: dict[str, str] = {}
    for name in model.model_fields:
        given = query.getall(name, [])
        if len(given) > 1:
            raise Invalid.field(
                "query", name, type="repeated", msg="This parameter was given twice", input=None
            )
        if given:
            values[name] = given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise problems(error, "query") from None
