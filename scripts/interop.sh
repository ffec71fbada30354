#!/bin/sh
# Tests callbin with other WebRTC stacks: installs them outside the repository, and runs the calls.
#   scripts/interop.sh [STACK…]
# EXAMPLES names a checkout of GStreamer or of its examples: their clients take part, too.
set -eu
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/callbin-interop
sources=$PWD/tests/interop
mkdir -p "$cache"
if [ "$(node -p 'parseInt(process.versions.node)')" -lt 20 ]; then
    echo "callbin: the stacks in Node.js want version 20 or later of it" >&2
    exit 1
fi

# Installed again when the list of packages changes.
if ! cmp -s "$sources/requirements.txt" "$cache/python/installed.txt"; then
    rm -rf "$cache/python"
    /usr/bin/python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$sources/requirements.txt"
    cp "$sources/requirements.txt" "$cache/python/installed.txt"
fi
if ! cmp -s "$sources/package-lock.json" "$cache/node_modules/installed.json"; then
    cp "$sources/package.json" "$sources/package-lock.json" "$cache"
    (cd "$cache" && npm ci --silent --no-audit --no-fund)
    cp "$sources/package-lock.json" "$cache/node_modules/installed.json"
fi

# GStreamer's webrtcsink, webrtcsrc, whipclientsink, whipsink and whepsrc: a large build, made once for each version. Without it
# their rows say so.
if ! cmp -s "$sources/gst-plugins-rs/Cargo.lock" "$cache/gst-plugins-rs/built.lock"; then
    echo "callbin: building webrtcsink, whipclientsink, whipsink and whepsrc, which takes some minutes" >&2
    if cargo build --quiet --locked --package gst-plugin-webrtc --package gst-plugin-webrtchttp --target-dir "$cache/gst-plugins-rs" \
        --manifest-path "$sources/gst-plugins-rs/Cargo.toml"; then
        cp "$sources/gst-plugins-rs/Cargo.lock" "$cache/gst-plugins-rs/built.lock"
    fi
fi

CALLBIN_INTEROP=$cache exec cargo run --quiet --locked --package callbin-tests --bin callbin-interop -- "$@"
