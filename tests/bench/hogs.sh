#!/bin/bash
# How long others wait while a client uses as much of the daemon as it can. Measures single Stats
# requests, in turn with each kind of such a client (a hog) and on the idle daemon; and the maximum
# memory of the daemon beside the arena.
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

overhead_mib() {
    awk '$1 == "VmRSS:" { rss = $2 } $1 == "RssShmem:" { shmem = $2 } END { printf "%.1f\n", (rss - shmem) / 1024 }' \
        "/proc/${pids[-1]}/status"
}
# p99 FILE: of Stats, in milliseconds. A round that exceeds the time limit counts as the limit.
p99() {
    timeout $seconds_at_most "$build/tests/bench/roundtrip" "$directory/edgemind" stats $requests |
        awk '{ print $2 / 1000; done = 1 } END { if (!done) print '$seconds_at_most' * 1000 }' >>"$directory/$1" || true
}

printf 'Stats beside hogs of one user, %d requests a round, medians of %d rounds\n\n' $requests $rounds
printf '%-18s %12s %12s %8s %14s\n' '' 'idle p99 ms' 'p99 ms' 'ratio' 'overhead MiB'
missed=0
for kind in plans unread-lists watchers busy-leases pipelined-lists half-messages; do
    start_daemon edgemind --capacity=50M --max-connections=320 --max-connections-per-user=300
    for file in client/examples/ffn10.json "$directory/big.json"; do
        "$build/emctl" --socket "$directory/edgemind" load-model "$file" >/dev/null
    done
    "$build/emctl" --socket "$directory/edgemind" load-layer ffn10 dense_0 >/dev/null
    : >"$directory/idle" >"$directory/beside"
    peak=0
    for _ in $(seq $((rounds + 1))); do
        p99 idle
        coproc HOG { exec python3 tests/bench/hog.py "$directory/edgemind" $kind; }
        hog=$HOG_PID
        read -r -t 20 -u "${HOG[0]}" || true
        sleep $hog_seconds
        p99 beside
        peak=$(printf '%s\n' "$peak" "$(overhead_mib)" | sort -g | tail -n 1)
        kill -KILL "$hog" 2>/dev/null || true
        wait "$hog" 2>/dev/null || true
        hog=
    done
    idle=$(median idle) beside=$(median beside)
    printf '%-18s %12.2f %12.2f %8s %14s\n' $kind "$idle" "$beside" "$(ratio "$beside" "$idle")" "$peak"
    awk -v a="$beside" -v b="$idle" 'BEGIN { exit !(a > 10 && a > 3 * b) }' && missed=$((missed + 1))
    stop_daemon
    rm -f "$directory/edgemind"
done
echo
goal 'kinds beside which p99 is over 3 times idle and over 10 ms' $missed at-most 0
