"""The reference pages describe all of the program and nothing else."""

import json
import re
from pathlib import Path

import pytest

from scripts import reference
from zenzefi.observability import metrics
from zenzefi.settings import GROUPS, Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_the_page_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), f"docs/reference/{name} is stale: run make docs"


def test_every_setting_is_described_once() -> None:
    described = [name for group in GROUPS.values() for name in group.model_fields]
    assert sorted(described) == sorted(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


def test_what_is_exported_is_what_is_documented() -> None:
    text, _ = metrics.exposition("")
    exported = set(re.findall(r"^# TYPE (\S+) ", text.decode(), flags=re.MULTILINE))
    documented = set(reference.exported())
    assert {name for name in exported if not name.endswith("_created")} == documented


def test_the_metrics_that_the_design_names_are_there() -> None:
    labels = {name: names for name, (_, names, _) in reference.exported().items()}
    assert labels["proxy_requests_total"] == ("method", "status_code")
    assert labels["auth_attempts_total"] == ("result",)
    assert labels["token_purchases_total"] == ("duration_hours",)
    assert {"token_revocations_total", "active_tokens", "active_sessions"} <= labels.keys()
    assert {"proxy_latency_seconds", "event_loop_lag_seconds"} <= labels.keys()


def test_the_dashboard_queries_only_metrics_that_exist() -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "zenzefi.json").read_text())
    asked = " ".join(t["expr"] for panel in board["panels"] for t in panel["targets"])
    known = set(reference.exported())
    labels = {label for _, names, _ in reference.exported().values() for label in names}
    names = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", asked)) - labels
    names -= {"histogram_quantile", "rate_interval"}
    assert len(names) > 10
    assert {name.removesuffix("_bucket") for name in names} <= known


def test_the_alerts_ask_only_for_metrics_that_exist() -> None:
    text = (ROOT / "deploy" / "prometheus" / "zenzefi.rules.yml").read_text(encoding="utf-8")
    asked = " ".join(re.findall(r"^ +expr: (.*)$", text, flags=re.MULTILINE))
    labels = {label for _, names, _ in reference.exported().values() for label in names}
    words = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r'"[^"]*"', "", asked)))
    names = words - labels - {"histogram_quantile"}
    assert len(names) > 10
    assert {name.removesuffix("_bucket") for name in names} <= set(reference.exported())


def test_a_client_can_not_make_series() -> None:
    assert metrics.method_label("GET") == "GET"
    assert {metrics.method_label(f"M{number}") for number in range(100)} == {"other"}
