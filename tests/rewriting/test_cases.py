"""The engine against real-world documents, scored by the checker in their folder.

The documents are not in this repository. ``ZENZEFI_CASES`` names their folder; the default is
``../shared/cases``, relative to the checkout. Without the folder these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.kit.cases import CASES
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

pytestmark = pytest.mark.skipif(
    not (CASES / "check.py").is_file(),
    reason=f"no rewriting cases: set ZENZEFI_CASES to their folder ({CASES} has no check.py)",
)

UPSTREAM = Origin("http", "127.0.0.1", 9000)
GATE = Origin("http", "127.0.0.1", 8000)
MOUNTS = {
    "prefix": Mount(MountKind.PREFIX, GATE, "/api/v1/proxy"),
    "root": Mount(MountKind.ORIGIN, Origin("http", "app.gate.test", 8000)),
    "client": Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000)),
}
CHUNKS = (4096, 7, 1)
"""The sizes, in bytes, of the pieces in which a body arrives; the output is the same for all."""
FILES = ["js", "js_noharm", "xml_feeds", "xml_media_json", "headers"]
if (bundled("plugins") / "html.py").is_file():
    FILES += ["content", "html", "html_derived", "html_noharm", "url_in_html"]
if (bundled("plugins") / "css.py").is_file():
    FILES += ["css", "css_derived"]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rewriting_check", CASES / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Registry([bundled("plugins")], entry_points=False))


class Fetch:
    """Asks the engine as ``check.Gate`` asks a running gate."""

    def __init__(self, check: ModuleType, engine: Engine, mount: Mount) -> None:
        self.check, self.engine, self.mount = check, engine, mount
        self.mapper = UrlMapper(UPSTREAM, mount)

    def __call__(self, url: str, message: Any) -> Any:
        check = self.check
        kind = check.kind_of(message.content_type, message.data)
        destination = "document"
        if kind not in (check.html, check.xml):
            destination = {check.css: "style", check.script: "script"}.get(kind, "empty")
        name = message.content_type.removeprefix("header/")
        is_header = name != message.content_type
        if is_header:
            value = message.data.decode("utf-8", "surrogateescape")
            headers = {name.title(): value, "Content-Type": "text/plain"}
        else:
            known = message.content_type not in ("", "none")
            headers = {"Content-Type": message.content_type} if known else {}
        exchange = ExchangeHead(
            method="GET",
            url=url,
            status=302 if name == "location" else 200,
            mapper=self.mapper,
            mount=self.mount,
            destination=destination,
            request_headers=CIMultiDictProxy(CIMultiDict({"Accept-Encoding": "identity"})),
            response_headers=CIMultiDictProxy(CIMultiDict(headers)),
        )
        if is_header:
            out = CIMultiDict(self.engine.map_response_headers(exchange)).getall(name, [])
            value = "\n".join(out)
            return check.Message(value.encode("utf-8", "surrogateescape"), message.content_type)
        whole, *cut = (self._rewrite(exchange, message.data, size) for size in CHUNKS)
        assert cut == [whole] * len(cut), "the cut into chunks makes a difference"
        return whole

    def _rewrite(self, exchange: ExchangeHead, data: bytes, chunk: int) -> Any:
        rewrite = self.engine.plan(exchange)
        if rewrite is None:
            return self.check.Message(data, exchange.response_headers.get("Content-Type", ""))
        parts = [rewrite.feed(data[i : i + chunk]) for i in range(0, len(data), chunk)]
        sent = CIMultiDict(rewrite.headers)
        return self.check.Message(b"".join(parts) + rewrite.finish(), sent.get("Content-Type", ""))


@pytest.mark.filterwarnings("ignore")  # the checker's parsers warn about what they are fed
@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("file", FILES)
def test_every_case_means_the_same_behind_the_gate(
    check: ModuleType, engine: Engine, file: str, mount: str
) -> None:
    cases = json.loads((CASES / f"{file}.json").read_text(encoding="utf-8"))
    cases = [case for case in cases if case["content_type"] != "header/set-cookie"]
    where = MOUNTS[mount]
    seen = check.Mount(str(where.public), where.prefix, str(UPSTREAM))
    wrong = []
    judged = 0
    for result in check.score(cases, Fetch(check, engine, where), seen):
        if result is None:
            continue
        judged += 1
        if result.complaints or result.again:
            wrong.append(
                (result.source, result.input, result.output, result.complaints, result.again)
            )
    assert judged > 0
    report = "\n".join(
        f"{s}\n  in  {i!r:.400}\n  out {o!r:.400}\n  {c} {a}" for s, i, o, c, a in wrong
    )
    assert not wrong, f"{len(wrong)} of {judged} cases:\n{report}"
