#!/bin/bash
# Compares a Stats request with a redis PING, both over Unix sockets.
#   tests/bench/control.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

requests=20000
start_daemon edgemind --capacity=50M
redis-server --port 0 --unixsocket "$directory/redis" --save '' --appendonly no --dir "$directory" >/dev/null &
pids+=($!)
await_socket "$directory/redis"
"$build/emctl" --socket "$directory/edgemind" load-model client/examples/ffn10.json >/dev/null

for _ in $(seq $((rounds + 1))); do
    "$build/tests/bench/roundtrip" "$directory/edgemind" stats $requests >>"$directory/stats"
    "$build/tests/bench/roundtrip" "$directory/redis" ping $requests >>"$directory/ping"
    redis-benchmark -s "$directory/redis" -c 1 -n $requests -t ping_inline --csv 2>/dev/null |
        awk -F'"' '/PING/ { print $10 * 1000 }' >>"$directory/redis-benchmark"
done

printf 'Control protocol, Unix socket, %d requests a round, medians of %d rounds\n\n' $requests "$rounds"
format='%-34s %10s %10s %12s\n'
# shellcheck disable=SC2059  # one format for all rows
row() { printf "$format" "$@"; }
row '' 'median us' 'p99 us' 'pipelined/s'
row 'edgemindd Stats' "$(median stats 1)" "$(median stats 2)" "$(median stats 3)"
row 'redis PING, the same client' "$(median ping 1)" "$(median ping 2)" "$(median ping 3)"
row 'redis PING, redis-benchmark -c 1' "$(median redis-benchmark)" '' ''
echo
goal 'Stats, in redis PINGs' "$(ratio "$(median stats)" "$(median ping)")" at-most 1
goal 'Stats pipelined, requests/s' "$(median stats 3)" at-least 100000
