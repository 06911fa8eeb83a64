#!/bin/bash
# Measures passes over a model that is larger than the memory that may be used. Each arm has the same
# cgroup limit, which covers the daemon and its client together. Each arm makes one pass that is not
# counted and two that are. The parts of a pass are measured right before and right after next-use,
# because the speed of a disk that others use varies.
#   tests/bench/stream.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rounds=3
needs 3 'Streaming a model larger than its memory'
if ! open_cgroup "$gib"; then
    echo 'Streaming a model larger than its memory: skipped, no memory cgroup can be made here'
    exit 0
fi
close_cgroup

# Uses huge pages for the arena if the system allows them. With plain pages a direct read consists of
# many small pieces, and on some disks takes twice as long.
pages=plain
if allow_huge_pages; then pages=huge; fi

layers=100
layer_mib=8
overhead_mib=8 # what the limit allows beyond the arena
slots='47 87'  # layers that fit: K
computes='light heavy'
arms='mmap willneed mlock flush-all lru next-use'

layer_bytes=$((layer_mib << 20))
make_model $layers ${layer_mib}M --embedding-bytes 0 --shift 0
offset=$(awk 'NR == 1 { print $4 }' "$directory/tensors")

limit_of() { echo $(($1 * layer_bytes + (overhead_mib << 20))); }
measure() {
    make_cold
    "$build/tests/bench/stream" measure "$model" "$offset" $layers $layer_bytes "$1"
}
# pass SLOTS REPEATS ARM...: seconds, and bytes read.
pass() {
    "${enter[@]}" "$build/tests/bench/stream" run "$model" "$offset" $layers $layer_bytes "$2" 3 "$checksum" "${@:3}"
}
run_peer() {
    local status=0
    make_cold
    open_cgroup "$(limit_of "$1")" || return
    pass "$@" || status=$?
    close_cgroup
    return $status
}
# If the locked pages exceed the limit, locking fails or the process is killed.
run_mlock() {
    local status=0
    run_peer "$1" "$2" mlock "$3" "$4" 2>"$directory/errors" || status=$?
    case $status in
    0 | 3 | 137) ;;
    *)
        cat "$directory/errors" >&2
        exit 1
        ;;
    esac
}
run_arena() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    start_daemon socket --capacity=$(($1 * layer_bytes)) --policy="$3"
    pass "$1" "$2" arena "$directory/socket" "${pids[-1]}"
    stop_daemon
    close_cgroup
}
# Finds the fastest of a few subsets, each tried once. The more is locked, the less memory is left for
# readahead, and some subsets exceed the limit.
best_subset() {
    local subset
    : >"$directory/subsets"
    for subset in "$(($1 - 1)) spread" "$(($1 - 2)) spread" "$(($1 - 2)) first" "$(($1 - 5)) first"; do
        # shellcheck disable=SC2086  # words
        run_mlock "$1" "$2" $subset >"$directory/try"
        sed "s/$/ $subset/" "$directory/try" >>"$directory/subsets"
    done
    sort -g "$directory/subsets" | head -n 1 | cut -d ' ' -f 3-
}

measure 1 >"$directory/first-measure"
read -r _ _ _ heavy checksum <"$directory/first-measure"
declare -A repeats=([light]=1 [heavy]=$heavy)
for k in $slots; do
    for compute in $computes; do
        best_subset "$k" "${repeats[$compute]}" >"$directory/best-$k-$compute"
    done
done

for _ in $(seq $((rounds + 1))); do
    for k in $slots; do
        for compute in $computes; do
            for arm in $arms; do
                case $arm in
                mmap | willneed) run_peer "$k" "${repeats[$compute]}" "$arm" ;;
                mlock)
                    read -ra best <"$directory/best-$k-$compute" || continue
                    run_mlock "$k" "${repeats[$compute]}" "${best[@]}"
                    ;;
                flush-all | lru) run_arena "$k" "${repeats[$compute]}" "$arm" ;;
                next-use)
                    measure "${repeats[$compute]}" >>"$directory/measure-$k-$compute"
                    run_arena "$k" "${repeats[$compute]}" "$arm"
                    measure "${repeats[$compute]}" >>"$directory/measure-$k-$compute"
                    ;;
                esac >>"$directory/$arm-$k-$compute"
            done
        done
    done
