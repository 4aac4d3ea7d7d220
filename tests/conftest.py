"""Registers the fixtures that several folders use; they live in ``tests/kit``."""

import pytest

pytest.register_assert_rewrite("tests.kit")

pytest_plugins = [
    "tests.kit.fixtures",
    "tests.kit.chromium",
    "tests.kit.distribution",
    "tests.kit.firefox",
    "tests.kit.proxy_fixtures",
]
