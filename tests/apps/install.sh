#!/bin/sh
# Installs the real applications that tests/apps runs behind the gate, into a cache folder.
# Usage: tests/apps/install.sh [python|node]...      (both without arguments)
# The folder is $ZENZEFI_APPS, or ~/.cache/zenzefi/apps. Needs python3 with venv, and node with npm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
apps=${ZENZEFI_APPS:-$HOME/.cache/zenzefi/apps}
mkdir -p "$apps"
[ $# -gt 0 ] || set -- python node

for what in "$@"; do
  case $what in
    python)
      [ -x "$apps/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$apps/venv"
      "$apps/venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
      ;;
    node)
      mkdir -p "$apps/node"
      cp "$here/node/package.json" "$apps/node/"
      (cd "$apps/node" && npm install --no-audit --no-fund --silent)
      for app in react vue angular; do
        rm -rf "$apps/node/dist/$app"
        mkdir -p "$apps/node/dist/$app/assets" "$apps/node/src"
        cp -r "$here/node/$app" "$apps/node/src/"
        cp "$here/node/$app/index.html" "$apps/node/dist/$app/"
        (cd "$apps/node" && ./node_modules/.bin/esbuild "src/$app/main."* --bundle --splitting \
          --format=esm --minify --jsx=automatic --define:process.env.NODE_ENV='"production"' \
          --outdir="dist/$app/assets" --entry-names=main --chunk-names=chunk-[hash] \
          --public-path=/assets --log-level=warning)
      done
      ;;
    *)
      echo "unknown: $what (python, node)" >&2
      exit 2
      ;;
  esac
done
echo "The applications are in $apps."