done

milliseconds() { awk -v s="$1" 'BEGIN { printf "%.2f", s * 1000 }'; }
# bound K COMPUTE LOAD: the minimum time of a pass in seconds.
bound() {
    awk -v n=$layers -v k="$1" -v c="$2" -v l="$3" \
        'BEGIN { a = n * c; b = (n - k + 1) * l; printf "%.6f", (a > b ? a : b) }'
}
row() { printf '%-44s %8s %8s %9s %8s\n' "$@"; }
# arm NAME TEXT
arm() {
    local figures=$1-$k-$compute seconds bytes
    [ -s "$directory/$figures" ] || { row "$2" 'does not' fit '' ''; return; }
    seconds=$(median "$figures")
    bytes=$(median "$figures" 2)
    row "$2" "$(awk -v s="$seconds" 'BEGIN { printf "%.3f", s }')" "$((bytes >> 20))" \
        "$(awk -v r="$bytes" -v all=$((layers * layer_bytes)) 'BEGIN { h = 1 - r / all; printf "%.1f%%", (h > 0 ? 100 * h : 0) }')" \
        "$(ratio "$(median "mmap-$k-$compute")" "$seconds")"
}
# speed TEXT PEER GOAL: the speed of next-use as a multiple of PEER's. A goal that even the bound would
# miss does not count.
speed() {
    local reach
    [ -s "$directory/$2-$k-$compute" ] || return 0
    reach=$(ratio "$(median "$2-$k-$compute")" "$least")
    if awk -v reach="$reach" -v goal="$3" 'BEGIN { exit !(reach >= goal) }'; then
        goal "$1" "$(ratio "$(median "$2-$k-$compute")" "$(median "next-use-$k-$compute")")" at-least "$3"
    else
        printf '%-62s %9s  (goal %s: out of reach, the bound is %s)\n' "$1" \
            "$(ratio "$(median "$2-$k-$compute")" "$(median "next-use-$k-$compute")")" "$3" "$reach"
    fi
}

read_ahead=$(cat "/sys/dev/block/$(findmnt --noheadings --output MAJ:MIN --target "$directory" | tr -d ' ')/queue/read_ahead_kb" 2>/dev/null || echo ?)
printf 'Passes over %d layers of %d MiB under one memory limit, medians of %d rounds\n' $layers $layer_mib "$rounds"
printf 'Readahead: %s KiB. Arenas on %s pages\n' "$read_ahead" "$pages"
for k in $slots; do
    for compute in $computes; do
        load=$(median "measure-$k-$compute")
        each=$(median "measure-$k-$compute" 3)
        least=$(bound "$k" "$each" "$load")
        read -ra best <"$directory/best-$k-$compute" || best=(0 -)
        printf '\nK/N = %s, %s compute, limit %d MiB: a layer loads in %s ms and computes in %s ms\n\n' \
            "$(ratio "$k" $layers)" "$compute" $(($(limit_of "$k") >> 20)) "$(milliseconds "$load")" "$(milliseconds "$each")"
        row '' 's/pass' 'MiB read' 'hit rate' 'x mmap'
        arm mmap 'mmap'
        arm willneed 'mmap, MADV_WILLNEED of the next layer'
        arm mlock "mmap, best mlock: ${best[0]} layers, ${best[1]}"
        arm flush-all 'edgemindd, flush-all'
        arm lru 'edgemindd, lru'
        arm next-use 'edgemindd, next-use'
        row 'bound: max(N c, (N-K+1) l)' "$(awk -v s="$least" 'BEGIN { printf "%.3f", s }')" '' '' \
            "$(ratio "$(median "mmap-$k-$compute")" "$least")"
        echo
        if [ "$k" = 47 ]; then wanted=1.8; else wanted=5; fi
        speed 'times the speed of mmap' mmap $wanted
        speed 'times the speed of mlock' mlock 1.5
        goal 'of the bound' "$(ratio "$least" "$(median "next-use-$k-$compute")")" at-least 0.9
    done
done
