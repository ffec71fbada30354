#!/bin/sh
# Measures server and client on this machine: the server on the first core, its load on the second.
#   scripts/bench.sh [server|cluster|client|all]
# The figures in the README come from here. They are ratios on an idle machine; there are no pass or fail criteria.
set -eu
cd "$(dirname "$0")/.."
bin=target/release
dir=$(mktemp -d)
server=""
port=0
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
# Both ends of each pair are in one process, which needs many open files.
ulimit -n "$(ulimit -Hn)"

# All load comes from one address, more than the limits per owner allow: they are off.
unlimited="--max-owner-connections 0 --max-registration-rate 0 --max-request-rate 0 --max-message-rate 0
    --max-byte-rate 0 --max-notice-rate 0 --max-room-members 0"

start_server() { # flags
    mkfifo "$dir/listening"
    # shellcheck disable=SC2086
    taskset -c 0 "$bin/callbin-server" --addr 127.0.0.1 --port "$port" --log warn $1 >"$dir/listening" &
    server=$!
    read -r _ address <"$dir/listening" || { wait "$server"; exit 1; }
    rm "$dir/listening"
    address=${address#on http}
    address=${address%/}
    port=${address##*:}
}

stop_server() {
    kill "$server"
    wait "$server" || true
    server=""
}

load() { # title, load's arguments
    # shellcheck disable=SC2086
    if ! taskset -c 1 "$bin/callbin-load" --server "ws$address" --pid "$server" --json $2 >"$dir/report" 2>"$dir/error"; then
        printf '%-30s failed: %s\n' "$1" "$(cat "$dir/error")"
        return
    fi
    show "$1"
}

# Prints the important figures of a scenario's report.
show() { # title
    node -e '
const [title, file] = process.argv.slice(1);
const report = JSON.parse(require("fs").readFileSync(file, "utf8"));
const wanted = /per_second|round_trip_p(50|99)_|honest_(p(50|99|99\.9)_|dropped)|calm_p99_|cpu|memory|registered|refused|took|handshake_p99_|^connect_and_register_p99|closed_count|registrations_connections|attempts|_sent|register_again|^(join|left|back)_(p50|p99|max)_/;
const figures = Object.entries(report).filter(([name]) => wanted.test(name));
const units = { us: "µs", percent: "%", count: "" };
const text = figures.map(([name, value]) => {
  const [, words, unit] = name.match(/^(.*)_([^_]+)$/);
  const digits = value >= 100 || Number.isInteger(value) ? 0 : 2;
  return `${words.replaceAll("_", " ")} ${value.toFixed(digits)} ${units[unit] ?? unit}`.trim();
});
const lines = text.reduce((lines, figure) => {
  const last = lines.at(-1);
  if (last !== undefined && last.length + figure.length < 88) lines[lines.length - 1] = `${last}, ${figure}`;
  else lines.push(figure);
  return lines;
}, []);
lines.forEach((line, i) => console.log((i ? "" : title).padEnd(30) + line));' "$1" "$dir/report"
}

with_server() { # title, server's flags, load's arguments
    port=0
    start_server "$2"
    load "$1" "$3"
    stop_server
}

plain="--disable-ssl $unlimited"
tls="--self-signed --cert-path $dir/cert $unlimited"

# With tokens, limits and metrics: each connection sends a token, and its limits and metrics are counted.
head -c 48 /dev/urandom | base64 >"$dir/secret"
guarded="--token-key-file $dir/secret --max-owner-connections 1000000 --max-registration-rate 1000000
    --max-request-rate 1000000 --max-message-rate 100000000 --max-byte-rate 2000000000"
token() {
    "$bin/callbin-server" token --key-file "$dir/secret"
}

bench_server() {
    with_server "50 pairs, 2 kB" "$plain" "pairs --seconds 10"
    with_server "50 pairs, text to antmedia" "$plain" "pairs --bridged --seconds 10"
    with_server "50 pairs, half load" "$plain" "pairs --seconds 10 --rate 60000"
    with_server "50 pairs, TLS" "$tls" "pairs --seconds 10"
    with_server "50 pairs, tokens and limits" "--disable-ssl $guarded" "pairs --seconds 10 --token $(token)"
    with_server "register and close" "$plain" "churn --seconds 10"
    with_server "register, tokens and limits" "--disable-ssl $guarded" "churn --seconds 10 --token $(token)"
    with_server "register and close, TLS" "$tls" "churn --seconds 10"
    with_server "TLS handshakes" "$tls" "handshakes --seconds 10"
    with_server "15,000 idle peers" "$plain" "idle --peers 15000 --seconds 60"
    with_server "15,000 idle peers, TLS" "$tls" "idle --peers 15000 --seconds 60"
    with_server "room of 300" "$plain" "room --members 300"
    with_server "room of 1,000" "$plain" "room --members 1000"
    with_server "20 slow readers" "$plain" "slow --seconds 20"
    with_server "attacks of all kinds" "--disable-ssl" "attack --source-addresses 16 --seconds 20"

    # All peers are connected, the server restarts on the same port, all peers reconnect.
    port=0
    start_server "$plain"
    load "10,000 peers come" "storm --peers 10000 --within 10"
    stop_server
    start_server "$plain"
    load "10,000 come back, restarted" "storm --peers 10000 --within 10"
    stop_server
}

# All nodes and Redis share the first core. The CPU time is that of all of them.
bench_cluster() {
    command -v redis-server >/dev/null || { echo "callbin: bench cluster needs redis-server" >&2; exit 1; }
    taskset -c 0 redis-server --port 7379 --bind 127.0.0.1 --save "" --appendonly no --loglevel warning &
    redis=$!
    nodes=""
    # shellcheck disable=SC2086
    trap 'kill "$redis" $nodes 2>/dev/null; rm -rf "$dir"' EXIT
    for way in same other; do
        for rate in "" "--rate 20000" "--rate 2000"; do
            start_nodes 2
            callees=$second
            [ "$way" = other ] || callees=$first
            load "50 pairs, $way node $rate" "pairs --seconds 5 $rate --callees $callees"
            redis_work
            stop_nodes
        done
    done
    # What --redis costs where no other node takes part: in turn, because the machine may change meanwhile.
    for _ in 1 2 3 4; do
        with_server "50 pairs, without --redis" "$plain" "pairs --seconds 3"
        with_nodes 1 "50 pairs, with --redis" "pairs --seconds 3"
    done
    for _ in 1 2; do
        with_server "register, without --redis" "$plain" "churn --seconds 3"
        with_nodes 1 "register, with --redis" "churn --seconds 3"
    done
    for _ in 1 2 3; do
        start_nodes 3
        load "1,000 members cut off at once" "abort --others $first,$second,$third"
        redis_work
        stop_nodes
    done
    for _ in 1 2 3; do
        start_nodes 3
        # The CPU time is that of the others.
        server=${server#*,}
        load "5,000 peers of a killed node" "comeback --kill ${nodes%% *} --others $second,$third"
        stop_nodes
    done
    for kind in read unread messages; do
        start_nodes 3
        load "others while one node: $kind" \
            "attack --kind $kind --callees $second --honest-callers $second --honest-callees $third --seconds 10 --rate 500"
        stop_nodes
    done
    kill "$redis"
    wait "$redis" || true
}

with_nodes() { # count, title, load's arguments
    start_nodes "$1"
    # The CPU time is that of the nodes alone.
    server=${server%,*}
    load "$2" "$3"
    redis_work
    stop_nodes
}

# What Redis has done since the last call, as it counts itself: `evalsha` is the script, `publish` what it sends included.
redis_work() {
    redis-cli -p 7379 INFO commandstats | tr -d '\r' | awk -F '[:=,]' '/^cmdstat_(evalsha|publish):/ {
        printf "%-30s%s: %d calls, %.1f µs each\n", "", "Redis, " substr($1, 9), $3, $7
    }'
    redis-cli -p 7379 CONFIG RESETSTAT >/dev/null
}

# Starts nodes. The load goes to the first one; the URLs of the first three are in first, second and third.
start_nodes() { # count
    nodes="" first="" second="" third=""
    while [ "$1" -gt 0 ]; do
        port=0
        start_server "$plain --redis redis://127.0.0.1:7379"
        nodes="$nodes$server "
        third=$second second=$first first="ws$address"
        set -- $(($1 - 1))
    done
    # The last one is the first in the list.
    nodes=$(echo "$nodes" | awk '{ for (i = NF; i; i--) printf "%s ", $i }')
    server="$(echo "$nodes" | tr ' ' ,)$redis"
    address=${first#ws}
}

stop_nodes() {
    for server in $nodes; do
        kill "$server" 2>/dev/null || continue
        wait "$server" || true
    done
    nodes="" server=""
}

bench_client() {
    cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench
}

case "${1:-all}" in
    server) bench_server ;;
    cluster) bench_cluster ;;
    client) bench_client ;;
    all) bench_server; bench_cluster; bench_client ;;
    *) echo "usage: scripts/bench.sh [server|cluster|client|all]" >&2; exit 2 ;;
esac
