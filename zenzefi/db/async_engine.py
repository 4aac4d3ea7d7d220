"""SQLAlchemy's asynchronous engine without its ORM, which takes 6 MB and is not used here.

``sqlalchemy.ext.asyncio`` imports the sessions of the ORM next to the engine. Here the package is
created without running its ``__init__``, which runs later if other code asks for a session.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import sqlalchemy.ext

_PACKAGE = "sqlalchemy.ext.asyncio"

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
else:

    def _import_engine() -> Any:
        spec = importlib.util.find_spec(_PACKAGE)
        if _PACKAGE not in sys.modules and spec is not None and spec.loader is not None:
            package, loader = importlib.util.module_from_spec(spec), spec.loader

            def load(name: str) -> Any:
                """Run ``__init__``, which defines ``name``, unless that is a submodule."""
                if name.startswith("__") or importlib.util.find_spec(f"{_PACKAGE}.{name}"):
                    raise AttributeError(name)
                package.__dict__.pop("__getattr__", None)
                loader.exec_module(package)
                return getattr(package, name)

            vars(package)["__getattr__"] = load
            sys.modules[_PACKAGE] = package
            sqlalchemy.ext.asyncio = package
        return importlib.import_module(f"{_PACKAGE}.engine")

    _engine = _import_engine()
    AsyncConnection = _engine.AsyncConnection
    AsyncEngine = _engine.AsyncEngine
    create_async_engine = _engine.create_async_engine

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]
