#!/bin/sh
# Measures server and client on this machine: the server on the first core, its load on the second.
# Figures in the README come from here. They are ratios on a quiet machine; nothing is judged.
set -eu
cd "$(dirname "$0")/.."
bin=target/release
port=18443
dir=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
ulimit -n "$(ulimit -Hn)"

# All load comes from one address here, which no honest address would send: limits per owner are off.
unlimited="--max-owner-connections 0 --max-registration-rate 0 --max-message-rate 0 --max-byte-rate 0"

with_server() { # title, server's flags, load's arguments
    echo "$1"
    mkfifo "$dir/listening"
    # shellcheck disable=SC2086
    taskset -c 0 "$bin/callbin-server" --addr 127.0.0.1 --port "$port" --log warn $unlimited $2 >"$dir/listening" &
    server=$!
    read -r _ <"$dir/listening"
    rm "$dir/listening"
    # shellcheck disable=SC2086
    taskset -c 1 "$bin/callbin-load" --pid "$server" $3
    kill "$server"
    wait "$server" || true
    server=""
}

plain="--disable-ssl"
tls="--self-signed --cert-path $dir/cert"
ws="--server ws://127.0.0.1:$port"
wss="--server wss://127.0.0.1:$port"

with_server "50 pairs, 2 kB" "$plain" "$ws pairs --seconds 10"
with_server "50 pairs, 2 kB, half load" "$plain" "$ws pairs --seconds 10 --rate 60000"
with_server "50 pairs, 2 kB, TLS" "$tls" "$wss pairs --seconds 10"
with_server "register and close" "$plain" "$ws churn --seconds 10"
with_server "register and close, TLS" "$tls" "$wss churn --seconds 10"
with_server "idle peers" "$plain" "$ws idle --peers 9000 --seconds 30"
with_server "idle peers, TLS" "$tls" "$wss idle --peers 9000 --seconds 30"
with_server "room of 300" "$plain" "$ws room --members 300"
with_server "storm" "$plain" "$ws storm --peers 9000 --within 10"

cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench
