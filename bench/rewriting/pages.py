"""Documentation pages as the usual generators write them, made up and identical in every run.

Their markup is dense: a page of 20 KB has 300 to 700 tags, most of them with classes and anchors,
and most of its links lead to the same site.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

_NOUNS = ("lamp", "wick", "mirror", "lens", "keeper", "stair", "harbour", "signal", "storm", "log")
_VERBS = ("light", "trim", "polish", "turn", "watch", "climb", "guard", "send", "enter", "wind")
_TEXT = (
    "The {0} is lit before sunset and kept burning until the {1} can be read without it. The"
    " next watch notes the hour, the state of the {2} and the colour of the sky, so that"
    " the next one knows what to expect."
)


def _word(i: int) -> str:
    return _NOUNS[i % len(_NOUNS)]


def _verb(i: int) -> str:
    return _VERBS[(i * 7) % len(_VERBS)]


def _text(i: int) -> str:
    return _TEXT.format(_word(i), _word(i + 3), _word(i + 7))


def _filled(size: int, head: str, section: Callable[[int], str], foot: str) -> bytes:
    """``head``, sections until ``size`` bytes are reached, ``foot``."""
    parts, length = [head], len(head) + len(foot)
    for i in count():
        if length >= size:
            break
        parts.append(section(i))
        length += len(parts[-1])
    return "".join((*parts, foot)).encode()


# --- a manual with relative links, each token of code in a span ----------------------------------

_MANUAL_HEAD = """<!DOCTYPE html>

<html lang="en" data-content_root="../">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1.0" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Keeping the light &#8212; Lighthouse 4.2 documentation</title>
    <link rel="stylesheet" type="text/css" href="../_static/syntax.css?v=4f649999" />
    <link rel="stylesheet" type="text/css" href="../_static/manual.css?v=785379f5" />
    <link rel="stylesheet" type="text/css" href="../_static/copy.css?v=76b2166b" />
    <script src="../_static/options.js?v=5929fcd5"></script>
    <script src="../_static/tools.js?v=9bcbadda"></script>
    <script src="../_static/highlight.js?v=dc90522c"></script>
    <link rel="icon" href="../_static/favicon.ico"/>
    <link rel="index" title="Index" href="../genindex.html" />
    <link rel="search" title="Search" href="../search.html" />
    <link rel="next" title="Signals" href="signals.html" />
    <link rel="prev" title="Overview" href="overview.html" />
  </head><body>
    <div class="related" role="navigation" aria-label="Related">
      <h3>Navigation</h3>
      <ul>
        <li class="right" style="margin-right: 10px">
          <a href="../genindex.html" title="General Index" accesskey="I">index</a></li>
        <li class="nav-item nav-item-0"><a href="../index.html">Lighthouse 4.2</a> &#187;</li>
        <li class="nav-item nav-item-1"><a href="index.html" accesskey="U">Guide</a> &#187;</li>
      </ul>
    </div>
    <div class="document"><div class="documentwrapper"><div class="bodywrapper">
          <div class="body" role="main">
"""
_MANUAL_FOOT = """
            <div class="clearer"></div></div></div></div>
      <div class="sphinxsidebar" role="navigation" aria-label="Main"><ul class="current">
""" + "".join(
    f'<li class="toctree-l1"><a class="reference internal" href="../{_word(i)}/{_verb(i)}.html">'
    f"{_word(i).title()}</a></li>\n"
    for i in range(24)
)
_MANUAL_END = """</ul></div></div>
    <div class="footer" role="contentinfo">&#169; Copyright, the keepers.
      Created using <a href="https://generator.example/">a generator</a>.</div>
  </body>
