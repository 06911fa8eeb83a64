#!/bin/bash
# Acquires a resident layer of 64 MiB, and compares this with memcached and redis for the same bytes.
#   tests/bench/acquire.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
needs 2 'Acquire of 64 MiB'

value_bytes=$((64 << 20))
make_model 1 $value_bytes --embedding-bytes 0
start_daemon edgemind --capacity=66M --huge-pages=never
call edgemind LoadModel '{"path":"model.safetensors"}' >/dev/null
"$build/emctl" --socket "$directory/edgemind" cat model model.layers.0 >"$directory/value"

memcached -s "$directory/memcached" -m 1024 -I 128m -u "$(id -un)" &
pids+=($!)
await_socket "$directory/memcached"
python3 - "$directory" <<'PYTHON'
import socket, sys
value = open(sys.argv[1] + "/value", "rb").read()
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1] + "/memcached")
server.sendall(b"set weights 0 0 %d\r\n%b\r\n" % (len(value), value))
reply = server.recv(100)
sys.exit(reply != b"STORED\r\n" and "memcached: " + repr(reply))
PYTHON
redis-server --port 0 --unixsocket "$directory/redis" --save '' --appendonly no --dir "$directory" >/dev/null &
pids+=($!)
await_socket "$directory/redis"
redis-cli -s "$directory/redis" -x set weights <"$directory/value" >/dev/null

acquire=$build/tests/bench/acquire
for _ in $(seq $((rounds + 1))); do
    "$acquire" edgemind "$directory/edgemind" model model.layers.0 2000 >>"$directory/figures-edgemind"
    for cache in memcached redis; do
        "$acquire" $cache "$directory/$cache" weights $value_bytes 10 >>"$directory/figures-$cache"
    done
done
if [ "$(cut -d ' ' -f 4 "$directory"/figures-* | sort -u | wc -l)" -ne 1 ]; then
    echo 'acquire: the servers do not have the same bytes' >&2
    exit 1
fi

printf '64 MiB that the server has in memory, Unix socket, medians of %d rounds, us\n\n' "$rounds"
row() { printf '%-24s %20s %18s %10s %12s\n' "$@"; }
row '' 'connect, get, read' 'from, to' 'again' 'and release'
for server in edgemind memcached redis; do
    figures=figures-$server
    row "${server/edgemind/edgemindd, plain pages}" "$(median "$figures")" \
        "$(smallest "$figures") to $(largest "$figures")" "$(median "$figures" 2)" "$(median "$figures" 3)"
done
echo
for cache in memcached redis; do
    goal "First acquire: times the speed of $cache get" \
        "$(ratio "$(median figures-$cache)" "$(median figures-edgemind)")" at-least 4
done
goal 'Acquire again, us' "$(median figures-edgemind 2)" at-most 25
goal 'Acquire again and release, us' "$(median figures-edgemind 3)" at-most 25
