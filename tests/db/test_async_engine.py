"""The engine is loaded without the ORM, and code that needs the ORM still gets it."""

import subprocess
import sys

PROGRAM = """
import sys
{first}
import zenzefi.app
print("sqlalchemy.orm" in sys.modules, "cryptography.x509" in sys.modules)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker
import sqlalchemy.ext.asyncio as package
from zenzefi.db import async_engine
assert AsyncConnection is async_engine.AsyncConnection
assert package.create_async_engine is async_engine.create_async_engine
assert not hasattr(package, "nothing_like_this")
async_sessionmaker(package.create_async_engine("sqlite+aiosqlite://"), class_=AsyncSession)
"""


def run(first: str) -> str:
    program = PROGRAM.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_serving_loads_neither_the_orm_nor_the_algorithms_of_certificates() -> None:
    assert run("") == "False False"


def test_other_code_may_load_the_orm_first() -> None:
    assert run("import sqlalchemy.ext.asyncio").startswith("True")
