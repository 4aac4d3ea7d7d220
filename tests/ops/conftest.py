from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from zenzefi.config import SETTINGS, Settings, load_settings
from zenzefi.db.engine import DATABASE, Database
from zenzefi.middleware import request_id
from zenzefi.middleware.errors import errors_middleware
from zenzefi.middleware.request_id import request_id_middleware
from zenzefi.ops import setup as ops
from zenzefi.ops.observe import observe_middleware

MakeApp = Callable[..., web.Application]


@pytest.fixture
def make_app(tmp_path: Path, sqlite_database: str) -> MakeApp:
    """An application of nothing but operations, on a real database."""

    def make(database_url: str = sqlite_database, **overrides: Any) -> web.Application:
        settings: Settings = load_settings({"data_dir": tmp_path, **overrides})
        app = web.Application(
            middlewares=[request_id_middleware, observe_middleware, errors_middleware]
        )
        app[SETTINGS] = settings
        database = app[DATABASE] = Database(database_url)

        async def closing(_: web.Application) -> None:
            await database.close()

        app.on_cleanup.append(closing)
        request_id.setup(app)
        ops.setup(app)
        return app

    return make
