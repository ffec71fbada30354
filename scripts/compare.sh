#!/bin/sh
# Compares callbin with what it replaces, in one run on this machine, and prints tables for the README.
#   scripts/compare.sh [servers|clients]
# EXAMPLES names a checkout of GStreamer's examples, or of all of GStreamer: their Python server takes part, and their
# clients in Rust and C as far as they build here. BEFORE names a callbin-server of another build to compare with. ROUNDS and
# SECONDS_EACH say how often each scenario of the servers runs, and how long.
set -eu
cd "$(dirname "$0")/.."
bin=target/release
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-5}
dir=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT
ulimit -n "$(ulimit -Hn)"

machine() {
    processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    printf '%s, %s cores, Linux %s, %s\n\n' "$processor" "$(nproc)" "$(uname -r)" "$(date +%Y-%m-%d)"
    printf '    make compare%s\n\n' "${EXAMPLES:+ EXAMPLES=$EXAMPLES}"
}

# A file of the examples' folder "webrtc", wherever a checkout has it.
example() { # path
    for place in webrtc subprojects/gst-examples/webrtc .; do
        if [ -e "${EXAMPLES:-/nowhere}/$place/$1" ]; then
            realpath "$EXAMPLES/$place/$1"
            return
        fi
    done
}

# Starts a server for a scenario on the first core and sets $server and $port. The bare server is another program for each.
start() { # name, scenario
    mkfifo "$dir/listening"
    case $1 in
        bare)
            program=bare-relay
            [ "$2" != register ] || program=bare-register
            taskset -c 0 "$bin/examples/$program" >"$dir/listening" &
            ;;
        callbin | bridged | before)
            program=$bin/callbin-server
            [ "$1" != before ] || program=$BEFORE
            # All load comes from one address, which no honest address would send: limits per owner are off.
            taskset -c 0 "$program" --addr 127.0.0.1 --port 0 --disable-ssl --log warn \
                --max-owner-connections 0 --max-registration-rate 0 --max-request-rate 0 --max-message-rate 0 \
                --max-byte-rate 0 >"$dir/listening" &
            ;;
        python)
            # It prints each message.
            port=$((20000 + $$ % 10000))
            taskset -c 0 /usr/bin/python3 "$python" --addr 127.0.0.1 --port "$port" --disable-ssl >/dev/null 2>&1 &
            server=$!
            until taskset -c 1 curl --silent --output "$dir/health" "http://127.0.0.1:$port/health"; do
                kill -0 "$server" || { echo "callbin: $python does not start" >&2; exit 1; }
                sleep 0.1
            done
            rm "$dir/listening"
            return
            ;;
    esac
    server=$!
    read -r _ address <"$dir/listening" || { wait "$server"; exit 1; }
    rm "$dir/listening"
    address=${address%/}
    port=${address##*:}
}

stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=""
}

# Keeps one figure of one scenario: what the server's CPU did for each thing.
measure() { # server, what, load's arguments
    start "$1" "$2"
    # shellcheck disable=SC2086
    taskset -c 1 "$bin/callbin-load" --server "ws://127.0.0.1:$port" --pid "$server" --json $3 >"$dir/report"
    stop
    figure=$(sed -n 's/.*"server_cpu_per_[a-z]*_us":\([0-9.]*\).*/\1/p' "$dir/report")
    echo "$2 $1 $figure" >>"$dir/figures"
}

# The median of all rounds.
median() { # what, server
    sed -n "s/^$1 $2 //p" "$dir/figures" | sort -g | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'
}

# The median of how often one server's figure contains the other's, each taken within a round.
ratio() { # what, server, other server
    sed -n "s/^$1 $2 //p" "$dir/figures" >"$dir/one"
    sed -n "s/^$1 $3 //p" "$dir/figures" >"$dir/other"
    paste "$dir/one" "$dir/other" | awk 'NF == 2 { print $1 / $2 }' | sort -g |
        awk '{ v[NR] = $1 } END { if (NR) printf "%.2f", v[int((NR + 1) / 2)]; else printf "not run" }'
}

row() { # title, what
    printf '| %s |' "$1"
    for name in bare callbin python; do
        value=$(median "$2" "$name")
        [ -z "$value" ] || value=$(printf '%.1f µs' "$value")
        printf ' %s |' "${value:-not run}"
    done
    printf ' %s | %s |\n' "$(ratio "$2" callbin bare)" "$(ratio "$2" python callbin)"
}

