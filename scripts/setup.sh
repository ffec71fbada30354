#!/bin/sh
# Installs the missing packages that callbin needs. Prints nothing and does nothing if all are installed.
#   scripts/setup.sh build|cluster|test|interop|bench-media|compare
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

case "${1:-build}" in
    build) wanted="$BUILD_PACKAGES $RUN_PACKAGES" ;;
    cluster) wanted="$BUILD_PACKAGES $RUN_PACKAGES $CLUSTER_PACKAGES" ;;
    test) wanted="$BUILD_PACKAGES $RUN_PACKAGES $TEST_PACKAGES" ;;
    interop)
        wanted="$BUILD_PACKAGES $RUN_PACKAGES $TEST_PACKAGES $INTEROP_PACKAGES"
        [ -z "${EXAMPLES:-}" ] || wanted="$wanted $EXAMPLES_PACKAGES"
        ;;
    bench-media) wanted="$BUILD_PACKAGES $RUN_PACKAGES $TEST_PACKAGES $BENCH_MEDIA_PACKAGES" ;;
    compare)
        wanted="$BUILD_PACKAGES $RUN_PACKAGES $TEST_PACKAGES $COMPARE_PACKAGES"
        [ -z "${EXAMPLES:-}" ] || wanted="$wanted $COMPARE_EXAMPLES_PACKAGES"
        ;;
    *) echo "usage: scripts/setup.sh build|cluster|test|interop|bench-media|compare" >&2; exit 2 ;;
esac

if ! command -v cargo >/dev/null 2>&1; then
    echo "callbin: cargo not found: install Rust first, see https://rustup.rs" >&2
    exit 1
fi

# Node.js is often not installed from Debian: any node and any npm in PATH is enough.
for other in node:nodejs npm:npm; do
    if command -v "${other%:*}" >/dev/null 2>&1; then
        wanted=$(printf '%s\n' $wanted | grep -vx "${other#*:}" | tr '\n' ' ')
    fi
done

if ! command -v apt-get >/dev/null 2>&1; then
    if pkg-config --exists gstreamer-webrtc-1.0 gstreamer-sdp-1.0 2>/dev/null; then
        exit 0
    fi
    echo "callbin: this is not Debian or Ubuntu: install what these Debian packages hold, then try again:" >&2
    echo "  $wanted" >&2
    exit 1
fi

missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "callbin: run as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo="sudo"
fi
echo "callbin: installing$missing"
# The GStreamer headers upgrade systemd, and that upgrade can empty apt's temporary folder in /tmp.
$sudo env TMPDIR=/var/tmp DEBIAN_FRONTEND=noninteractive apt-get update -q
# shellcheck disable=SC2086
$sudo env TMPDIR=/var/tmp DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
