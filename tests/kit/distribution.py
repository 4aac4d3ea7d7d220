"""How ``make test`` divides the tests among the processes of pytest-xdist.

Files stay whole, as with ``--dist loadfile``: their tests share servers. Folders whose tests share
more than that stay whole as well. What takes long starts first, so that no process is left with a
long file at the end while the others have nothing to do.
"""

from __future__ import annotations

from collections import Counter

import pytest

WHOLE_FOLDERS = ("tests/cluster/", "tests/packaging/")
"""One cluster, and one built and installed wheel, for all files of the folder."""

LONG_FIRST = (
    *WHOLE_FOLDERS,
    "tests/apps/",
    "tests/browser/",
    "tests/deploy/",
    "tests/commands/",
    "tests/proxy/test_leaks.py",
    "tests/rewriting/test_linear_work.py",
)
"""Few tests that take long each, in the order in which they start."""


def scope_of(nodeid: str) -> str:
    """The folder or file whose tests run in one process."""
    for folder in WHOLE_FOLDERS:
        if nodeid.startswith(folder):
            return folder
    return nodeid.partition("::")[0]


def start_order(nodeids: list[str]) -> list[str]:
    """The scopes of these tests in the order in which they start: long ones, then large ones."""
    sizes = Counter(map(scope_of, nodeids))

    def rank(scope: str) -> tuple[int, int]:
        place = next(
            (number for number, long in enumerate(LONG_FIRST) if scope.startswith(long)),
            len(LONG_FIRST),
        )
        return place, -sizes[scope]

    return sorted(sizes, key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Schedule by :func:`scope_of` for ``--dist loadfile``; any other value means what it says."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # imported late: xdist is optional

    class FolderScheduling(LoadFileScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # the workers have put the tests in order
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a process of pytest-xdist, put the tests in the order in which their scopes start."""
    if not hasattr(config, "workerinput"):
        return
    order = {scope: place for place, scope in enumerate(start_order([i.nodeid for i in items]))}
    items.sort(key=lambda item: order[scope_of(item.nodeid)])
