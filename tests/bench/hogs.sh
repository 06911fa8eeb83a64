#!/bin/bash
# How long others wait while a client uses as much of the daemon as it can. Measures single Stats
# requests, in turn with each kind of such a client (a hog) and on the idle daemon; and the maximum
# memory of the daemon beside the arena, which an observer reads once a millisecond. Most kinds get
# more connections than a user has by default.
#   tests/bench/hogs.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

hog=
trap '[ -z "$hog" ] || kill -KILL "$hog" 2>/dev/null; finish' EXIT
rounds=2
requests=200
hog_seconds=3      # that a hog has to take what it can get
seconds_at_most=10 # of one round beside one hog
chmod 711 "$directory" # run by root, the hogs are another user
python3 - >"$directory/big.json" <<'PYTHON'
import json
print(json.dumps({"name": "big", "layers": [{"name": "big", "bytes": 44 << 20}]}))
PYTHON

overhead_limit_mib=64 # the default
# The observer's figures are in $directory/seen. It has no limits to go by.
start_observer() {
    exec {observer_input}> >(exec "$build/tests/soak/observer" 0 0 0 0 >"$directory/seen" 2>/dev/null)
    observer=$!
    echo "${pids[-1]}" >&"$observer_input"
}
stop_observer() {
    exec {observer_input}>&-
    wait "$observer" || true
}
# p99 FILE: of Stats, in milliseconds. A round that exceeds the time limit counts as the limit.
p99() {
    timeout $seconds_at_most "$build/tests/bench/roundtrip" "$directory/edgemind" stats $requests |
        awk '{ print $2 / 1000; done = 1 } END { if (!done) print '$seconds_at_most' * 1000 }' >>"$directory/$1" || true
}

printf 'Stats beside hogs of one user, %d requests a round, medians of %d rounds\n\n' $requests $rounds
printf '%-18s %12s %12s %8s %14s\n' '' 'idle p99 ms' 'p99 ms' 'ratio' 'overhead MiB'
missed=0
overhead_missed=0
for kind in plans unread-lists watchers busy-leases pipelined-lists pipelined-stats half-messages half-open \
    descriptors wrong-plans connections; do
    start_daemon edgemind --capacity=50M --max-connections=10000 --max-connections-per-user=9900
    for file in client/examples/ffn10.json "$directory/big.json"; do
        "$build/emctl" --socket "$directory/edgemind" load-model "$file" >/dev/null
    done
    "$build/emctl" --socket "$directory/edgemind" load-layer ffn10 dense_0 >/dev/null
    : >"$directory/idle" >"$directory/beside"
    start_observer
    for _ in $(seq $((rounds + 1))); do
        p99 idle
        coproc HOG { exec python3 tests/bench/hog.py "$directory/edgemind" $kind; }
        hog=$HOG_PID
        read -r -t 20 -u "${HOG[0]}" || true
        sleep $hog_seconds
        p99 beside
        kill -KILL "$hog" 2>/dev/null || true
        wait "$hog" 2>/dev/null || true
        hog=
    done
    stop_observer
    peak=$(jq '.overhead_bytes / 1048576 * 10 | round / 10' "$directory/seen")
    idle=$(median idle) beside=$(median beside)
    printf '%-18s %12.2f %12.2f %8s %14s\n' $kind "$idle" "$beside" "$(ratio "$beside" "$idle")" "$peak"
    awk -v a="$beside" -v b="$idle" 'BEGIN { exit !(a > 10 && a > 3 * b) }' && missed=$((missed + 1))
    awk -v a="$peak" 'BEGIN { exit !(a > '$overhead_limit_mib') }' && overhead_missed=$((overhead_missed + 1))
    stop_daemon
    rm -f "$directory/edgemind"
done
echo
goal 'kinds beside which p99 is over 3 times idle and over 10 ms' $missed at-most 0
goal 'kinds beside which the overhead exceeds overhead-limit' $overhead_missed at-most 0
