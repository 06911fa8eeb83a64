#!/bin/bash
# Timings beside the peers: arms interleaved, the first round dropped, medians, ratios within this run.
#   tests/bench/bench.sh BUILD
set -eu -o pipefail

build=${1:?usage: bench.sh BUILD}
rounds=5
requests=20000
directory=$(mktemp -d)
pids=()
finish() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# column FILE N: the median of a column, the first round dropped.
column() { tail -n +2 "$1" | awk -v n="$2" '{ print $n }' | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

await_socket() {
    for _ in $(seq 200); do
        [ -S "$1" ] && return
        sleep 0.05
    done
    echo "$1 did not appear" >&2
    exit 1
}

"$build/edgemindd" --capacity=50M --socket="$directory/edgemind" 2>"$directory/log" &
pids+=($!)
redis-server --port 0 --unixsocket "$directory/redis" --save '' --appendonly no --dir "$directory" >/dev/null &
pids+=($!)
await_socket "$directory/edgemind"
await_socket "$directory/redis"
"$build/emctl" --socket "$directory/edgemind" load-model client/examples/ffn10.json >/dev/null

for _ in $(seq $((rounds + 1))); do
    "$build/tests/bench/roundtrip" "$directory/edgemind" stats $requests >>"$directory/stats"
    "$build/tests/bench/roundtrip" "$directory/redis" ping $requests >>"$directory/ping"
    redis-benchmark -s "$directory/redis" -c 1 -n $requests -t ping_inline --csv 2>/dev/null |
        awk -F'"' '/PING/ { print $10 * 1000 }' >>"$directory/redis-benchmark"
done

stats=$(column "$directory/stats" 1) ping=$(column "$directory/ping" 1)
printf 'Control protocol, Unix socket, %d requests a round, medians of %d rounds\n\n' $requests $rounds
printf '%-34s %10s %10s %12s\n' '' 'median us' 'p99 us' 'pipelined/s'
printf '%-34s %10s %10s %12s\n' 'edgemindd Stats' "$stats" "$(column "$directory/stats" 2)" "$(column "$directory/stats" 3)"
printf '%-34s %10s %10s %12s\n' 'redis PING, the same client' "$ping" "$(column "$directory/ping" 2)" "$(column "$directory/ping" 3)"
printf '%-34s %10s\n' 'redis PING, redis-benchmark -c 1' "$(column "$directory/redis-benchmark" 1)"
printf '\nStats takes %s times a redis PING (goal: at most 1), pipelined %s requests/s (goal: 100000).\n' \
    "$(ratio "$stats" "$ping")" "$(column "$directory/stats" 3)"
