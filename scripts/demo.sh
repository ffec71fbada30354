#!/bin/sh
# Runs a server with its page, and a GStreamer client that answers every call, until Ctrl-C.
#   scripts/demo.sh PORT [TLS]
set -eu
cd "$(dirname "$0")/.."
port=$1
tls=${2:-}
bin=target/release
dir=$(mktemp -d)
server="" client=""

finish() {
    trap - EXIT INT TERM
    # The client first: it closes its connection while the server still runs.
    [ -z "$client" ] || kill -TERM "$client" 2>/dev/null || true
    [ -z "$client" ] || wait "$client" 2>/dev/null || true
    [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$tls" ]; then
    state=${XDG_STATE_HOME:-$HOME/.local/state}/callbin
    set -- --self-signed --cert-path "$state"
    scheme=https ws=wss ca="--ca-file $state/cert.pem"
    host=$(hostname -I 2>/dev/null | awk '{ print $1 }')
else
    set -- --disable-ssl
    scheme=http ws=ws ca="" host=localhost
fi

mkfifo "$dir/listening"
"$bin/callbin-server" --port "$port" --log warn "$@" >"$dir/listening" &
server=$!
# The server prints one line when it listens. If it cannot start, it writes the reason to stderr, and the pipe closes.
if ! read -r _ <"$dir/listening"; then
    wait "$server"
fi

# shellcheck disable=SC2086
"$bin/callbin" wait --server "$ws://localhost:$port" $ca --id gst-demo &
client=$!

cat <<TEXT

  Open this in a browser, and allow it to use the camera:

      $scheme://${host:-localhost}:$port/?call=gst-demo

  You see GStreamer's test picture; GStreamer receives your camera. Ctrl-C ends it.
TEXT
[ -z "$tls" ] || echo "  The certificate is self-signed: the browser will warn, once."
echo

# Whichever ends first ends the demo.
wait "$client"
