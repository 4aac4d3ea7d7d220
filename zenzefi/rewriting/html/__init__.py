"""Rewriting of HTML: tokenizer, table of addresses, scanners."""

from zenzefi.rewriting.html.named import IfNamed
from zenzefi.rewriting.html.options import HtmlOptions
from zenzefi.rewriting.html.scanner import HtmlScanner
from zenzefi.rewriting.html.tokens import HtmlToken, TokenScanner

__all__ = ["HtmlOptions", "HtmlScanner", "HtmlToken", "IfNamed", "TokenScanner"]
