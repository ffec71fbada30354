#!/bin/sh
# Installs the tools that check the page (www/package-lock.json) outside the repository, and prints their folder. Installs them
# again when that list changes.
set -eu
cd "$(dirname "$0")/../www"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/callbin-page
mkdir -p "$cache"
# Two test programs may ask at once.
exec 9>"$cache/lock"
flock 9
if ! cmp -s package-lock.json "$cache/installed.json"; then
    rm -f "$cache/installed.json"
    cp package.json package-lock.json "$cache"
    (cd "$cache" && npm ci --silent --no-audit --no-fund) >&2
    cp package-lock.json "$cache/installed.json"
fi
echo "$cache/node_modules"
