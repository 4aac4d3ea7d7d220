"""Checks of a plugin class when it is loaded."""

from __future__ import annotations

import difflib
import inspect

from pydantic import BaseModel

from zenzefi.rewriting.plugins.api import HOOKS, Match, Needs, Plugin
from zenzefi.rewriting.plugins.served import declared_routes, route_problems

_GENERIC = frozenset(("enabled", "shadow"))
_USES = {
    Needs.CHUNKS: "scanner",
    Needs.TOKENS: "token",
    Needs.TEXT_NODES: "text_node",
    Needs.TEXT: "text",
    Needs.JSON: "json_value",
    Needs.DOCUMENT: "document",
}
REQUEST_SIDE = ("request", "request_body", "request_chunk", "upstream_error")
"""The hooks that are called in a request's task."""
SOCKET_HOOKS = ("websocket_open", "websocket_message", "websocket_close")
HEADER_HOOKS = (
    *REQUEST_SIDE,
    *("request_headers", "early_response", "response", "response_headers"),
    *SOCKET_HOOKS,
)
"""The hooks that do not get the body of a response."""
LIFETIME = frozenset(("startup", "shutdown"))
"""The hooks of the process, not of a request."""
ASYNC_HOOKS = LIFETIME | {"request", "request_body"}
"""The hooks that may be coroutines."""
PHASES = ("before", "mapping", "after")
"""The phases in which plugins get a body, in their order."""
_TUPLES = ("before", "after", "tags", "varies", "request_types")


def check(plugin_class: type[Plugin]) -> list[str]:
    """All errors as plain sentences; empty if there are none."""
    name = plugin_class.name
    try:
        needs = Needs(plugin_class.needs)
    except ValueError:
        return [f"{name}.needs is {plugin_class.needs!r}; it is one of {', '.join(Needs)}."]
    return [
        *_attributes(plugin_class),
        *_hooks(plugin_class, needs),
        *_options(plugin_class),
        *route_problems(plugin_class, _takes, _handler),
    ]


def _handler(self: object, exchange: object, request: object) -> None:
    """A handler of a route, as the gate calls it."""


def misspelt(plugin_class: type[Plugin]) -> list[str]:
    """Methods and attributes whose names look like those of the API, such as response_header."""
    known = {name for name in vars(Plugin) if not name.startswith("_")} | set(HOOKS)
    known |= {handler for _, handler in declared_routes(plugin_class)}
    problems = []
    for name in vars(plugin_class):
        if name.startswith("_") or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if close:
            problems.append(
                f"{plugin_class.name}.{name} is not part of the API; is it {close[0]}? Names of "
                "your own begin with an underscore."
            )
    return problems


def deprecations(plugin_class: type[Plugin]) -> list[str]:
    """Better ways for a plugin of the first edition, which keeps working."""
    name = plugin_class.name
    found = []
    if plugin_class.messages:
        found.append(f"{name}.messages is not needed any more: websocket_message() is enough.")
    if plugin_class.phase is None and (plugin_class.before or plugin_class.after):
        found.append(
            f"{name}: phase says when it gets the body, instead of names of other plugins."
        )
    return found


def does_nothing(plugin_class: type[Plugin]) -> bool:
    """Whether none of its hooks is ever called, which is probably a mistake."""
    if declared_routes(plugin_class) or plugin_class.static is not None:
        return False
    return plugin_class.needs == Needs.HEADERS and not own_hooks(plugin_class) & set(HEADER_HOOKS)


def own_hooks(plugin_class: type[Plugin]) -> set[str]:
    """The hooks that it overrides."""
    return {hook for hook in HOOKS if getattr(plugin_class, hook) is not getattr(Plugin, hook)}


def _attributes(plugin_class: type[Plugin]) -> list[str]:
    name = plugin_class.name
    problems = []
    matches: object = plugin_class.matches
    if not isinstance(matches, Match):
        problems.append(f"{name}.matches is {matches!r}; it is Match(...).")
    for attribute in _TUPLES:
        value: object = getattr(plugin_class, attribute)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            problems.append(
                f'{name}.{attribute} is {value!r}; it is a tuple of strings, like ("h1",).'
            )
    if plugin_class.phase not in (None, *PHASES):
        problems.append(
            f"{name}.phase is {plugin_class.phase!r}; it is one of {', '.join(PHASES)}."
        )
    if plugin_class.tags and plugin_class.needs != Needs.TOKENS:
        problems.append(f"{name}.tags means nothing without needs = Needs.TOKENS.")
    return problems


def _hooks(plugin_class: type[Plugin], needs: Needs) -> list[str]:
    name = plugin_class.name
    own = own_hooks(plugin_class)
    problems = []
    wanted = _USES.get(needs)
    if wanted and wanted not in own:
        problems.append(f"{name} needs {needs.value!r} but has no {wanted}() hook.")
    problems += [
        f"{name} has a {hook}() hook, which needs = {other.value!r}."
        for other, hook in _USES.items()
        if hook in own and other is not needs
    ]
    for hook in sorted(own):
        function = getattr(plugin_class, hook)
        is_async = inspect.iscoroutinefunction(function) and hook not in ASYNC_HOOKS
        if is_async or inspect.isasyncgenfunction(function):
            problems.append(f"{name}.{hook} is a coroutine; this hook is a plain function.")
        elif not _takes(function, getattr(Plugin, hook)):
            asked = ", ".join(inspect.signature(getattr(Plugin, hook)).parameters)
            problems.append(f"{name}.{hook} can't be called: it takes ({asked}).")
    return problems


def _takes(function: object, model: object) -> bool:
    """Whether a hook can be called as the engine calls it: with the model's parameters."""
    if not callable(function) or not callable(model):
        return False
    try:
        inspect.signature(function).bind(*inspect.signature(model).parameters)
    except TypeError:
        return False
    except ValueError:  # written in C: it has no signature
        return True
    return True


def _options(plugin_class: type[Plugin]) -> list[str]:
    name = plugin_class.name
    options: object = plugin_class.Options
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        return [f"{name}.Options is not a pydantic model."]
    if reserved := _GENERIC & set(options.model_fields):
        return [f"{name}.Options may not have {', '.join(sorted(reserved))}: reserved."]
    return []