</html>
"""


def _manual_code(i: int) -> str:
    lines = "".join(
        f'<span class="kn">from</span><span class="w"> </span><span class="nn">lighthouse.'
        f'{_word(i + n)}</span><span class="w"> </span><span class="kn">import</span>'
        f'<span class="w"> </span><span class="n">{_verb(i + n)}</span>\n'
        f'<span class="n">{_verb(i + n)}</span><span class="p">(</span><span class="s2">'
        f'&quot;{_word(n)}&quot;</span><span class="p">,</span> <span class="n">hours</span>'
        f'<span class="o">=</span><span class="mi">{n + 4}</span><span class="p">)</span>\n'
        for n in range(2)
    )
    return (
        '<div class="highlight-python notranslate"><div class="highlight"><pre><span></span>'
        f"{lines}</pre></div>\n</div>\n"
    )


def _manual_section(i: int) -> str:
    noun, verb = _word(i), _verb(i)
    name = f"lighthouse.{noun}.{verb}"
    return (
        f'<section id="{verb}-the-{noun}-{i}">\n<span id="{noun}-{i}"></span>'
        f'<h2>{verb.title()} the {noun}<a class="headerlink" href="#{verb}-the-{noun}-{i}" '
        f'title="Link to this heading">¶</a></h2>\n'
        f"<p>{_text(i)} See "
        f'<a class="reference internal" href="../api/{noun}.html#{name}" title="{name}">'
        f'<code class="xref py py-func docutils literal notranslate"><span class="pre">{verb}()'
        f'</span></code></a> and <a class="reference internal" href="../{_word(i + 1)}/index.html">'
        f'<span class="doc">the {_word(i + 1)}</span></a>, or '
        f'<a class="reference external" href="https://sea.example/charts/{noun}">the charts</a>.'
        f"</p>\n{_manual_code(i)}"
        f'<dl class="py function">\n<dt class="sig sig-object py" id="{name}">\n'
        f'<span class="sig-prename descclassname"><span class="pre">lighthouse.{noun}.</span>'
        "</span>"
        f'<span class="sig-name descname"><span class="pre">{verb}</span></span>'
        f'<span class="sig-paren">(</span><em class="sig-param"><span class="n">'
        f'<span class="pre">hours</span></span></em><span class="sig-paren">)</span>'
        f'<a class="headerlink" href="#{name}" title="Link to this definition">¶</a></dt>\n'
        f"<dd><p>{_text(i + 1)}</p>\n</dd></dl>\n</section>\n"
    )


def manual(size: int) -> bytes:
    """A page of a manual in a folder of the site; addresses are relative (``../x.html``)."""
    return _filled(size, _MANUAL_HEAD, _manual_section, _MANUAL_FOOT + _MANUAL_END)


# --- a book: inline scripts, inline icons, long text ----------------------------------------------

_ICON = (
    '<span class="fa-svg" id="{0}"><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 448 512">'
    '<path d="M10 40C10 30 20 20 32 20l380 0c12 0 20 10 20 20s-8 20-20 20L32 60C20 60 10 52 10 40z'
    'M10 200c0-12 10-22 22-22l380 0c12 0 20 10 20 22s-8 22-20 22l-380 0c-12 0-22-10-22-22z"/>'
    "</svg></span>"
)
_BOOK_HEAD = """<!DOCTYPE HTML>
<html lang="en" class="light sidebar-visible" dir="ltr">
    <head>
        <!-- Book generated using a generator -->
        <meta charset="UTF-8">
        <title>Storm warnings - The Lighthouse Book</title>
        <!-- Custom HTML head -->
        <meta name="description" content="">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="theme-color" content="#ffffff">
        <link rel="icon" href="favicon-de23e50b.svg">
        <link rel="stylesheet" href="css/variables-8adf115d.css">
        <link rel="stylesheet" href="css/general-2459343d.css">
        <link rel="stylesheet" href="css/print-9e4910d8.css" media="print">
        <link rel="stylesheet" id="highlight-css" href="highlight-493f70e1.css">
        <script>
            const path_to_root = "";
            const default_light_theme = "light";
            const default_dark_theme = "navy";
            window.path_to_searchindex_js = "searchindex-2e31c2a4.js";
        </script>
        <script src="toc-4a1c1a21.js"></script>
    </head>
    <body>
    <div id="body-container">
        <script>
            const stored = window.localStorage ? localStorage.getItem("book-theme") : null;
            const wide = document.documentElement.clientWidth > 1080 && stored !== "narrow";
            document.documentElement.classList.toggle("sidebar-visible", wide);
        </script>
        <input type="checkbox" id="sidebar-toggle-anchor" class="hidden">
        <nav id="sidebar" class="sidebar" aria-label="Table of contents">
            <book-sidebar class="sidebar-scrollbox"></book-sidebar>
            <noscript>
                <iframe class="sidebar-iframe-outer" src="toc.html"></iframe>
            </noscript>
            <div id="sidebar-resize-handle" class="sidebar-resize-handle"></div>
        </nav>
        <div id="page-wrapper" class="page-wrapper"><div class="page">
