"""``zenzefi plugin``: what it writes runs, what it says is true."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from zenzefi.cli import main

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["plugin", *arguments])

    return call


def test_every_kind_of_new_plugin_passes_its_own_test(invoke: Invoke, tmp_path: Path) -> None:
    kinds = ("headers", "text", "text_nodes", "json", "document", "chunks", "tokens")
    for needs in kinds:
        result = invoke("new", f"my-{needs}", "--needs", needs)
        assert result.exit_code == 0, result.output
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PATH": os.environ["PATH"],
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    files = [f"my_{needs}.py" for needs in kinds]
    assert invoke("check", *files).output == "7 plugins are in order.\n"


def test_nothing_is_written_over(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("kept")
    result = invoke("new", "mine")
    assert result.exit_code == 1
    assert "exists already" in result.output
    assert (tmp_path / "mine.py").read_text() == "kept"


def test_a_bad_name_is_refused(invoke: Invoke) -> None:
    assert invoke("new", "Not A Name").exit_code == 2
    hidden = invoke("new", "json")
    assert hidden.exit_code == 2
    assert "json.py would hide Python's own json" in hidden.output


def test_replacing_a_bundled_plugin_is_reported(invoke: Invoke) -> None:
    assert "takes the place of the bundled plugin 'banner'" in invoke("new", "banner").output
    assert "takes the place" not in invoke("new", "mine").output


def test_the_list_shows_order_state_and_options(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PLUGIN_OPTIONS", '{"json-mask": {"enabled": true}, "xml": {"shadow": true}}'
    )
    result = invoke("list", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(result.output)["plugins"]}
    assert rows["json-mask"]["state"] == "on"
    assert rows["json-mask"]["options"]["mask"] == "***"
    assert rows["json-mask"]["order"] < rows["json"]["order"]
    assert rows["xml"]["state"] == "shadow"
    assert rows["banner"]["state"] == "off"
    assert (rows["json-mask"]["phase"], rows["json"]["phase"]) == ("before", "mapping")
    assert rows["html"]["megabytes_per_second"] > 0
    assert rows["html"]["source"] == "bundled"
    lines = invoke("list", "--no-timing").output.splitlines()
    (mask,) = [line for line in lines if " json-mask " in line]
    assert mask.split()[2:5] == ["on", "json", "-"]


def test_the_check_names_every_mistake(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import nothing_like_this")
    (tmp_path / "two.py").write_text(
        "from zenzefi.plugins import Plugin\nclass A(Plugin):\n    name='a'\n    needs='magic'\n"
    )
    (tmp_path / "three.py").write_text("x = 1")
    result = invoke("check", "one.py", "two.py", "three.py")
    assert result.exit_code == 1
    assert "3 mistakes" in result.output
    assert "nothing_like_this" in result.output
    assert "'magic'" in result.output
    assert "no class that derives from Plugin" in result.output


def test_the_check_of_all_names_wrong_options(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_OPTIONS", '{"json-mask": {"enabled": true, "colour": 1}}')
    result = invoke("check")
    assert result.exit_code == 1
    assert "PLUGIN_OPTIONS.json-mask.colour" in result.output


def test_trying_a_plugin_on_a_file_shows_a_diff(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": "https://app.example/x"}')
    result = invoke("try", "x.json", "--plugin", "json")
    assert result.exit_code == 0, result.output
    assert '-{"a": "https://app.example/x"}' in result.output
    assert '+{"a": "https://gate.example/api/v1/proxy/x"}' in result.output
    assert "1 edit, " in result.output
    options = ("--plugin", "json-mask", "--option", 'fields=["a"]')
    assert '+{"a": "***"}' in invoke("try", "x.json", *options).output
    root = invoke("try", "x.json", "--plugin", "json", "--url", "https://other.example/")
    assert "nothing changes" in root.output
    (tmp_path / "x.txt").write_text("plain")
    other = invoke("try", "x.txt", "--plugin", "json")
    assert "json did not run: it matches application/json" in other.output
    assert "this is text/plain at https://app.example/x.txt" in other.output


def test_trying_a_plugin_on_a_url_requests_it(invoke: Invoke) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"#EXTM3U\n/seg.ts\n"
            self.send_response(200)
            self.send_header("Content-Type", "application/x-mpegurl")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/a.m3u8"
            result = invoke("try", url, "--plugin", "hls")
        finally:
            server.shutdown()
            thread.join()
    assert "+/api/v1/proxy/seg.ts" in result.output


def test_a_plugin_that_fails_says_how(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from zenzefi.plugins import *\nclass A(Plugin):\n    name='a'\n    needs=Needs.TEXT\n"
        "    def text(self, context, text):\n        raise RuntimeError('no luck')\n"
    )
    (tmp_path / "x.txt").write_text("x")
    result = invoke("try", "x.txt", "--plugin", "bad.py")
    assert result.exit_code == 1
    assert "no luck" in result.output
    assert "no plugin 'ghost'" in invoke("try", "x.txt", "--plugin", "ghost").output


def test_the_check_refuses_a_class_without_a_name_and_a_misspelt_hook(
    invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "one.py").write_text(
        "from zenzefi.plugins import Plugin\nclass Nameless(Plugin):\n    pass\n"
    )
    (tmp_path / "two.py").write_text(
        "from zenzefi.plugins import Plugin\nclass A(Plugin):\n    name = 'a'\n"
        "    def response_header(self, exchange, headers): pass\n"
        "    def request(self, exchange, request): pass\n"
    )
    (tmp_path / "three.py").write_text(
        "from zenzefi.plugins import Plugin, route\nclass B(Plugin):\n    name = 'b'\n"
        "    messages = True\n"
        "    def websocket_message(self, context, message): return message.data\n"
        "    @route('/x', methods=('GET', 'POST'), anonymous=True)\n"
        "    def page(self, exchange, request): pass\n"
    )
    result = invoke("check", "one.py", "two.py")
    assert result.exit_code == 1
    assert "Nameless has no name, so it is not loaded." in result.output
    assert "a.response_header is not part of the API; is it response_headers?" in result.output
    kept = invoke("check", "three.py")
    assert kept.exit_code == 0
    assert "note: three.py: b.messages is not needed any more" in kept.output
    assert "b: GET POST /x anonymous" in kept.output


def test_trying_a_plugin_takes_headers_and_cookies(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def shown(text): return text.upper()\n")
    (tmp_path / "greets.py").write_text(
        "from helper import shown\n"
        "from zenzefi.plugins import Needs, Plugin, TextEdit\n"
        "class Greets(Plugin):\n    name = 'greets'\n    needs = Needs.TEXT\n"
        "    def text(self, exchange, text):\n"
        "        found = exchange.request_headers\n"
        "        said = shown(found['Cookie'] + ' ' + found['X-A'])\n"
        "        return [TextEdit(0, 0, said + '\\n')]\n"
    )
    (tmp_path / "x.txt").write_text("text\n")
    asked = ("--cookie", "a=b", "--cookie", "c=d", "--header", "X-A=e")
    result = invoke("try", "x.txt", "--plugin", "greets.py", *asked)
    assert result.exit_code == 0, result.output
    assert "+A=B; C=D E" in result.output
    assert invoke("try", "x.txt", "--plugin", "greets.py", "--header", "none").exit_code == 2


def test_a_new_package_has_an_entry_point_and_passes_its_own_test(
    invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("new", "my-plugin", "--package")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "zenzefi-my-plugin"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    points = project["project"]["entry-points"]["zenzefi.plugins"]
    assert points == {"my-plugin": "my_plugin:MyPlugin"}
    assert "zenzefi plugin check" in (folder / ".github/workflows/test.yml").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PATH": os.environ["PATH"],
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert invoke("check", str(folder / "src" / "my_plugin.py")).exit_code == 0
    assert "exists already" in invoke("new", "my-plugin", "--package").output


def test_the_commands_lead_from_an_empty_folder_to_a_plugin_that_runs(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/plugins.md shows, one command after the other."""
    made = invoke("new", "greeting", "--needs", "tokens")
    assert "zenzefi plugin try URL|FILE --plugin greeting.py" in made.output
    assert invoke("check", "greeting.py").output == "1 plugins are in order.\n"
    (tmp_path / "page.html").write_text("<h1>Lamps</h1>")
    tried = invoke("try", "page.html", "--plugin", "greeting.py", "--option", "text=Good day")
    assert "+<p>Good day</p><h1>Lamps</h1>" in tried.output
    monkeypatch.setenv("PLUGIN_DIR", str(tmp_path))
    monkeypatch.setenv("PLUGIN_OPTIONS", '{"greeting": {"text": "Hi", "shadow": true}}')
    assert invoke("check").exit_code == 0
    listed = json.loads(invoke("list", "--no-timing", "--json").output)["plugins"]
    (row,) = [one for one in listed if one["name"] == "greeting"]
    assert (row["state"], row["phase"], row["options"]) == ("shadow", "before", {"text": "Hi"})
    assert row["source"] == str(tmp_path / "greeting.py")
    assert "before the mapping" in invoke("list", "--no-timing").output
    # Pages and files are named too, and a mistake in one of them stops the check.
    source = tmp_path / "greeting.py"
    text = source.read_text().replace("import Edit,", "import Response, StaticFiles, route, Edit,")
    page = "\n    static = StaticFiles()\n\n    @route('/{x}')\n"
    page += "    def page(self, exchange, request):\n        return Response()\n"
    source.write_text(text + page)
    assert "there is no folder" in invoke("check", "greeting.py").output
    (tmp_path / "static").mkdir()
    assert "greeting: GET /{x}\n  greeting: GET /static/" in invoke("check", "greeting.py").output
    assert "pages GET /{x}, GET /static/" in invoke("list", "--no-timing").output
    # A package of it is a plugin as well.
    assert invoke("new", "greeting", "--package").exit_code == 0
    packed = tmp_path / "zenzefi-greeting" / "src" / "greeting.py"
    assert invoke("check", str(packed)).output == "1 plugins are in order.\n"
