"""The documents to rewrite, generated and identical in every run."""

from __future__ import annotations

ORIGIN = "http://app.example"
PAGE = ORIGIN + "/shop/list.html"

_CARD = """<div class="card" id="card-{i}" data-key="{i}">
  <h3 class="title"><a href="/items/{i}/details" title="Item {i}">Item number {i}</a></h3>
  <p class="text-muted small">A lamp that has stood on the shelf since the lighthouse was built,
  with a wick for long nights, a handle for windy ones and a story for each of its dents.</p>
  <img src="https://cdn.example/{i}.jpg" alt="Picture {i}" width="320" height="200" loading="lazy">
  <ul class="tags"><li class="tag">brass</li><li class="tag">old</li><li class="tag">warm</li></ul>
  <button type="button" class="btn btn-primary" onclick="add({i})">Add &amp; go on</button>
</div>
"""
_RULE = """.card-{i} > .title:hover, .card-{i} a::before {{ color: rgba(0, 0, 0, .5); margin: 0; }}
@media (min-width: {i}px) {{ .wide-{i} {{ display: flex; width: calc(100% - 2rem); }} }}
/* the shelf of item {i} */
.shelf-{i} {{ transition: transform .2s ease-in-out; content: "\\201C"; border: 1px solid #abc; }}
.list-{i} li:nth-child(2n+1):not(.tag) {{ font: 1rem/1.5 "Source Sans", sans-serif; padding: 0 }}
"""


def html(size: int) -> bytes:
    """A page of cards: a root-relative link, an external image and a dozen plain tags in each."""
    cards = "".join(_CARD.format(i=i) for i in range(size // 640 + 1))
    return (
        f"<!doctype html><html><head><title>Shop</title></head><body>{cards}</body></html>".encode()
    )


def css(size: int) -> bytes:
    """A style sheet with an address in every tenth group of rules."""
    groups = [
        _RULE.format(i=i)
        + (f".icon-{i}{{background:url(/icons/{i}.svg)}}\n" if i % 10 == 0 else "")
        for i in range(size // 420 + 1)
    ]
    return "".join(groups).encode()


def javascript(size: int) -> bytes:
    """A script without an address of the upstream."""
    line = "export function shelf{i}(a, b) {{ return fetch(`/api/${{a}}`).then(r => r.json()); }}\n"
    return "".join(line.format(i=i) for i in range(size // 80 + 1)).encode()


def json(size: int) -> bytes:
    """A list of records without an absolute address."""
    line = '{{"id": {i}, "name": "Lamp {i}", "price": "18.00", "path": "/items/{i}", "ok": true}}'
    return ("[" + ",\n".join(line.format(i=i) for i in range(size // 80 + 1)) + "]").encode()
