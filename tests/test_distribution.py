"""The division of the tests among processes: long ones first, shared servers in one process."""

from __future__ import annotations

from pathlib import Path

from tests.kit.distribution import LONG_FIRST, WHOLE_FOLDERS, scope_of, start_order

ROOT = Path(__file__).resolve().parents[1]


def test_a_file_stays_whole_and_so_does_a_folder_that_shares_its_servers() -> None:
    assert scope_of("tests/web/test_a.py::test_b[x::y]") == "tests/web/test_a.py"
    assert scope_of("tests/cluster/test_a.py::test_b") == "tests/cluster/"


def test_long_ones_start_first_and_large_ones_next() -> None:
    few, many = ["tests/web/test_few.py::a"], ["tests/web/test_many.py::a"] * 3
    cluster, browser = ["tests/cluster/test_a.py::a"], ["tests/browser/test_a.py::a"]
    assert start_order(few + browser + many + cluster) == [
        "tests/cluster/",
        "tests/browser/test_a.py",
        "tests/web/test_many.py",
        "tests/web/test_few.py",
    ]


def test_the_names_exist() -> None:
    assert [name for name in LONG_FIRST if not (ROOT / name).exists()] == []
    assert set(WHOLE_FOLDERS) <= set(LONG_FIRST)
