#!/bin/bash
# Runs the main job step by step on a private daemon. Every line with "ok" is a check that can fail.
#   tests/demo.sh BUILD
set -u -o pipefail

build=${1:?usage: demo.sh BUILD}
export PATH=$(realpath "$build"):$PATH NO_COLOR=1
directory=$(mktemp -d)
export EDGEMIND_SOCKET=$directory/socket
log=$directory/log
daemon=
failures=0

finish() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null
    wait
    rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n%s\n' "$*"; }
run() { printf '  $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/    /'; return "${PIPESTATUS[0]}"; }

# check TEXT ACTUAL EXPECTED
check() {
    if [ "$2" = "$3" ]; then
        printf '  ok      %s: %s\n' "$1" "$2"
    else
        printf '  FAILED  %s: %s, expected %s\n' "$1" "$2" "$3"
        failures=$((failures + 1))
    fi
}
stat_of() { emctl stats --json | jq -r "$1"; }
status_bytes() { awk -v key="$1:" '$1 == key { print $2 * 1024 }' "/proc/$daemon/status"; }

step '1. The daemon boots with a cap of 50 MiB, every page of it committed.'
edgemindd --capacity=50M --huge-pages=never --monitor-interval=50ms --socket="$EDGEMIND_SOCKET" 2>"$log" &
daemon=$!
for _ in $(seq 200); do
    grep -q ' ready: ' "$log" && break
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.05
done
sed 's/^/    /' "$log"
check 'capacity' "$(stat_of .arena.capacityBytes)" $((50 << 20))
check 'RssShmem in /proc/PID/status' "$(status_bytes RssShmem)" $((50 << 20))

step '2. It loads layers of 8 MiB until the arena is full, and says must-unload.'
run emctl load-model client/examples/ffn10.json --on-full=ask
check "exit code of must-unload" $? 5
check 'layers resident' "$(stat_of .scheduler.layersLoaded)" 6
run emctl list ffn10

step '3. Told to go on, it evicts the old layers (the default policy flushes all of them).'
for layer in dense_6 dense_7 dense_8 dense_9; do
    run emctl load-layer ffn10 "$layer"
    check "exit code" $? 0
done
check 'layers resident' "$(stat_of .scheduler.layersLoaded)" 4
check 'must-unload decisions' "$(stat_of .scheduler.decisions.mustUnload)" 2
check 'flushes' "$(stat_of .scheduler.flushes)" 1
check 'layers evicted' "$(stat_of .scheduler.evictions)" 6

step '4. It refuses a layer that is larger than the arena, and loses nothing.'
printf '{"name": "giant", "layers": [{"name": "too_large", "bytes": 67108864}]}' >"$directory/giant.json"
run emctl load-model "$directory/giant.json"
check "exit code of out-of-memory" $? 4
check 'layers resident' "$(stat_of .scheduler.layersLoaded)" 4

step '5. The operating system confirms the budget, not our own counters.'
before=$(stat_of .monitor.samples)
for _ in $(seq 200); do
    [ "$(stat_of .monitor.samples)" -gt "$before" ] && break
    sleep 0.05
done
run emctl stats
check 'RssShmem in /proc/PID/status' "$(status_bytes RssShmem)" $((50 << 20))
check 'aligned' "$(stat_of .monitor.aligned)" true
check 'overhead below 8 MiB' "$(stat_of '.monitor.overheadBytes < 8388608')" true

step '6. It ends clean.'
kill -TERM "$daemon"
wait "$daemon"
check 'exit status' $? 0
daemon=
check 'socket left behind' "$(ls "$EDGEMIND_SOCKET" 2>/dev/null | wc -l)" 0

printf '\n'
[ "$failures" -eq 0 ] || { echo "$failures checks failed."; exit 1; }
echo 'Every check passed.'
