#!/bin/bash
# Compares LoadModel for a file of 1 GiB with cp and fio, with a cold and with a warm page cache.
#   tests/bench/load.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
needs 6 'Load of 1 GiB'

# fio SETTINGS: seconds for 1 GiB. fio uses threads, because each of its processes would be a separate
# session, which the kernel's scheduler treats like another user's work.
read_direct() {
    local memory=$1 block=$2 engine=$3 jobs=$4 depth=$5 tunables=
    [ "$memory" = plain ] || tunables=glibc.malloc.hugetlb=1
    GLIBC_TUNABLES=$tunables fio --name=read --thread --filename="$model" --rw=read --direct=1 --readonly \
        --bs="$block" --ioengine="$engine" --iodepth="$depth" --numjobs="$jobs" --size=$((gib / jobs)) \
        --offset_increment=$((gib / jobs)) --group_reporting --output-format=terse --terse-version=3 |
        awk -F';' '$7 > 0 { printf "%.6f\n", 1048576 / $7; found = 1 } END { exit !found }'
}
# The fastest of a few settings, each tried once, for fio's buffers on plain or huge pages.
best_direct() {
    local memory=$1 settings time
    for settings in '1M psync 1 1' '1M psync 2 1' '1M psync 4 1' '4M psync 1 1' '4M psync 2 1' \
        '1M libaio 1 4' '4M libaio 1 4' '1M io_uring 1 4' '4M io_uring 1 4'; do
        make_cold
        # shellcheck disable=SC2086  # words
        if time=$(read_direct "$memory" $settings 2>/dev/null); then
            echo "$time $memory $settings"
        fi
    done | sort -g | head -n 1 | cut -d ' ' -f 2-
}
load() {
    call "$1" LoadModel '{"path":"model.safetensors"}'
    call "$1" UnloadModel '{"model":"model"}' >/dev/null
}
# Touches the memory first, because a hypervisor may have taken it away while it was free.
touch_memory() { "$build/tests/bench/start" memset $((2 * gib)) >/dev/null; }
copy_file() {
    seconds cp "$model" "$copy"
    rm "$copy"
}

make_model
start_daemon plain --capacity=1100M --huge-pages=never
arenas=plain
if allow_huge_pages; then
    start_daemon huge --capacity=1100M --huge-pages=auto
    refuse_huge_pages
    arenas='plain huge'
fi
for arena in $arenas; do
    read -ra "best_$arena" <<<"$(best_direct "$arena")"
done

for _ in $(seq $((rounds + 1))); do
    for arena in $arenas; do
        make_cold
        load "$arena" >>"$directory/cold-$arena"
        make_cold
        declare -n best=best_$arena
        read_direct "${best[@]}" >>"$directory/fio-$arena"
    done
    make_cold
    touch_memory
    copy_file >>"$directory/cold-cp"
    make_warm
    copy_file >>"$directory/warm-cp"
    for arena in $arenas; do
        load "$arena" >>"$directory/warm-$arena"
    done
done

printf 'Load of 1 GiB in 32 layers from %s, io=auto, seconds of %d rounds\n\n' \
    "$(findmnt --noheadings --output FSTYPE,SOURCE --target "$directory" | tr -s ' ')" "$rounds"
row() { printf '%-44s %10s %10s %10s %10s\n' "$@"; }
arm() { row "$2" "$(median "$1")" "$(smallest "$1")" "$(largest "$1")" "$(ratio 1024 "$(median "$1")")"; }
row '' median min max MiB/s
for arena in $arenas; do
    arm "cold-$arena" "edgemindd, cold, $arena pages"
    declare -n best=best_$arena
    arm "fio-$arena" "fio direct, $arena pages (${best[1]} ${best[2]}, ${best[3]} jobs, depth ${best[4]})"
done
arm cold-cp 'cp to /dev/shm, cold'
for arena in $arenas; do
    arm "warm-$arena" "edgemindd, warm, $arena pages"
done
arm warm-cp 'cp to /dev/shm, warm'
echo
for arena in $arenas; do
    cold=$(median "cold-$arena")
    goal "Cold, $arena pages: times the speed of cp" "$(ratio "$(median cold-cp)" "$cold")" at-least 1.4
    goal "Cold, $arena pages: times the speed of fio" "$(ratio "$(median "fio-$arena")" "$cold")" at-least 0.95
    goal "Warm, $arena pages: times the speed of cp" "$(ratio "$(median warm-cp)" "$(median "warm-$arena")")" at-least 3
done
