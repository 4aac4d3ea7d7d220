"""The OpenAPI 3.1 description, generated from the declared operations (``routing.py``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaValue, models_json_schema

from zenzefi import gate_cookies
from zenzefi.api.routing import Authentication, Operation
from zenzefi.errors import GateError, Invalid, PayloadTooLarge, RateLimited, Unavailable
from zenzefi.origin import DEVICE_HEADER, TOKEN_HEADER
from zenzefi.version import __version__

_HEADERS = {
    "Idempotency-Key": "Makes retries safe: repeated calls with the same key have one effect.",
    DEVICE_HEADER: "The device ID of the client: 8 to 255 visible ASCII characters.",
    "X-Forwarded-Uri": "The request target that the calling server received.",
    "X-Original-URI": "Alternative header, used by the nginx recipe.",
    "X-Forwarded-Method": "The method that the calling server received.",
    "X-Original-Method": "Alternative header, used by the nginx recipe.",
}
_PATH_PARAMETERS = {"provider": "The name of the payment provider."}
_REF = "#/components/schemas/{model}"
_SCHEMES: dict[str, list[dict[str, list[str]]]] = {
    "none": [],
    "bearer": [{"bearer": []}],
    "admin": [{"bearer": []}],
    "access_token": [{"access_token": []}, {"access_cookie": []}],
}

_REQUEST_ID: JsonSchemaValue = {
    "type": "string",
    "description": "Identifies the request in the gate's log; the same as `X-Request-ID`.",
}
_ERROR: JsonSchemaValue = {
    "type": "object",
    "title": "Error",
    "description": "The body of every error except a 422.",
    "required": ["detail", "code", "request_id"],
    "properties": {
        "detail": {"type": "string", "description": "What happened and what to do next."},
        "code": {
            "type": "string",
            "pattern": "^[a-z_]+$",
            "description": "The kind of error, for programs.",
        },
        "request_id": _REQUEST_ID,
        "missing_znc": {"type": "string", "description": "The amount to top up (402 only)."},
    },
}
_INVALID: JsonSchemaValue = {
    "type": "object",
    "title": "ValidationError",
    "description": "The body of a 422: the values that were refused.",
    "required": ["detail", "code", "request_id"],
    "properties": {
        "detail": {
            "type": "array",
            "description": "One entry for each problem.",
            "items": {
                "type": "object",
                "required": ["type", "loc", "msg"],
                "properties": {
                    "type": {
                        "type": "string",
                        "description": "The kind of problem, for programs, such as `missing`.",
                    },
                    "loc": {
                        "type": "array",
                        "description": "Where the value is: `body`, `query` or `path`, then the "
                        "names and positions that lead to it.",
                        "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    },
                    "msg": {"type": "string", "description": "The problem as a sentence."},
                    "input": {"description": "The value as it was sent."},
                },
            },
        },
        "code": {"const": "validation_error", "description": "Always `validation_error`."},
        "request_id": _REQUEST_ID,
    },
}


def describe(
    operations: Sequence[Operation],
    server: str,
    authentication: Authentication,
    *,
    title: str,
) -> dict[str, Any]:
    """The OpenAPI description of these operations.

    ``server`` is the gate's public origin; ``authentication`` knows the errors of its checks.
    """
    inputs = {op.body for op in operations if op.body is not None}
    refs, definitions = models_json_schema(
        [(model, "validation") for model in sorted(inputs, key=lambda model: model.__name__)],
        ref_template=_REF,
    )
    schemas: dict[str, Any] = dict(definitions.get("$defs", {}))
    schemas |= {"Error": _ERROR, "ValidationError": _INVALID}
    paths: dict[str, Any] = {}
    for op in operations:
        body = None if op.body is None else refs[op.body, "validation"]
        entry = _operation(op, body, schemas, authentication)
        paths.setdefault(op.path, {})[op.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "description": (
                "Accounts, access tokens and payments of a gate in front of a web application. "
                "Money is a string with two decimal places; times are ISO 8601 in UTC. An API key "
                "can be sent in place of a JWT; `x-api-key-permission` names the permission that "
                "it needs, `null` an operation for which no key is accepted."
            ),
        },
        "servers": [{"url": server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(op.tag for op in operations)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT or API key",
                },
                "access_token": {"type": "apiKey", "in": "header", "name": TOKEN_HEADER},
                "access_cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": gate_cookies.ACCESS,
                },
            },
        },
    }


def _operation(
    op: Operation,
    body: JsonSchemaValue | None,
    schemas: dict[str, Any],
    authentication: Authentication,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": f"{op.tag}_{op.name}".replace(" ", "_").lower(),
        "tags": [op.tag],
        "summary": op.summary,
        "responses": _responses(op, schemas, authentication),
    }
    if op.description:
        entry["description"] = op.description
    if op.security in ("bearer", "admin"):
        entry["x-api-key-permission"] = op.permission and op.permission.value
    parameters = [*_path_parameters(op), *_query_parameters(op, schemas)]
    parameters += [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": _HEADERS[name],
            "schema": {"type": "string"},
        }
        for name in op.headers
    ]
    if parameters:
        entry["parameters"] = parameters
    if body is not None:
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if _SCHEMES[op.security]:
        entry["security"] = _SCHEMES[op.security]
    return entry


def _path_parameters(op: Operation) -> Iterable[dict[str, Any]]:
    typed = set(op.path_parameters)
    for name in re.findall(r"\{(\w+)(?::[^}]*)?\}", op.path):
        schema = {"type": "string"} | ({"format": "uuid"} if name in typed else {})
        described = _PATH_PARAMETERS.get(name) or f"The {name.removesuffix('_id')}'s ID."
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": described,
            "schema": schema,
        }


def _query_parameters(op: Operation, schemas: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if op.query is None:
        return
    schema = _schema(op.query, schemas, mode="validation")
    if "$ref" in schema:
        schema = schemas.pop(schema["$ref"].rpartition("/")[2])
    required = schema.get("required", ())
    for name, of_one in schema.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "required": name in required, "schema": of_one}
        if "description" in of_one:
            parameter["description"] = of_one.pop("description")
        yield parameter


def _schema(model: Any, schemas: dict[str, Any], *, mode: Any) -> Any:
    made = TypeAdapter(model).json_schema(ref_template=_REF, mode=mode)
    schemas.update(made.pop("$defs", {}))
    if isinstance(model, type) and issubclass(model, BaseModel) and "$ref" not in made:
        name = re.sub(r"\W+", "_", model.__name__).strip("_")
        schemas[name] = made
        return {"$ref": _REF.format(model=name)}
    return made


def _responses(
    op: Operation, schemas: dict[str, Any], authentication: Authentication
) -> dict[str, Any]:
    good: dict[str, Any] = {"description": HTTPStatus(op.status).phrase}
    response = op.described or op.response
    try:
        adaptable = not (isinstance(response, type) and not issubclass(response, BaseModel))
    except TypeError:
        adaptable = True
    if adaptable:
        schema = _schema(response, schemas, mode="serialization")
        good["content"] = {"application/json": {"schema": schema}}
    responses: dict[str, Any] = {str(op.status): good}
    errors: dict[int, list[type[GateError]]] = {}
    implied: tuple[type[GateError], ...] = (RateLimited, Unavailable)
    if op.security == "admin":
        implied = (*authentication.admin_errors, *implied)
    elif op.security == "bearer":
        implied = (*authentication.user_errors, *implied)
    if op.body is not None:
        implied += (Invalid, PayloadTooLarge)
    elif op.query is not None or op.path_parameters:
        implied += (Invalid,)
    for error in dict.fromkeys((*implied, *op.errors)):
        errors.setdefault(error.status, []).append(error)
    for status, kinds in sorted(errors.items()):
        name = "ValidationError" if status == 422 else "Error"
        responses[str(status)] = {
            "description": "; ".join(
                "The request is not valid" if kind is Invalid else kind.default.rstrip(".")
                for kind in kinds
            ),
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=name)}}},
        }
    return responses
