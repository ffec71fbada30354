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

# GStreamer's WHIP and WHEP elements, which Debian does not have: built once. Without their default features they need no
# later GStreamer than that of Debian.
if [ ! -e "$cache/plugins/libgstwebrtchttp.so" ]; then
    build=$cache/webrtchttp
    mkdir -p "$build/fetch/src" "$cache/plugins"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\n[dependencies]\ngst-plugin-webrtchttp = "=0.15.4"\n' > "$build/fetch/Cargo.toml"
    : > "$build/fetch/src/lib.rs"
    manifest=$(cargo metadata --format-version 1 --manifest-path "$build/fetch/Cargo.toml" |
        node -p 'JSON.parse(fs.readFileSync(0)).packages.find((it) => it.name === "gst-plugin-webrtchttp").manifest_path')
    cargo build --release --quiet --locked --manifest-path "$manifest" --target-dir "$build/target" \
        --no-default-features --features rustls-ring
    cp "$build/target/release/libgstwebrtchttp.so" "$cache/plugins"
fi

CALLBIN_INTEROP=$cache exec cargo run --quiet --locked --package callbin-tests --bin callbin-interop -- "$@"
