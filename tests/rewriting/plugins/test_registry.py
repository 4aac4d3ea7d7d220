"""Finding, ordering, checking and accounting of plugins."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.plugins import Context, Match, Needs, Plugin, PluginOptions, Scanner
from zenzefi.resources import bundled
from zenzefi.rewriting.plugins.registry import LoadedPlugin, PluginError, Registry, check, in_order
from zenzefi.rewriting.plugins.watchdog import Blocked, Cost

GOOD = """
    from zenzefi.plugins import Plugin, PluginOptions

    class {cls}(Plugin):
        name = "{name}"

        class Options(PluginOptions):
            size: int = 1

        options: Options
"""


def write(folder: Path, file: str, source: str) -> Path:
    path = folder / file
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def registry(folder: Path, **arguments: object) -> Registry:
    return Registry([bundled("plugins"), folder], entry_points=False, **arguments)  # type: ignore[arg-type] # test helper


def plugin(name_: str, before_: tuple[str, ...] = (), after_: tuple[str, ...] = ()) -> LoadedPlugin:
    class Made(Plugin):
        name = name_
        before = before_
        after = after_

    return LoadedPlugin(Made(PluginOptions()), "test")


def test_the_bundled_plugins_load_and_the_examples_stay_off() -> None:
    loaded = Registry.for_gate()
    names = {entry.name for entry in loaded.entries}
    assert {"javascript", "json", "feeds", "xml", "hls", "dash", "svg", "webmanifest"} <= names
    assert not names & {"banner", "css-theme", "json-mask", "header-policy", "outline"}
    assert {"banner", "css-theme", "json-mask", "header-policy", "outline"} <= set(loaded.found)


def test_every_bundled_plugin_passes_its_own_check() -> None:
    for plugin_class, _ in Registry.for_gate().found.values():
        assert check(plugin_class) == []


def test_a_file_of_the_plugin_folder_is_loaded_with_its_options(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD.format(cls="Mine", name="mine"))
    entry = registry(tmp_path, options={"mine": {"size": 7}})["mine"]
    assert entry.plugin.options.model_dump() == {"size": 7}
    assert entry.source.endswith("mine.py")


def test_a_file_of_ones_own_takes_the_place_of_a_bundled_plugin(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", GOOD.format(cls="Mine", name="json"))
    assert registry(tmp_path)["json"].source.endswith("mine.py")


def test_a_disabled_plugin_does_not_run(tmp_path: Path) -> None:
    loaded = registry(tmp_path, disabled=["json"])
    with pytest.raises(KeyError):
        loaded["json"]
    assert "json" in loaded.found


def test_an_example_is_switched_on_by_its_options(tmp_path: Path) -> None:
    loaded = registry(tmp_path, options={"maintenance": {"enabled": True, "paths": ["/x"]}})
    assert loaded["maintenance"].plugin.options.model_dump()["paths"] == ("/x",)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, "broken.py", "import nothing_like_this")
    write(tmp_path, "named.py", GOOD.format(cls="Named", name="Bad Name"))
    write(tmp_path, "mine.py", GOOD.format(cls="Mine", name="mine"))
    with pytest.raises(PluginError) as caught:
        registry(
            tmp_path,
            options={"mine": {"size": "many", "colour": 1}, "ghost": {}},
            disabled=["nobody"],
        )
    text = "\n".join(caught.value.problems)
    assert "broken.py:1 does not import: ModuleNotFoundError" in text
    assert "'Bad Name'" in text
    assert "PLUGIN_OPTIONS.mine.size" in text
    assert "PLUGIN_OPTIONS.mine.colour" in text
    assert "'ghost'" in text
    assert "'nobody'" in text


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="is not a folder"):
        registry(tmp_path / "nowhere")


def test_a_hook_that_does_not_fit_the_needs_is_refused() -> None:
    class Mixed(Plugin):
        name = "mixed"
        needs = Needs.TEXT

        def scanner(self, context: Context) -> Scanner | None:
            return None

    problems = check(Mixed)
    assert any("has no text() hook" in problem for problem in problems)
    assert any("scanner() hook, which needs = 'chunks'" in problem for problem in problems)


def test_a_coroutine_is_no_hook() -> None:
    class Later(Plugin):
        name = "later"

        async def early_response(self, context: Context) -> None:  # type: ignore[override] # the mistake
            return None

    assert check(Later) == ["later.early_response is a coroutine; this hook is a plain function."]


def test_order_follows_before_and_after_and_else_the_names() -> None:
    entries = [plugin("c"), plugin("b", after_=("c",)), plugin("a", after_=("b",)), plugin("d")]
    assert [entry.name for entry in in_order(entries)] == ["c", "b", "a", "d"]
    entries = [plugin("z", before_=("a",)), plugin("a"), plugin("m", before_=("absent",))]
    assert [entry.name for entry in in_order(entries)] == ["m", "z", "a"]


def test_a_circle_is_reported_with_its_names() -> None:
    entries = [plugin("a", after_=("b",)), plugin("b", after_=("c",)), plugin("c", after_=("a",))]
    with pytest.raises(PluginError, match=r"circle: .*a.*->"):
        in_order(entries)


def test_a_changed_file_is_loaded_again_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "mine.py", GOOD.format(cls="Mine", name="mine"))
    loaded = registry(tmp_path)
    before = loaded.fingerprint
    assert loaded.reload_if_changed() is False
    write(
        tmp_path,
        "mine.py",
        GOOD.format(cls="Mine", name="mine").replace("size: int = 1", "s: int = 22"),
    )
    assert loaded.reload_if_changed() is True
    assert loaded.fingerprint != before
    assert loaded["mine"].plugin.options.model_dump() == {"s": 22}
    write(tmp_path, "mine.py", "this is no Python")
    with caplog.at_level(logging.ERROR):
        assert loaded.reload_if_changed() is False
    assert "plugins not reloaded" in caplog.text
    assert loaded["mine"].plugin.options.model_dump() == {"s": 22}


def test_the_circuit_opens_after_repeated_failures_and_closes_again() -> None:
    now = [0.0]
    entry = LoadedPlugin(plugin("a").plugin, "test", clock=lambda: now[0])

    def is_ready() -> bool:
        return entry.ready

    for _ in range(4):
        entry.failed("no")
        assert is_ready()
    entry.failed("no")
    assert not is_ready()
    assert entry.statistics.skipped == 1
    now[0] += 61
    assert is_ready()  # one body tries it
    assert not is_ready()  # only one
    now[0] += 61
    assert is_ready()
    entry.succeeded()
    assert is_ready()
    assert entry.statistics.errors == 5


def test_a_success_between_failures_keeps_the_circuit_closed() -> None:
    entry = plugin("a")
    for _ in range(20):
        entry.failed("no")
        entry.succeeded()
    assert entry.ready


def test_matches_are_globs_over_types_and_paths() -> None:
    match = Match(
        content_types=("application/json", "*/*+json"),
        paths=("/api/*",),
        status=(200,),
        destinations=("empty",),
    )
    assert match.content_type("application/ld+json")
    assert not match.content_type("text/html")
    assert match.request("/api/a/b", 200, "empty")
    assert match.request("/api/a/b", 200, None)
    assert not match.request("/other", 200, "empty")
    assert not match.request("/api/x", 404, "empty")
    assert not match.request("/api/x", 200, "document")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"tags": "h1", "needs": Needs.TOKENS, "token": lambda *_: None}, "tags is 'h1'; it is a"),
        ({"before": "html"}, "before is 'html'; it is a tuple"),
        ({"tags": ("h1",)}, "tags means nothing without needs = Needs.TOKENS"),
        ({"matches": ("text/html",)}, "it is Match(...)"),
        ({"request_headers": lambda self, headers: None}, "it takes (self, context, headers)"),
    ],
)
def test_what_would_only_fail_at_run_time_is_found_before(
    members: dict[str, object], said: str
) -> None:
    problems = check(type("Made", (Plugin,), {"name": "made", **members}))
    assert len(problems) == 1
    assert said in problems[0]


@pytest.mark.parametrize("wrong", [{"paths": "/shop/*"}, {"status": 404}, {"status": ("404",)}])
def test_a_match_of_the_wrong_type_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="it is a tuple"):
        Match(**wrong)  # type: ignore[arg-type] # the mistake


def test_a_file_that_would_end_the_process_is_a_mistake_like_others(tmp_path: Path) -> None:
    write(tmp_path, "exits.py", "\n\nimport sys\nsys.exit('no licence')")
    with pytest.raises(PluginError, match=r"exits\.py:4 does not import: SystemExit: no licence"):
        registry(tmp_path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["raised", Cost("slow"), Blocked("held up"), None]),
            st.integers(0, 40),
        ),
        max_size=40,
    )
)
def test_whatever_fails_other_documents_are_still_rewritten(events: list[Any]) -> None:
    """For a bundled plugin: all documents except those that fail."""
    now = [0.0]
    entry = LoadedPlugin(plugin("a").plugin, "test", clock=lambda: now[0], bundled=True)
    for document, outcome, seconds in events:
        now[0] += seconds
        if outcome is None:
            entry.succeeded()
        else:
            entry.failed(outcome, document)
            assert (isinstance(outcome, str) and not isinstance(outcome, Cost)) or not entry.takes(
                document
            )
        assert entry.takes("another")
        assert not entry.is_suspended


def test_a_plugin_rests_after_failing_on_different_documents() -> None:
    now = [0.0]
    entry = LoadedPlugin(plugin("a").plugin, "test", clock=lambda: now[0])
    for _ in range(20):
        entry.failed("no", "/same")
    assert entry.takes("/other")
    assert not entry.takes("/same")
    for number in range(4):
        entry.failed("no", f"/{number}")
    assert not entry.takes("/other")
    now[0] += 61
    assert entry.takes("/same")
    entry.succeeded()
    entry.failed(Blocked("no"), "/1")
    entry.failed(Blocked("no"), "/1")
    assert entry.takes("/2")
    entry.succeeded()
    entry.failed(Blocked("no"), "/2")
    assert not entry.takes("/3")


def test_the_documents_that_pass_by_are_bounded() -> None:
    entry = LoadedPlugin(plugin("a").plugin, "test", bundled=True)
    for number in range(2000):
        entry.failed(Cost("slow"), f"/{number}")
    assert len(entry._skipped) <= 256
    assert len(entry._failing) <= 256
