"""Typed routes: a handler's signature declares its parameters, authentication and response.

    routes = Routes("Accounts")

    @routes.post("/auth/register", status=201, errors=(EmailTaken, UsernameTaken))
    async def register(request: web.Request, body: Registration) -> UserOut:
        \"\"\"Create an account.\"\"\"

Parameters are found by name: ``request``; ``body`` (a pydantic model of the JSON body); ``query``
(a model of the query string); ``user`` (a signed-in user, by bearer token); ``admin`` (an
administrator); all others are UUIDs in the path. The return annotation is the response's model, a
list of one, or ``web.StreamResponse`` for anything else. ``permission`` is required of an API key
(``zenzefi/api/permissions.py``): that of the group, unless the operation names another one, or
:data:`SIGN_IN_ONLY`. The OpenAPI description
(``zenzefi/api/openapi.py``) is generated from the same declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_type_hints
from uuid import UUID

from aiohttp import hdrs, web
from pydantic import BaseModel, TypeAdapter
from yarl import URL

from zenzefi.api.bodies import read_body, read_query
from zenzefi.api.permissions import KeyPermission, default_permission
from zenzefi.audit.log import Actor
from zenzefi.errors import GateError, Invalid
from zenzefi.http.body import content_of
from zenzefi.http.client_address import client_address_of
from zenzefi.http.request_id import request_id_of

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Any]])
Security = Literal["none", "bearer", "admin", "access_token"]


class Caller(Protocol):
    """The user who calls an operation, as far as this package knows users."""

    @property
    def id(self) -> UUID:
        """The user's ID."""


class Authentication(Protocol):
    """Finds the user of a request. Implemented by the accounts: this package knows no users."""

    user_errors: ClassVar[tuple[type[GateError], ...]]
    """What :meth:`user` raises."""
    admin_errors: ClassVar[tuple[type[GateError], ...]]
    """What :meth:`admin` raises."""

    async def user(self, request: web.Request, permission: KeyPermission | None) -> Caller:
        """The signed-in user, or the owner of an API key with this permission.

        Without a permission, no key is accepted. Raises ``user_errors``.
        """

    async def admin(self, request: web.Request, permission: KeyPermission | None) -> Caller:
        """The administrator, otherwise as :meth:`user`. Raises ``admin_errors``."""


AUTHENTICATION: web.AppKey[Authentication] = web.AppKey("authentication")
"""Set by :func:`zenzefi.accounts.setup.setup`."""

API_KEY_ID: web.RequestKey[UUID] = web.RequestKey("api_key_id", UUID)
"""The ID of the request's API key, if it has one."""

