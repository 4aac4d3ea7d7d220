"""What ``zenzefi plugin new`` writes: a plugin that works, and its test."""

from __future__ import annotations

import textwrap

_PLUGIN = '''\
"""{title}: say here what it changes, and why."""

from __future__ import annotations

{imports}


class {cls}(Plugin):
    """Say here what it does, in one line."""

    name = "{name}"
    matches = Match(content_types=("{content_type}",))
    needs = Needs.{needs}
{attributes}
    class Options(PluginOptions):
        """What PLUGIN_OPTIONS={{"{name}": {{...}}}} may hold."""

        text: str = "Hello"

    options: Options

{hook}
'''

_HOOKS: dict[str, tuple[str, str, str, str]] = {
    "headers": (
        "text/html",
        "from multidict import CIMultiDict\n\n"
        "from zenzefi.plugins import Exchange, Match, Needs, Plugin, PluginOptions",
        '''
        def response_headers(self, exchange: Exchange, headers: CIMultiDict[str]) -> None:
            """Called for every response that matches."""
            headers["X-Text"] = self.options.text
        ''',
        'run_plugin({cls}, b"").headers["X-Text"] == "Hello"',
    ),
    "tokens": (
        "text/html",
        "from html import escape\n\n"
        "from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, Token",
        '''
        def token(self, exchange: Exchange, token: Token) -> Edit | None:
            """Called for every opening <h1>."""
            return token.before(f"<p>{escape(self.options.text)}</p>".encode())
        ''',
        'run_plugin({cls}, b"<H1>x</H1>").body == b"<p>Hello</p><H1>x</H1>"',
    ),
    "text_nodes": (
        "text/html",
        "from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, TextNode",
        '''
        def text_node(self, exchange: Exchange, node: TextNode) -> Edit | None:
            """Called for every text, whole."""
            text = node.text.replace("old", self.options.text)
            return node.replace(text) if text != node.text else None
        ''',
        'run_plugin({cls}, b"<p>the old text").body == b"<p>the Hello text"',
    ),
    "text": (
        "text/plain",
        "from collections.abc import Iterable\n\n"
        "from zenzefi.plugins import Exchange, Match, Needs, Plugin, PluginOptions, TextEdit",
        '''
        def text(self, exchange: Exchange, text: str) -> Iterable[TextEdit]:
            """Called once with the whole body."""
            return [TextEdit(0, 0, self.options.text + "\\n")]
        ''',
        'run_plugin({cls}, b"x", content_type="text/plain").body == b"Hello\\nx"',
    ),
    "json": (
        "application/json",
        "from zenzefi.plugins import (\n    Edit,\n    Exchange,\n    JsonValue,\n    Match,\n"
        "    Needs,\n    Plugin,\n    PluginOptions,\n)",
        '''
        def json_value(self, exchange: Exchange, value: JsonValue) -> Edit | None:
            """Called for every string, number, true, false and null."""
            return value.replace(self.options.text) if value.pointer == "/greeting" else None
        ''',
        'run_plugin({cls}, b\'{{"greeting":  1}}\', content_type="application/json").body '
        '== b\'{{"greeting":  "Hello"}}\'',
    ),
    "document": (
        "text/html",
        "from typing import Any\n\n"
        "from zenzefi.plugins import Exchange, Match, Needs, Plugin, PluginOptions",
        '''
        def document(self, exchange: Exchange, soup: Any) -> None:
            """Called with the page as a BeautifulSoup tree."""
            for heading in soup.find_all("h1"):
                heading.string = self.options.text
        ''',
        'run_plugin({cls}, b"<h1>x</h1>").text.count("<h1>Hello</h1>") == 1',
    ),
    "chunks": (
        "text/plain",
        "import re\n"
        "from collections.abc import Sequence\n\n"
        "from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, Scanner",
        '''
        def scanner(self, exchange: Exchange) -> Scanner:
            """A new reader for every body."""
            return _Scanner(self.options.text.encode())


        class _Scanner:
            def __init__(self, new: bytes) -> None:
                self._new = new

            def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
                # Whole lines only: a line that the window cuts comes back with more behind it.
                settled = len(window) if final else window.rfind(b"\\n") + 1
                found = re.finditer(rb"(?m)^TODO$", window[:settled])
                return settled, [Edit(*match.span(), self._new) for match in found]
        ''',
        'run_plugin({cls}, b"a\\nTODO\\nb", content_type="text/plain").body == b"a\\nHello\\nb"',
    ),
}

_ATTRIBUTES = {
    "tokens": '    tags = ("h1",)\n',
}

_TEST = '''\
"""Runs with: pytest {file}"""

from {module} import {cls}

pytest_plugins = ["zenzefi.plugins_testing"]


def test_it_does_what_it_says(run_plugin):
    assert {check}
'''

KINDS = tuple(sorted(_HOOKS))
"""Templates of new plugins, one for each kind of body access."""


def render(name: str, needs: str) -> tuple[str, str]:
    """The source of a new plugin and of its test."""
    module = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in module.split("_"))
    content_type, imports, hook, check = _HOOKS[needs]
    body = textwrap.dedent(hook).strip("\n")
    head, _, rest = body.partition("\n\n\n")
    hook_text = textwrap.indent(head, "    ") + (f"\n\n\n{rest}" if rest else "")
    source = _PLUGIN.format(
        title=cls,
        imports=imports,
        cls=cls,
        name=name,
        content_type=content_type,
        needs=needs.upper(),
        attributes=_ATTRIBUTES.get(needs, ""),
        hook=hook_text.rstrip(),
    )
    test = _TEST.format(
        file=f"test_{module}.py", module=module, cls=cls, check=check.format(cls=cls)
    )
    return source, test


_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "zenzefi-{name}"
version = "1.0"
description = "A plugin for zenzefi."
requires-python = ">=3.11"
dependencies = ["zenzefi"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."zenzefi.plugins"]
{name} = "{module}:{cls}"

[tool.setuptools]
py-modules = ["{module}"]
package-dir = {{"" = "src"}}

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
"""

_CI = """\
name: test
on: [push, pull_request]
permissions:
  contents: read
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.14"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
      - run: pip install .[test]
      - run: zenzefi plugin check src/*.py
      - run: pytest
"""

_README = """\
# zenzefi-{name}

A plugin for zenzefi. `pip install .` installs it, and `zenzefi plugin list` shows it. Options:
`PLUGIN_OPTIONS={{"{name}": {{"text": "..."}}}}`.
"""


def render_package(name: str, needs: str) -> dict[str, str]:
    """The files of a package with a new plugin, its test and its CI: path to text."""
    module = name.replace("-", "_")
    cls = "".join(part.capitalize() for part in module.split("_"))
    source, test = render(name, needs)
    return {
        f"src/{module}.py": source,
        f"tests/test_{module}.py": test,
        "pyproject.toml": _PROJECT.format(name=name, module=module, cls=cls),
        "README.md": _README.format(name=name),
        ".github/workflows/test.yml": _CI,
    }
