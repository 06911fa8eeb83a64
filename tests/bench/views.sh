#!/bin/bash
# Compares llama.cpp on views with llama.cpp on its own mapping. Both have the same memory limit, which
# covers the engine and, with views, the daemon and its arena: the arena's capacity and what an engine and
# the daemon need beside it. Every arm makes the same tokens. The disk is measured right before each run of
# a view, which is compared with what that disk allowed, because the speed of a disk that others use varies.
#   tests/bench/views.sh BUILD
# shellcheck disable=SC2034  # variables of lib.sh
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/views_lib.sh
. "$(dirname "$0")/views_lib.sh"
rounds=3
seconds_at_most=120
shares='0.87 0.65 0.47' # of the weights, that the arena has
declare -A goals=([0.87]=3 [0.65]=1.9 [0.47]=1.5)
faults='uffd sigsegv'
title='llama.cpp on views, and on its own mapping'
need_engine "$title"
needs 2 "$title"
if ! measure_own; then
    echo "$title: skipped, no memory cgroup can be made here"
    exit 0
fi

limit_of() { echo $(($(share_bytes "$1") + engine_bytes + daemon_bytes)); }
run_mmap() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    run_engines "mmap-$1" 1 8 --
    close_cgroup
}
# bound_ms SHARE COMPUTE DISK: the milliseconds of a token, if nothing but computing or reading what is
# missing took time; DISK is the seconds of a MiB.
bound_ms() {
    awk -v all="$weights_bytes" -v arena="$(share_bytes "$1")" -v compute="$2" -v disk="$3" \
        'BEGIN { read = (all - arena) / 1048576 * disk * 1000; printf "%.2f\n", (read > compute ? read : compute) }'
}
run_view() {
    local words disk
    mapfile -t words < <(view "$2")
    make_cold
    disk=$("$build/tests/bench/stream" measure "$model" 0 $((weights_bytes >> 20)) $((1 << 20)) 1)
    echo "$disk" >>"$directory/disk-$1"
    make_cold
    open_cgroup "$(limit_of "$1")"
    start_views "$(share_bytes "$1")"
    loaded_before=$(loaded)
    run_engines "$2-$1" 1 16 -- "${words[@]}"
    echo "$((($(loaded) - loaded_before) / 16))" >>"$directory/loaded-$2-$1"
    ratio "$(bound_ms "$1" "$(tail -n 1 "$directory/resident" | cut -d ' ' -f 1)" "${disk%% *}")" \
        "$(cut -d ' ' -f 1 "$directory/line")" >>"$directory/part-$2-$1"
    echo >>"$directory/part-$2-$1"
    stop_views
    close_cgroup
}
loaded() { "$build/emctl" --socket "$directory/edgemind" stats --json | jq .scheduler.bytesLoaded; }

while another_round; do
    make_warm
    run_engines resident 1 16 --
    for share in $shares; do
        run_mmap "$share"
        for fault in $faults; do
            run_view "$share" "$fault"
        done
    done
done

row() { printf '%-38s %10s %10s %12s %12s\n' "$@"; }
arm() { row "$2" "$(median "$1")" "$(smallest "$1") to $(largest "$1")" "$3" "$(ratio "$(median "mmap-$share")" "$(median "$1")")"; }
printf '%s: %d MiB of F16 weights, medians of %d rounds\n' "$title" $((weights_bytes >> 20)) $counted
printf 'An engine needs %d MiB, the daemon %d MiB beside the arena. Everything resident: %s ms a token\n' \
    $((engine_bytes >> 20)) $((daemon_bytes >> 20)) "$(median resident)"
for share in $shares; do
    disk=$(median "disk-$share")
    bound=$(bound_ms "$share" "$(median resident)" "$disk")
    printf '\nArena at %s of the weights, limit %d MiB, the disk reads %.0f MiB/s\n\n' "$share" \
        $(($(limit_of "$share") >> 20)) "$(awk -v s="$disk" 'BEGIN { print 1 / s }')"
    row '' 'ms/token' 'from, to' 'MiB read' 'x mmap'
    arm "mmap-$share" 'llama.cpp, mmap' ''
    for fault in $faults; do
        arm "$fault-$share" "llama.cpp, view, $fault" $(($(median "loaded-$fault-$share") >> 20))
    done
    row 'bound: max(compute, missing bytes/disk)' "$bound" '' $(((weights_bytes - $(share_bytes "$share")) >> 20)) \
        "$(ratio "$(median "mmap-$share")" "$bound")"
    echo
    for fault in $faults; do
        goal "$fault: times the tokens/s of mmap" "$(ratio "$(median "mmap-$share")" "$(median "$fault-$share")")" \
            at-least "${goals[$share]}"
        goal "$fault: of the bound" "$(median "part-$fault-$share")" at-least 0.9
    done
done
