#!/bin/sh
# Runs Redis, several servers, a proxy in front of them, and two GStreamer clients at different servers, until Ctrl-C.
#   scripts/demo-cluster.sh PORT NODES
set -eu
cd "$(dirname "$0")/.."
port=$1
nodes=$2
bin=target/release
dir=$(mktemp -d)
running=""

finish() {
    trap - EXIT INT TERM
    # The last ones first: the clients close their connections while the servers still run.
    for process in $running; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start() {
    "$@" &
    running="$! $running"
}

redis=$((port + 1000))
start redis-server --port "$redis" --bind 127.0.0.1 --save "" --appendonly no --dir "$dir" --loglevel warning
servers=""
number=1
while [ "$number" -le "$nodes" ]; do
    at=$((port + number))
    mkfifo "$dir/$number"
    "$bin/callbin-server" --addr 127.0.0.1 --port "$at" --disable-ssl --log warn --trusted-proxy 127.0.0.1 \
        --redis "redis://127.0.0.1:$redis" --node-name "node-$number" >"$dir/$number" &
    running="$! $running"
    # A line when it listens. If it cannot start, the pipe closes.
    read -r _ <"$dir/$number"
    servers="$servers server 127.0.0.1:$at;"
    number=$((number + 1))
done

cat >"$dir/nginx.conf" <<TEXT
daemon off;
pid $dir/nginx.pid;
error_log stderr error;
events {}
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    map \$http_upgrade \$connection_upgrade { default upgrade; "" close; }
    upstream nodes { $servers }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Host \$http_host;
            proxy_set_header Upgrade \$http_upgrade;
            proxy_set_header Connection \$connection_upgrade;
            proxy_set_header X-Forwarded-For \$remote_addr;
            proxy_read_timeout 1h;
        }
    }
}
TEXT
start nginx -c "$dir/nginx.conf"

# The proxy takes the servers in turn.
start "$bin/callbin" wait --server "ws://127.0.0.1:$port" --id gst-demo --headless
start "$bin/callbin" room lobby --server "ws://127.0.0.1:$port" --wait-for-server=10 --id gst-lobby --view none

cat <<TEXT

  $nodes servers are one behind http://localhost:$port/. Open in a browser, and allow it to use the camera:

      http://localhost:$port/?call=gst-demo     a call with a GStreamer client
      http://localhost:$port/?room=lobby        a room with another one

  Kill a server (they listen on $((port + 1)) to $((port + nodes))), and its clients come back at another one. Ctrl-C ends all.
TEXT
wait