compare_servers() {
    python=$(example signalling/simple_server.py)
    servers="bare callbin bridged${BEFORE:+ before}${python:+ python}"
    for round in $(seq "$rounds"); do
        for name in $servers; do
            echo "round $round of $rounds: $name" >&2
            kind=""
            [ "$name" != bare ] || kind=" --bare"
            [ "$name" != bridged ] || kind=" --bridged"
            measure "$name" busy "pairs --seconds $seconds$kind"
            measure "$name" calm "pairs --seconds $seconds --rate 2000$kind"
            [ "$name" = bridged ] || measure "$name" register "churn --seconds $seconds"
        done
    done
    echo "Processor time of the server, on a core of its own, for each thing done; medians of $rounds rounds. Bare: a TCP relay"
    echo "without a protocol, and a program that answers registrations without any checks (load/examples)."
    echo
    echo "| | bare | callbin | Python server | callbin / bare | Python / callbin |"
    echo "|---|---|---|---|---|---|"
    row "relay a message of 2 kB, 50 pairs, as fast as it goes" busy
    row "… 2,000 messages a second" calm
    row "register and close" register
    echo
    echo "Between a text peer and one of Ant Media's protocol a message costs $(ratio busy bridged callbin) times as much as between two"
    echo "text peers, $(ratio calm bridged callbin) times at 2,000 a second."
    [ -z "${BEFORE:-}" ] || echo "callbin / $BEFORE: relay $(ratio busy callbin before), at 2,000 a second \
$(ratio calm callbin before), register and close $(ratio register callbin before)"
    echo
    if [ -n "$python" ]; then
        /usr/bin/python3 -c 'import platform, websockets.version as w
print("Python " + platform.python_version() + ", websockets " + w.version)'
    else
        echo "The Python server is missing: EXAMPLES=${EXAMPLES:-} is no checkout with webrtc/signalling/simple_server.py."
    fi
}

# Builds an example's client outside of the checkout; says why there is none otherwise.
build_rust() {
    source=$(example sendrecv/gst-rust/Cargo.toml)
    [ -n "$source" ] || { echo "The example's client in Rust is missing: no webrtc/sendrecv/gst-rust." >>"$dir/missing"; return; }
    CARGO_TARGET_DIR=$cache/rust cargo build --quiet --release --locked --manifest-path "$source" >"$dir/log" 2>&1 ||
        { echo "The example's client in Rust does not build: $(grep -m 1 error "$dir/log")" >>"$dir/missing"; return; }
    rust=$cache/rust/release/webrtc-app
}

build_c() {
    source=$(example sendrecv/gst/webrtc-sendrecv.c)
    [ -n "$source" ] || { echo "The example's client in C is missing: no webrtc/sendrecv/gst." >>"$dir/missing"; return; }
    packages="gstreamer-webrtc-1.0 gstreamer-webrtc-nice-1.0 gstreamer-sdp-1.0 gstreamer-rtp-1.0 nice json-glib-1.0 libsoup-3.0"
    # shellcheck disable=SC2046,SC2086
    (cd "$(dirname "$source")" && cc -O2 -w -o "$cache/webrtc-sendrecv" webrtc-sendrecv.c custom_agent.c \
        $(pkg-config --cflags --libs $packages)) >"$dir/log" 2>&1 ||
        { echo "The example's client in C does not build: $(grep -m 1 error "$dir/log")" >>"$dir/missing"; return; }
    c=$cache/webrtc-sendrecv
}

compare_clients() {
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/callbin-interop
    mkdir -p "$cache"
    rust="" c=""
    : >"$dir/missing"
    build_rust
    build_c
    set --
    # shellcheck disable=SC2016 # SERVER and PEER are for the shell that starts the client.
    {
        [ -z "$rust" ] || set -- "$@" "GStreamer's example in Rust" "$rust --server \"\$SERVER\" --peer-id \"\$PEER\""
        [ -z "$c" ] || set -- "$@" "GStreamer's example in C" "$c --server=\"\$SERVER\" --peer-id=\"\$PEER\""
    }
    cargo run --release --locked --quiet --package callbin-tests --bin callbin-bench -- compare "$@"
    echo
    cat "$dir/missing"
    echo "GStreamer $(pkg-config --modversion gstreamer-1.0), $(chromium --version 2>/dev/null)"
}

machine
case "${1:-all}" in
    servers) compare_servers ;;
    clients) compare_clients ;;
    all) compare_servers; echo; compare_clients ;;
    *) echo "usage: scripts/compare.sh [servers|clients]" >&2; exit 2 ;;
esac
