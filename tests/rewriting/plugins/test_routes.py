"""Declared pages and files of plugins: what is accepted and found, and the test kit for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from zenzefi.plugins import Exchange, Plugin, Response, RouteRequest, StaticFiles, route
from zenzefi.plugins_testing import CLIENT, PluginFailed, call
from zenzefi.rewriting.plugins import served
from zenzefi.rewriting.plugins.checks import check, does_nothing, misspelt
from zenzefi.rewriting.plugins.loading import load_file
from zenzefi.rewriting.plugins.registry import PluginError, Registry

RECIPES = Path(__file__).parents[3] / "docs" / "plugins"


class Shop(Plugin):
    """Some pages."""

    name = "shop"

    @route("/", menu="Shop")
    def front(self, exchange: Exchange, request: RouteRequest) -> Response:
        exchange.state["n"] = exchange.state.get("n", 0) + 1
        return Response.text(f"{exchange.client.user_id} {exchange.state['n']}")

    @route("/a/{b}/c", methods=("PUT",))
    def put(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response.text(f"{request.path} {dict(request.values)} {request.json()}")

    @route("/free", anonymous=True)
    def free(self, exchange: Exchange, request: RouteRequest) -> Response:
        return Response(headers=[("Content-Security-Policy", "default-src 'self'")])

    @route("/broken")
    def broken(self, exchange: Exchange, request: RouteRequest) -> Response:
        return "no response"  # type: ignore[return-value]


def test_a_page_is_called_as_the_gate_calls_it() -> None:
    for _ in range(2):  # nothing of one exchange is in another
        assert call(Shop).body == f"{CLIENT.user_id} 1".encode()
    put = call(Shop, "/a/%41/c", method="PUT", body=b"[1]")
    assert put.body == b"/a/%41/c {'b': 'A'} [1]"
    assert call(Shop, "/free", client=None).headers[0][1] == "default-src 'self'"
    assert [name for name, _ in call(Shop).headers].count("Content-Security-Policy") == 1
    statuses = [
        call(Shop, client=None).status,
        call(Shop, "/x", client=None).status,
        call(Shop, "/x").status,
        call(Shop, "/a/b/c").status,
        call(Shop, "/a/../c", method="PUT").status,
    ]
    assert statuses == [401, 401, 404, 405, 404]
    with pytest.raises(PluginFailed, match=r"broken.* returned str, not a Response"):
        call(Shop, "/broken")


def test_a_plugin_with_pages_alone_is_in_order() -> None:
    assert [*check(Shop), *misspelt(Shop)] == []
    assert not does_nothing(Shop)


def test_mistakes_of_a_declaration_are_named() -> None:
    class Wrong(Plugin):
        name = "wrong"

        @route("no-slash", methods=("get",), menu="x" * 41)
        def one(self, exchange: Exchange, request: RouteRequest) -> Response:
            raise NotImplementedError

        @route("/{a}/../b")
        def two(self, exchange: Exchange) -> Response:
            raise NotImplementedError

        @route("/static/x")
        def three(self, exchange: Exchange, request: RouteRequest) -> Response:
            raise NotImplementedError

        @route("/x/{a}", menu={"en": "no"})
        def four(self, exchange: Exchange, request: RouteRequest) -> Response:
            raise NotImplementedError

        @route("/x/{b}")
        def five(self, exchange: Exchange, request: RouteRequest) -> Response:
            raise NotImplementedError

    assert check(Wrong) == [
        "wrong.one: the path 'no-slash' is not like /, /items or /items/{id}.",
        "wrong.one: methods are some of GET, POST, PUT, PATCH, DELETE.",
        "wrong.one: the text of a menu entry has at most 40 characters.",
        "wrong.one: a menu entry needs a path without {}, and GET.",
        "wrong.two: the path '/{a}/../b' is not like /, /items or /items/{id}.",
        "wrong.two can't be called: it takes (exchange, request).",
        "wrong.three: /static is for files.",
        "wrong.four: a menu entry needs a path without {}, and GET.",
        "wrong.five: GET /x/{b} is declared twice.",
    ]


def test_menu_texts_are_in_the_readers_language() -> None:
    feedback = load_file(RECIPES / "feedback.py")[0]
    (declared, _), *_ = served.declared_routes(feedback)
    assert declared.menu_text("ru") == "Написать нам"
    assert declared.menu_text("de") == "Feedback"


# --- files


def plugin_in(folder: Path, declaration: str) -> type[Plugin]:
    """A plugin in a file of ``folder``."""
    (folder / "site.py").write_text(
        "from zenzefi.plugins import Plugin, StaticFiles\n"
        "class Site(Plugin):\n"
        "    name = 'site'\n"
        f"    static = {declaration}\n"
    )
    return load_file(folder / "site.py")[0]


def test_files_are_served_with_their_versions(tmp_path: Path) -> None:
    files = tmp_path / "static"
    (files / "sub").mkdir(parents=True)
    (files / ".hidden").write_text("secret")
    (files / "sub" / "x.js").write_text("1")
    (files / "data.bin").write_bytes(b"\0")
    site = plugin_in(tmp_path, "StaticFiles()")
    registry = Registry([tmp_path], entry_points=False)
    address = registry["site"].plugin.address("/static/sub/x.js")
    version = address.partition("?v=")[2]
    assert address.startswith("/.zenzefi/plugins/site/static/sub/x.js?v=")
    assert len(version) == 16
    kept = dict(call(site, f"/static/sub/x.js?v={version}").headers)
    assert kept["Content-Type"] == "text/javascript; charset=utf-8"
    assert kept["Cache-Control"] == "private, max-age=31536000, immutable"
    again = call(site, "/static/sub/x.js", request_headers={"If-None-Match": kept["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert dict(call(site, "/static/sub/x.js").headers)["Cache-Control"] == "private, no-cache"
    assert dict(call(site, "/static/data.bin").headers)["Content-Type"].endswith("octet-stream")
    assert call(site, "/static/sub/x.js", method="POST").status == 405
    assert call(site, "/static/sub/x.js", client=None).status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/static/sub/../../site.py",
        "/static//etc/passwd",
        "/static/.hidden",
        "/static/sub",
        "/static/",
        "/static",
    ],
)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "static" / "sub").mkdir(parents=True)
    (tmp_path / "static" / ".hidden").write_text("secret")
    assert call(plugin_in(tmp_path, "StaticFiles(anonymous=True)"), path).status == 404


def test_a_link_out_of_the_folder_and_too_many_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "static"
    files.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    plugin_in(tmp_path, "StaticFiles()")

    def refusal() -> str:
        with pytest.raises(PluginError) as refused:
            Registry([tmp_path], entry_points=False)
        return str(refused.value)

    (files / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert "link.txt leads out of its folder" in refusal()
    (files / "link.txt").unlink()
    (files / "a b.txt").write_text("x")
    assert "'a b.txt' is not made of" in refusal()
    (files / "a b.txt").unlink()
    monkeypatch.setattr(served, "MOST_BYTES", 3)
    (files / "x.txt").write_text("four")
    assert "more than 1000 files or 3 bytes" in refusal()
    for folder, said in (
        ("'..'", "not a folder next to"),
        ("'.'", "not a folder next to"),
        ("'none'", "there is no folder"),
    ):
        plugin_in(tmp_path, f"StaticFiles(folder={folder})")
        assert said in refusal()
    plugin_in(tmp_path, "'static'")
    assert "it is StaticFiles(...)" in refusal()


def test_a_changed_file_is_loaded_again_in_development(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "x.css").write_text("a{}")
    plugin_in(tmp_path, "StaticFiles()")
    registry = Registry([tmp_path], entry_points=False)
    assert not registry.reload_if_changed()
    (tmp_path / "static" / "x.css").write_text("b{} ")
    assert registry.reload_if_changed()
    assert registry.serving["site"].served.files["x.css"].data == b"b{} "


def test_the_base_class_declares_no_files() -> None:
    assert Plugin.static is None
    assert StaticFiles().anonymous is False
    assert not served.Served()
