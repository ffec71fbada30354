#!/bin/sh
# Runs the Autobahn test suite against the server's WebSocket, and prints a summary. It needs Python 2.7 and
#   python2 -m pip install --target DIR autobahntestsuite==0.8.2
#   scripts/autobahn.sh DIR [REPORT-DIR]
# All cases except those of permessage-deflate (12, 13), which the server does not offer.
set -eu
cd "$(dirname "$0")/.."
packages=$(cd "${1:?folder of the Python packages}" && pwd)
report=${2:-target/autobahn}
python=${PYTHON2:-python2}
mkdir -p "$report"
report=$(cd "$report" && pwd)
cargo build --quiet --package callbin-tests --example mirror

fifo=$(mktemp -u)
mkfifo "$fifo"
target/debug/examples/mirror <"$fifo" >"$report/url" &
exec 3>"$fifo"
rm "$fifo"
tries=0
until [ -s "$report/url" ] || [ "$tries" -ge 300 ]; do sleep 0.2; tries=$((tries + 1)); done
cat >"$report/fuzzingclient.json" <<JSON
{"outdir": "$report", "servers": [{"agent": "callbin", "url": "$(cat "$report/url")"}],
 "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {}}
JSON
status=0
(cd "$report" && "$python" -c "
import site, sys
site.addsitedir('$packages')
sys.argv = ['wstest', '-m', 'fuzzingclient', '-s', 'fuzzingclient.json']
from autobahntestsuite.wstest import run
run()") >"$report/log" 2>&1 || status=$?
exec 3>&-
wait
[ "$status" -eq 0 ] || { tail -20 "$report/log" >&2; exit "$status"; }
node -e '
const results = Object.entries(require(process.argv[1]).callbin);
const count = {};
for (const [, r] of results) count[r.behavior] = (count[r.behavior] ?? 0) + 1;
console.log(results.length + " cases:", count);
const bad = results.filter(([, r]) => !["OK", "NON-STRICT", "INFORMATIONAL"].includes(r.behavior));
for (const [id, r] of bad) console.log("  " + id, r.behavior, "close:", r.behaviorClose);
const odd = results.filter(([, r]) => r.behavior === "NON-STRICT").map(([id]) => id);
if (odd.length) console.log("not strict:", odd.join(" "));
process.exit(bad.length ? 1 : 0);' "$report/index.json"
