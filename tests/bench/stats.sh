#!/bin/bash
# Measures how long a Stats request takes while a model of 1 GiB streams through an arena of 256 MiB.
#   tests/bench/stats.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
needs 3 'Stats while 1 GiB loads'

roundtrip=$build/tests/bench/roundtrip
load='{"method":"io.edgemind.manager.LoadModel","parameters":{"path":"model.safetensors"}}'
during_load() {
    "$roundtrip" "$directory/edgemind" during "$load"
    call edgemind UnloadModel '{"model":"model"}' >/dev/null
}

make_model
start_daemon edgemind --capacity=256M
for _ in $(seq $((rounds + 1))); do
    "$roundtrip" "$directory/edgemind" stats 10000 >>"$directory/idle"
    make_cold
    during_load >>"$directory/cold"
    make_warm
    during_load >>"$directory/warm"
done

printf 'Stats while 1 GiB streams through 256 MiB, medians of %d rounds\n\n' "$rounds"
row() { printf '%-34s %10s %10s %12s\n' "$@"; }
row '' 'median us' 'p99 us' 'max p99 us'
for arm in idle cold warm; do
    row "$arm" "$(median $arm 1)" "$(median $arm 2)" "$(largest $arm 2)"
done
echo
for arm in cold warm; do
    goal "p99 during a $arm load, in idle ones" "$(ratio "$(median $arm 2)" "$(median idle 2)")" at-most 2
done
