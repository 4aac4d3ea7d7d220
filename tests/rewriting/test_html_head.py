"""The snippet that is inserted at the beginning of a document's head."""

from __future__ import annotations

import pytest

from tests.kit.html_rewriting import HEAD, rewrite_html


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<!doctype html><html><head>", "<title>x</title></head><body></body></html>"),
        ("<!DOCTYPE html>\n<!-- c -->\n<html lang=en>\n<head a=b>", "\n<meta charset=utf-8>"),
        ("\ufeff  ", "<p>x"),
        ("<!doctype html>", "<p>x"),
        ("<!doctype html>", "<title>x</title>"),
        ("<html>", "<body>x"),
        ("<html>\n", "</head>x"),
        ("<?xml version='1.0'?>\n<!---->", "<p>"),
        ("</p>", "<p>"),
        ("", "text <b>bold</b>"),
        ("<!doctype html>", "text"),
        ("<!doctype html>", "< x"),
        ("<!doctype html><head>", "<svg></svg>"),
    ],
)
def test_the_snippet_goes_where_the_head_begins_and_only_once(before: str, after: str) -> None:
    expected = before + HEAD.decode() + after
    for size in (None, 1, 2, 7):
        assert rewrite_html(before + after, size, head=HEAD) == expected
        assert rewrite_html(expected, size, head=HEAD) == expected


@pytest.mark.parametrize(
    "html",
    [
        "",
        " \n",
        "plain text",
        "<!doctype html>",
        "<!-- c -->",
        '{"a": 1}',
        "alert('<p>')",
        "// <p>",
    ],
)
def test_a_body_that_is_not_a_document_gets_no_snippet(html: str) -> None:
    for size in (None, 1, 7):
        assert rewrite_html(html, size, head=HEAD) == html


def test_a_document_in_an_attribute_gets_the_snippet_too() -> None:
    out = rewrite_html("<p><iframe srcdoc='<p>x'></iframe>", head=HEAD)
    assert out == f"{HEAD.decode()}<p><iframe srcdoc='{HEAD.decode()}<p>x'></iframe>"
