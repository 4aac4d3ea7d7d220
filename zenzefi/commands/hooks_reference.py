"""Writes ``docs/reference/hooks.md`` from the docstrings of the public plugin API."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
from collections.abc import Callable

from zenzefi import http_syntax, plugins
from zenzefi.rewriting.plugins.api import HOOKS, Plugin

_HEAD = """\
# Plugin hooks

Made from the docstrings of `zenzefi.plugins` by `make docs`; a test fails when it is out of date.
The tutorial is [Write a plugin in ten minutes](../plugins.md).
"""

_RECIPES, _BUNDLED = "../plugins", "../../plugins"
EXAMPLES = {
    "startup": f"{_RECIPES}/single_sign_on.py",
    "shutdown": f"{_RECIPES}/upload_audit.py",
    "request": f"{_RECIPES}/path_block.py",
    "request_body": f"{_RECIPES}/content_filter.py",
    "request_chunk": f"{_RECIPES}/upload_audit.py",
    "request_headers": f"{_BUNDLED}/header_policy.py",
    "early_response": f"{_RECIPES}/robots.py",
    "response": f"{_RECIPES}/ab_test.py",
    "response_headers": f"{_BUNDLED}/header_policy.py",
    "upstream_error": f"{_RECIPES}/error_page.py",
    "websocket_open": f"{_RECIPES}/socket_audit.py",
    "websocket_message": f"{_BUNDLED}/websocket_log.py",
    "websocket_close": f"{_RECIPES}/socket_audit.py",
    "applies": f"{_RECIPES}/translation.py",
    "scanner": f"{_BUNDLED}/css_theme.py",
    "token": f"{_BUNDLED}/banner.py",
    "text_node": f"{_RECIPES}/masking.py",
    "text": f"{_RECIPES}/watermark.py",
    "json_value": f"{_BUNDLED}/json_mask.py",
    "document": f"{_BUNDLED}/outline.py",
}
"""A plugin that shows a hook, by the path from the reference."""


def reference() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD, "## The class `Plugin`\n", _doc(Plugin), "### Attributes\n"]
    parts += [f"- `{name}`: {text}" for name, text in attributes(Plugin).items()]
    parts.append("\n### Hooks\n")
    for hook in HOOKS:
        function = getattr(Plugin, hook)
        parts += [f"#### `{_signature(function)}`\n", _doc(function)]
        example = EXAMPLES[hook]
        parts.append(f"Example: [{example.rpartition('/')[2]}]({example}).\n")
    parts += ["### Addresses\n", f"#### `{_signature(Plugin.address)}`\n", _doc(Plugin.address)]
    parts += [
        f"Example: [feedback.py]({_RECIPES}/feedback.py).\n",
        "## What hooks get and return\n",
    ]
    for name in plugins.__all__:
        thing = getattr(plugins, name)
        if thing is Plugin:
            continue
        if inspect.isclass(thing):
            parts += [f"### `{name}`\n", _doc(thing), *_members(thing)]
        elif not callable(thing):
            parts += [f"### `{name}`\n", f"{_constant(thing)}\n"]
        else:
            parts += [f"### `{_signature(thing)}`\n", _doc(thing)]
    return "\n".join(parts).rstrip() + "\n"


def _constant(value: object) -> str:
    """The description of a constant, from the string after its assignment."""
    module = plugins if value is plugins.API else http_syntax
    defined = next(name for name, thing in vars(module).items() if thing is value)
    return _described(ast.parse(inspect.getsource(module)).body)[defined]


def _signature(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", "")
    signature = inspect.signature(function)
    kept = [p for p in signature.parameters.values() if p.name != "self"]
    returned = signature.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {returned}"
    shown = ", ".join(str(parameter).replace("'", "") for parameter in kept)
    return f"{name}({shown}){arrow}".replace("'", "")


def _doc(thing: object) -> str:
    text = inspect.getdoc(thing) or ""
    return _markdown(text) + "\n"


def _markdown(text: str) -> str:
    return re.sub(r":[a-z]+:`", "`", text.replace("``", "`"))


def _members(cls: type) -> list[str]:
    lines = [f"- `{name}`: {text}" for name, text in attributes(cls).items()]
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = name if isinstance(member, property) else _signature(function)
        lines.append(f"- `{shown}`: {' '.join(_doc(function).split())}")
    return [*lines, ""] if lines else []


def attributes(cls: type) -> dict[str, str]:
    """The attributes of a class and their descriptions: the string after each assignment."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return _described(body, every=cls is Plugin or issubclass(cls, enum.Enum))


def _described(body: list[ast.stmt], *, every: bool = False) -> dict[str, str]:
    """Public names assigned in ``body`` and their descriptions; ``every``: also those without."""
    found: dict[str, str] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        name = _target(node)
        if name is None or name.startswith("_"):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = ast.literal_eval(following.value)
            found[name] = _markdown(" ".join(str(text).split()))
        elif every:
            found[name] = ""
    return found


def _target(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None
