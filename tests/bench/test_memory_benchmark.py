"""The benchmark of memory compares like with like, and says what is not reached."""

from pathlib import Path

from bench import memory, page


def measured() -> dict[str, memory.Measured]:
    values = {"one process": 80, "one process, Redis": 100, "--workers 2": 130, "--workers 3": 175}
    return {
        name: memory.Measured(size * 10**6, size * 10**6, [size * 10**6])
        for name, size in values.items()
    }


def test_workers_are_compared_with_one_process_that_has_redis_too() -> None:
    alone, two, three = memory.targets(measured())
    assert (alone.value, two.value, three.value) == (80, 1.3, 45)
    assert [target.is_reached for target in (alone, two, three)] == [True, True, False]
    assert "**no**" in memory.section(measured())


def test_a_section_is_replaced_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# Page\n")
    for text in ("first", "second"):
        page.write("bench.memory", "bench.memory", text, file)
    found = file.read_text()
    assert found.count("bench.memory: begin") == 1
    assert "first" not in found
    assert "second" in found
