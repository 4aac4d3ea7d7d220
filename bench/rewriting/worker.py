"""One rewriter in its own process: for each line read, rewrite once and print the CPU seconds.

``python worker.py NAME KIND FILE``, run by :mod:`bench.rewriting.__main__`. pywb has a separate
interpreter, so modules of this project are imported only inside the rewriters that need them.
"""

from __future__ import annotations

import functools
import html.parser
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from zenzefi.rewriting.body import BodyRewrite
    from zenzefi.rewriting.engine import Engine

PAGE = "http://app.example/shop/list.html"
PREFIX = "/api/v1/proxy"
CHUNK = 65536
_LEAST = 0.1  # CPU seconds to measure for one result


def plan(kind: str, headers: dict[str, str] | None = None) -> BodyRewrite:
    """A rewrite by the complete engine with all bundled plugins, under a prefix."""
    from multidict import CIMultiDict, CIMultiDictProxy

    from bench.rewriting import pages
    from zenzefi.origin import Mount, MountKind, Origin
    from zenzefi.rewriting.engine import ExchangeHead
    from zenzefi.rewriting.urls import UrlMapper

    mount = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), PREFIX)
    kind = "html" if kind in pages.KINDS else kind
    types = {"html": "text/html", "css": "text/css", "javascript": "text/javascript"}
    sent = {"Content-Type": types.get(kind, "application/json"), **(headers or {})}
    destinations = {"html": "document", "css": "style", "javascript": "script"}
    rewrite = _engine().plan(
        ExchangeHead(
            method="GET",
            url=PAGE,
            status=200,
            mapper=UrlMapper(Origin("http", "app.example", 80), mount),
            mount=mount,
            destination=destinations.get(kind, "empty"),
            request_headers=CIMultiDictProxy(CIMultiDict()),
            response_headers=CIMultiDictProxy(CIMultiDict(sent)),
        )
    )
    assert rewrite is not None
    return rewrite


@functools.cache
def _engine() -> Engine:
    from zenzefi.resources import bundled
    from zenzefi.rewriting.engine import Engine
    from zenzefi.rewriting.plugins.registry import Registry

    return Engine(Registry([bundled("plugins")], entry_points=False))


def gate(kind: str) -> Callable[[bytes], bytes]:
    """The complete engine, fed in chunks of 64 KiB; output is not collected, as in the gate."""

    def run(data: bytes) -> bytes:
        rewrite = plan(kind)
        out = b""
        for start in range(0, len(data), CHUNK):
            out = rewrite.feed(data[start : start + CHUNK]) or out
        return rewrite.finish() or out

    return run


def _map(url: str) -> str:
    return PREFIX + url if url.startswith("/") and not url.startswith("//") else url


_ATTRIBUTES = ("href", "src", "action", "poster", "data", "formaction")


def beautifulsoup(kind: str) -> Callable[[bytes], bytes]:
    """A tree by lxml, walked with BeautifulSoup."""
    import bs4

    def run(data: bytes) -> bytes:
        soup = bs4.BeautifulSoup(data, "lxml")
        for tag in soup.find_all(True):
            for name in _ATTRIBUTES:
                if name in tag.attrs:
                    tag[name] = _map(str(tag[name]))
        return soup.encode()

    return run


def lxml(kind: str) -> Callable[[bytes], bytes]:
    """``lxml.html`` and its own link rewriter."""
    import lxml.html

    def run(data: bytes) -> bytes:
        tree = cast(lxml.html.HtmlElement, lxml.html.document_fromstring(data))
        tree.rewrite_links(_map)
        out: bytes = lxml.html.tostring(tree)
        return out

    return run


def html_parser(kind: str) -> Callable[[bytes], bytes]:
    """The standard library's parser; it serializes the tags."""

    class Rewriter(html.parser.HTMLParser):
        def __init__(self) -> None:
            super().__init__(convert_charrefs=False)
            self.out: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            raw = self.get_starttag_text() or ""
            if any(name in _ATTRIBUTES for name, _ in attrs):
                raw = f"<{tag}"
                for name, value in attrs:
                    new = _map(value or "") if name in _ATTRIBUTES else value or ""
                    raw += f' {name}="{html.escape(new)}"'
                raw += ">"
            self.out.append(raw)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.handle_starttag(tag, attrs)

        def handle_endtag(self, tag: str) -> None:
            self.out.append(f"</{tag}>")

        def handle_data(self, data: str) -> None:
            self.out.append(data)

        def handle_entityref(self, name: str) -> None:
            self.out.append(f"&{name};")

        def handle_charref(self, name: str) -> None:
            self.out.append(f"&#{name};")

        def handle_comment(self, data: str) -> None:
            self.out.append(f"<!--{data}-->")

        def handle_decl(self, decl: str) -> None:
            self.out.append(f"<!{decl}>")

    def run(data: bytes) -> bytes:
        parser = Rewriter()
        parser.feed(data.decode())
        parser.close()
        return "".join(parser.out).encode()

    return run


def pywb(kind: str) -> Callable[[bytes], bytes]:
    """pywb's own rewriters."""
    from pywb.rewrite.html_rewriter import HTMLRewriter
    from pywb.rewrite.regex_rewriters import CSSRewriter
    from pywb.rewrite.url_rewriter import UrlRewriter

    def run(data: bytes) -> bytes:
        urls = UrlRewriter("20200101000000/" + PAGE, "/web/")
        text = data.decode()
        if kind == "css":
            out: str = CSSRewriter(urls).rewrite(text)
            return out.encode()
        rewriter = HTMLRewriter(urls)
        parts = [rewriter.rewrite(text[i : i + CHUNK]) for i in range(0, len(text), CHUNK)]
        text = "".join([*parts, rewriter.final_read()])
        return text.encode()

    return run


REWRITERS = {
    "gate": gate,
    "pywb": pywb,
    "BeautifulSoup + lxml": beautifulsoup,
    "lxml.html": lxml,
    "html.parser": html_parser,
}


def main() -> None:
    """Print the average CPU seconds of one rewrite for each line read."""
    name, kind, path = sys.argv[1:4]
    data = Path(path).read_bytes()
    run = REWRITERS[name](kind)
    if not run(data):
        raise SystemExit("no output")
    print("ready", flush=True)
    for _ in sys.stdin:
        start, runs, spent = time.process_time(), 0, 0.0
        while spent < _LEAST:  # a fast rewriter takes less than the resolution of the clock
            run(data)
            runs += 1
            spent = time.process_time() - start
        print(spent / runs, flush=True)


if __name__ == "__main__":
    main()