""" + "".join(
    f'<button id="{name}" class="icon-button" type="button" title="{name}" aria-label="{name}">'
    f"{_ICON.format(name + '-icon')}</button>\n"
    for name in ("sidebar-toggle", "theme-toggle", "search-toggle", "print-button", "edit-button")
)
_BOOK_FOOT = f"""
        <nav class="nav-wide-wrapper" aria-label="Page navigation">
            <a rel="prev" href="ch05-01-signals.html" class="nav-chapters previous"
               aria-label="Previous chapter">{_ICON.format("previous")}</a>
            <a rel="next prefetch" href="ch05-03-fog.html" class="nav-chapters next"
               aria-label="Next chapter">{_ICON.format("next")}</a>
        </nav>
        <script>window.playground_copyable = true;</script>
        <script src="elasticlunr-ef4e11c1.min.js"></script>
        <script src="mark-09e88c2c.min.js"></script>
        <script src="highlight-abc7f01d.js"></script>
        <script src="book-a0b12cfe.js"></script>
    </div></div></div>
    </body>
</html>
"""


def _book_section(i: int) -> str:
    noun, verb = _word(i), _verb(i)
    return (
        f'<h3 id="{verb}-{noun}-{i}"><a class="header" href="#{verb}-{noun}-{i}">'
        f"{verb.title()} the {noun}</a></h3>\n"
        f"<p>{_text(i)} The <code>{verb}</code> command takes the <code>{noun}</code> and "
        f'<a href="ch{i % 20:02}-00-{noun}.html">everything around it</a>.</p>\n'
        f"<p>{_text(i + 2)}</p>\n"
        f'<pre><code class="language-console">$ lighthouse {verb} --{noun}\n'
        f"   Compiling {noun} v0.{i}.0 (file:///projects/{noun})\n</code></pre>\n"
        f"<p>{_text(i + 4)} <em>{verb.title()}</em> it first, then "
        f'<a href="../std/{noun}/struct.{verb.title()}.html"><code>{verb.title()}</code></a>.</p>\n'
    )


def book(size: int) -> bytes:
    """A chapter of a book with inline scripts and icons; few links."""
    return _filled(size, _BOOK_HEAD, _book_section, _BOOK_FOOT)


# --- a reference on a site with rooted addresses -------------------------------------------------

_SIDEBAR = "".join(
    f"<li><details><summary>{_word(i).title()}</summary><ol>"
    + "".join(
        f'<li><a href="/en/docs/{_word(i)}/{_verb(n)}"><code>{_verb(n)}()</code></a></li>'
        for n in range(6)
    )
    + "</ol></details></li>\n"
    for i in range(9)
)
_REFERENCE_HEAD = f"""<!DOCTYPE html>
<html lang="en" class="hybrid" style="color-scheme: light dark"><head><meta charset="UTF-8"/>
<meta name="viewport" content="width=device-width,initial-scale=1"/>
<link rel="icon" href="/static/favicon.ico"/><link rel="apple-touch-icon" href="/static/touch.png"/>
<meta name="theme-color" content="#ffffff"/><link rel="manifest" href="/static/app.webmanifest"/>
<link rel="search" type="application/opensearchdescription+xml" href="/opensearch.xml"/>
<title>Lamp: trim() method - Reference | Lighthouse</title>
<link rel="alternate" title="Lampe" href="https://light.example/de/docs/lamp/trim" hreflang="de"/>
<link rel="alternate" title="Lampe" href="https://light.example/fr/docs/lamp/trim" hreflang="fr"/>
<meta name="description" content="The trim() method cuts the wick to the given length."/>
<meta property="og:url" content="https://light.example/en/docs/lamp/trim"/>
<meta property="og:image" content="https://light.example/social.png"/>
<link rel="preload" as="font" type="font/woff2" href="/static/media/inter.woff2" crossorigin=""/>
<link href="/static/css/main.e8b4a2f1.css" rel="stylesheet"/>
<script defer="defer" src="/static/js/main.3b9a4cfe.js"></script></head><body><div id="root">
<ul id="nav-access" class="a11y-nav"><li><a id="skip-main" href="#content">Skip to main content</a>
</li></ul><div class="page-wrapper category-api document-page"><header class="top-navigation">
<a href="/en/" class="logo" aria-label="Home"><svg id="logo" viewBox="0 0 694.9 104.4"
 style="enable-background:new 0 0 694.9 104.4" xmlns="http://www.w3.org/2000/svg" role="img">