SIGN_IN_ONLY: Literal["sign_in_only"] = "sign_in_only"
"""For operations that no API key may call."""

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Operation:
    """An operation of the API, with all that routing, validation and description require."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    tag: str
    status: int
    errors: tuple[type[GateError], ...]
    security: Security
    summary: str
    description: str
    name: str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    response: Any = None
    path_parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    takes: tuple[str, ...] = field(default=())
    permission: KeyPermission | None = None
    """Required of an API key; ``None``: no key may call it."""
    described: Any = None
    """The model of a body that the handler writes itself, for the description."""


class Routes:
    """The operations of one domain, declared by decorators and mounted by :func:`setup`."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.operations: list[Operation] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        errors: Sequence[type[GateError]] = (),
        security: Security | None = None,
        headers: Sequence[str] = (),
        permission: KeyPermission | Literal["sign_in_only"] | None = None,
        described: Any = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare an operation.

        ``permission`` is required of an API key; by default that of the group. ``headers``
        (optional request headers) and ``described`` (the model of a body that the handler writes
        itself) are used for the description only.
        """

        def declare(handler: HandlerT) -> HandlerT:
            operation = _operation(
                self.tag, method, path, handler, status, tuple(errors), security, tuple(headers)
            )
            operation = replace(
                operation,
                permission=_permission(operation, permission),
                described=described,
            )
            self.operations.append(operation)
            return handler

        return declare

    def get(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Declare a GET; the options are those of :meth:`route`."""
        return self.route(hdrs.METH_GET, path, **options)

    def post(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Declare a POST; the options are those of :meth:`route`."""
        return self.route(hdrs.METH_POST, path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Declare a PATCH; the options are those of :meth:`route`."""
        return self.route(hdrs.METH_PATCH, path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Declare a DELETE; the options are those of :meth:`route`."""
        return self.route(hdrs.METH_DELETE, path, **options)


def _operation(
    tag: str,
    method: str,
    path: str,
    handler: Callable[..., Awaitable[Any]],
    status: int,
    errors: tuple[type[GateError], ...],
    security: Security | None,
    headers: tuple[str, ...],
) -> Operation:
    hints = get_type_hints(handler)
    takes = tuple(inspect.signature(handler).parameters)
    known = {"request", "body", "query", "user", "admin"}
    path_parameters = tuple(name for name in takes if name not in known)
    for name in path_parameters:
        if hints[name] is not UUID or "{" + name + "}" not in path:
            raise TypeError(f"{handler.__qualname__}: {name} is not a UUID in the path {path}")
    if security is None:
        security = "admin" if "admin" in takes else "bearer" if "user" in takes else "none"
    summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n")
    return Operation(
        method=method,
        path=path,
        handler=handler,
        tag=tag,
        status=status,
        errors=errors,
        security=security,
        summary=summary.rstrip("."),
        description=" ".join(description.split()),
        name=handler.__name__,
        body=hints.get("body"),
        query=hints.get("query"),
        response=hints["return"],
        path_parameters=path_parameters,
        headers=headers,
        takes=takes,
    )


def _permission(
    operation: Operation, named: KeyPermission | Literal["sign_in_only"] | None
) -> KeyPermission | None:
    if named == SIGN_IN_ONLY or operation.security not in ("bearer", "admin"):
        return None
    return named or default_permission(operation.tag, operation.method)


def actor_of(request: web.Request, user: Caller | None = None) -> Actor:
    """The actor of a request, for the audit log."""
    return Actor(
        user_id=None if user is None else user.id,
        address=client_address_of(request).address or None,
        request_id=request_id_of(request),
        agent=request.headers.get(hdrs.USER_AGENT),
        api_key_id=request.get(API_KEY_ID),
    )


def _path_uuid(request: web.Request, name: str) -> UUID:
    raw = request.match_info[name]
    try:
        return UUID(raw)
    except ValueError:
        raise Invalid.field(
            "path", name, type="uuid_parsing", msg="must be a UUID", input=raw[:100]
        ) from None


def _bound(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    response = operation.response
    plain = inspect.isclass(response) and issubclass(response, web.StreamResponse)
    adapter: TypeAdapter[Any] | None = None if plain else TypeAdapter(response)

    async def handle(request: web.Request) -> web.StreamResponse:
        # Authentication is first: clients that are not signed in learn nothing about parameters.
        arguments: dict[str, Any] = {}
        if "admin" in operation.takes:
            arguments["admin"] = await request.app[AUTHENTICATION].admin(
                request, operation.permission
            )
        if "user" in operation.takes:
            arguments["user"] = await request.app[AUTHENTICATION].user(
                request, operation.permission
            )
        for name in operation.path_parameters:
            arguments[name] = _path_uuid(request, name)
        if operation.query is not None:
            arguments["query"] = read_query(operation.query, request.query)
        if operation.body is not None:
            sent = request.content_type if hdrs.CONTENT_TYPE in request.headers else None
            arguments["body"] = read_body(operation.body, await content_of(request), sent)
        if "request" in operation.takes:
            arguments["request"] = request
        result = await operation.handler(**arguments)
        if adapter is None:
            if not isinstance(result, web.StreamResponse):
                raise TypeError(f"{operation.name} returned {type(result).__name__}")
            return result
        return web.Response(
            status=operation.status,
            body=adapter.dump_json(result),
            content_type="application/json",
            headers=_NO_STORE,
        )

    handle.__name__ = operation.name
    handle.__doc__ = operation.handler.__doc__
    return handle


OPERATIONS: web.AppKey[list[Operation]] = web.AppKey("operations", list)
"""All operations in the order of mounting, with their complete paths."""


def setup(app: web.Application, *tables: Routes, prefix: str = "/api/v1") -> None:
    """Mount the operations under ``prefix`` and store them for the description."""
    if OPERATIONS not in app:
        app[OPERATIONS] = []
    known = app[OPERATIONS]
    for table in tables:
        for operation in table.operations:
            whole = replace(operation, path=prefix + operation.path)
            known.append(whole)
            if operation.method == hdrs.METH_GET:
                app.router.add_get(whole.path, _bound(whole), allow_head=True)
            else:
                app.router.add_route(operation.method, whole.path, _bound(whole))
            if operation.method == hdrs.METH_GET and whole.path.endswith("/"):
                app.router.add_get(whole.path[:-1], _with_slash, allow_head=True)


async def _with_slash(request: web.Request) -> web.StreamResponse:
    """Redirect to the path with a slash; the query stays unchanged (RFC 9110, 15.4.9)."""
    query = request.rel_url.raw_query_string
    location = f"{request.rel_url.raw_path}/" + (f"?{query}" if query else "")
    raise web.HTTPPermanentRedirect(URL(location, encoded=True))
