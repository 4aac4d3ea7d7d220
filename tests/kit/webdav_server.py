"""A real WebDAV server (wsgidav) on a thread, as an upstream."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from wsgidav.wsgidav_app import WsgiDAVApp


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """The tests look at the responses."""


@contextlib.contextmanager
def webdav_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve ``folder`` below ``/dav/``; the origin, and the ``If`` conditions that arrive."""
    conditions: list[str] = []
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/dav": str(folder)},
            "simple_dc": {"user_mapping": {"*": True}},
            "http_authenticator": {"domain_controller": None},
            "lock_storage": True,
            "property_manager": True,
            "verbose": 0,
            "logging": {"enable": False},
        }
    )

    def whole(environ: dict[str, Any], start_response: Any) -> Any:
        """The server of the standard library reads beyond a content to the end of the stream."""
        conditions.extend(filter(None, [environ.get("HTTP_IF")]))
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, whole, _Threaded, _Silent)
    thread = threading.Thread(target=server.serve_forever, name="webdav", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", conditions
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
