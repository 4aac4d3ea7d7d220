"""Chromium for the recipes' browser test."""

from tests.browser.conftest import chromium

__all__ = ["chromium"]