<title>Lighthouse</title><path d="M10 90 30 10h20L70 90H50V50H30v40H10zm70-80h10v80H80z"
 class="logo-m"></path></svg></a></header><aside class="sidebar"><ol>
{_SIDEBAR}</ol></aside><main id="content" class="main-content" role="main">
"""
_REFERENCE_FOOT = """</main></div><footer id="nav-footer" class="page-footer">
<a href="/en/about">About</a><a href="/en/community" class="footer-link">Community</a></footer>
</div><script type="application/json" id="hydration">{"url":"/en/docs/lamp/trim"}</script>
</body></html>
"""


def _reference_section(i: int) -> str:
    noun, verb = _word(i), _verb(i)
    return (
        f'<section aria-labelledby="{verb}_{i}"><h2 id="{verb}_{i}"><a href="#{verb}_{i}">'
        f'{verb.title()}</a></h2><div class="section-content"><p>{_text(i)}</p><dl>'
        f'<dt id="{noun}_{i}"><a href="#{noun}_{i}"><code>{noun}</code></a></dt><dd><p>A '
        f'<a href="/en/docs/{noun}"><code>{noun.title()}</code></a> that <code>{verb}()</code> of '
        f'<a href="/en/docs/{noun}/{verb}" class="only-in-en-us" title="In English only">'
        f"<code>{noun.title()}.{verb}()</code></a> returns. {_text(i + 2)}</p></dd></dl>"
        '<div class="code-example"><div class="example-header"><span class="language-name">js'
        f'</span><button type="button" class="icon copy-icon"><span class="visually-hidden">Copy'
        '</span></button></div><pre class="brush: js notranslate"><code>'
        '<span class="token keyword">'
        f'const</span> {noun} <span class="token operator">=</span> <span class="token function">'
        f'{verb}</span><span class="token punctuation">(</span>'
        f'<span class="token number">{i}</span>'
        f'<span class="token punctuation">)</span><span class="token punctuation">;</span>\n</code>'
        f"</pre></div></div></section>"
    )


def reference(size: int) -> bytes:
    """A page of a reference; addresses are rooted (``/en/docs/x``), and most of them change."""
    return _filled(size, _REFERENCE_HEAD, _reference_section, _REFERENCE_FOOT)


KINDS: dict[str, Callable[[int], bytes]] = {
    "manual": manual,
    "book": book,
    "reference": reference,
}
"""All of them, by name."""
