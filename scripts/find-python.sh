#!/bin/sh
# find-python.sh make-venv DIR: create a virtual environment with Python 3.11 or newer, or report
# what is missing. PYTHON=... in the environment selects the interpreter.
set -eu

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || {
            echo "PYTHON=$PYTHON is not Python 3.11 or newer." >&2
            exit 1
        }
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    {
        echo "Zenzefi needs Python 3.11 or newer, but none was found on the PATH."
        echo "Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv;"
        echo "macOS: brew install python), or select it: make run PYTHON=/path/to/python3.12"
    } >&2
    exit 1
}

[ "${1:-}" = make-venv ] && [ -n "${2:-}" ] || {
    echo "usage: find-python.sh make-venv DIR" >&2
    exit 2
}
python=$(find_python)
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    {
        echo "$python can't create virtual environments: its venv module is not installed."
        echo "On Debian and Ubuntu: apt-get install python3-venv"
    } >&2
    exit 1
fi
# --clear: packages of an earlier Python, which may be removed, must not be mixed in.
exec "$python" -m venv --clear "$2"
