"""The files of deploy/ say what the program understands, and are what their readers accept."""

import configparser
import fnmatch
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from zenzefi.proxy.tickets import ENTER_PATH
from zenzefi.settings import Settings, free_access, load_settings
from zenzefi.settings.own_origin import notes

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", ["zenzefi.service", "zenzefi.socket"])
def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path, name: str) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: the unit is not verified")
    for unit in ("zenzefi.service", "zenzefi.socket"):
        text = (DEPLOY / unit).read_text()
        program_of_unit = shutil.which("true") or "/bin/true"
        (tmp_path / unit).write_text(text.replace("/opt/zenzefi/bin/zenzefi", program_of_unit))
    done = subprocess.run(
        [program, "verify", tmp_path / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_gives_the_drain_its_time() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(DEPLOY / "zenzefi.service")
    patience = float(unit["Service"]["TimeoutStopSec"])
    fields = Settings.model_fields
    assert patience > fields["drain_delay"].default + fields["drain_timeout"].default + 5
    assert unit["Service"]["Type"] == "notify"


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "gate.yml").read_text()))


def test_the_manifests_name_settings_ports_and_each_other_rightly() -> None:
    parts = {one["kind"]: one for one in manifests()}
    settings, pod = parts["ConfigMap"]["data"], parts["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    named = {*settings, *(one["name"] for one in container["env"])}
    assert named <= SETTINGS
    labels = parts["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("Service", "PodDisruptionBudget"):
        selector = parts[kind]["spec"]["selector"]
        assert selector.get("matchLabels", selector).items() <= labels
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == 8000
    assert (
        str(ports["metrics"])
        == parts["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
    )
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
    drain = float(settings["DRAIN_DELAY"]) + float(settings["DRAIN_TIMEOUT"])
    assert pod["terminationGracePeriodSeconds"] > drain + 5
    for one in (container, *pod["initContainers"]):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
    assert parts["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_redis_of_the_compose_file_has_a_password_and_the_nodes_know_it() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    password = "${REDIS_PASSWORD:?set it in the environment}"
    assert services["redis"]["environment"]["REDIS_PASSWORD"] == password
    command = services["redis"]["command"][-1]
    assert '--requirepass "$$REDIS_PASSWORD"' in command
    assert "REDISCLI_AUTH" in services["redis"]["healthcheck"]["test"][-1]
    assert services["gate-a"]["environment"]["REDIS_PASSWORD"] == password


def test_the_example_and_the_manifests_do_not_let_everybody_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "gate.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    (pods,) = (one["data"] for one in manifests() if one["kind"] == "ConfigMap")
    for values in (example, pods):
        with monkeypatch.context() as patch:
            for name, value in {**values, "SECRET_KEY": "Qm8-xV2rTz6Lk9WdPq5hB3nYc7Jf1GsA"}.items():
                patch.setenv(name, value)
            found = load_settings({"data_dir": tmp_path})
        assert free_access.problem(found) is None
        assert free_access.warnings(found) == []


def test_the_compose_file_names_settings_and_has_two_nodes_behind_one_web_server() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
    nodes = [services["gate-a"], services["gate-b"]]
    for node in nodes:
        assert set(node["environment"]) <= SETTINGS
        assert node["read_only"] is True
        assert node["cap_drop"] == ["ALL"]
        stop = float(node["stop_grace_period"].removesuffix("s"))
        assert stop > float(node["environment"]["DRAIN_DELAY"]) + 30 + 5
    mounted = [volume.partition(":")[0] for volume in services["nginx"]["volumes"]]
    assert (DEPLOY / mounted[0]).is_file()
    text = (DEPLOY / "nginx" / "gate.conf").read_text()
    assert re.findall(r"server (gate-\w):8000", text) == ["gate-a", "gate-b"]


def test_the_example_of_an_environment_names_settings() -> None:
    text = (DEPLOY / "gate.env.example").read_text()
    names = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text, re.M))
    assert len(names) > 4
    assert names <= SETTINGS


def test_the_image_takes_what_the_program_is_made_of_and_no_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {
        name.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)
        for name in line.split()
    }
    assert copied == {
        *("setup.cfg", "setup.py", "pyproject.toml", "constraints.txt", "README.md"),
        *("zenzefi", "plugins", "templates", "migrations"),
    }
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not [name for name in copied if any(fnmatch.fnmatch(name, rule) for rule in ignored)]
    environment = set(re.findall(r"^(?:ENV|   ) +([A-Z_]+)=", text, re.M))
    assert environment - {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"} <= SETTINGS
    assert re.search(r"^USER (?!0|root)\d+$", text, re.M)


def test_every_set_up_says_where_browsers_see_the_application() -> None:
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "gate.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    kubernetes = next(one for one in manifests() if one["kind"] == "ConfigMap")["data"]
    for settings in (example, kubernetes):
        found = load_settings(
            {
                "secret_key": "N3pTqzH0aYw7uVJrKc8dXf2LmB5sGe9RiOoUtZ1W",
                "zenzefi_target_url": settings["ZENZEFI_TARGET_URL"],
                "backend_url": settings["BACKEND_URL"],
                "proxy_host": settings["PROXY_HOST"],
            }
        )
        assert found.own_origin is not None
        assert notes(found) == []  # no cookie crosses between the two hosts
    for recipe in ("nginx/auth-request.conf", "caddy/Caddyfile", "traefik/gate.yml"):
        assert ENTER_PATH in (DEPLOY / recipe).read_text(), recipe
