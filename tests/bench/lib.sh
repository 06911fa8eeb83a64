# Common parts of the timings; sourced with BUILD as the script's first argument. The arms of a
# comparison alternate within one run, and the first round is not counted. Timings never fail: a missed
# goal is only printed.
# shellcheck shell=bash disable=SC2034  # variables of the scripts
set -eu -o pipefail

build=$(realpath "${1:?usage: $0 BUILD}")
rounds=5
directory=$(mktemp -d)
pids=()
shmem_enabled=/sys/kernel/mm/transparent_hugepage/shmem_enabled
shmem_before=
cgroup=
subtree_before=
enter=() # what puts a command into the cgroup
copy=/dev/shm/edgemind-bench.$$

finish() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    close_cgroup || true
    [ -z "$subtree_before" ] || echo -memory >"$subtree_before" || true
    [ -z "$shmem_before" ] || echo "$shmem_before" >$shmem_enabled
    rm -rf "$directory" "$copy"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# another_round: whether another round is to be made. The first is not counted; `rounds` more follow, or
# fewer, but at least one, if the script has run for `seconds_at_most`. `counted` is their number.
seconds_at_most=120
counted=-1
another_round() {
    [ $counted -lt "$rounds" ] || return
    [ $counted -lt 1 ] || [ $SECONDS -lt $seconds_at_most ] || return
    counted=$((counted + 1))
}

# Each arm's seconds (or other figures) are in a file with the arm's name in the directory.
# column ARM N: of all rounds except the first, sorted.
column() { tail -n +2 "$directory/$1" | awk -v n="$2" '{ print $n }' | sort -g; }
median() { column "$1" "${2:-1}" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
smallest() { column "$1" "${2:-1}" | head -n 1; }
largest() { column "$1" "${2:-1}" | tail -n 1; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# goal TEXT VALUE at-least|at-most GOAL
goal() {
    awk -v text="$1" -v value="$2" -v sense="$3" -v goal="$4" 'BEGIN {
        good = sense == "at-least" ? value >= goal : value <= goal
        printf "%-62s %9s  goal: %s %s%s\n", text, value, sense == "at-least" ? "at least" : "at most", goal,
            good ? "" : "  MISSED" }'
}

# seconds COMMAND...
seconds() {
    local begin=$EPOCHREALTIME
    "$@" >/dev/null
    awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.6f\n", b - a }'
}

await_socket() {
    for _ in $(seq 600); do
        [ -S "$1" ] && return
        sleep 0.05
    done
    echo "$1 did not appear" >&2
    exit 1
}

# start_daemon NAME OPTION...: its socket is $directory/NAME.
start_daemon() {
    local name=$1
    shift
    "${enter[@]}" "$build/edgemindd" --socket="$directory/$name" --model-dir="$directory" --log-level=error "$@" &
    pids+=($!)
    await_socket "$directory/$name"
}
# Stops the daemon that was started last.
stop_daemon() {
    kill "${pids[-1]}"
    wait "${pids[-1]}"
    unset 'pids[-1]'
}

# call NAME METHOD PARAMETERS: prints how many seconds the daemon took.
call() {
    "$build/tests/bench/roundtrip" "$directory/$1" call \
        "{\"method\":\"io.edgemind.manager.$2\",\"parameters\":$3}"
}

# Lets memfds have transparent huge pages, until the script ends. Fails if the system does not.
allow_huge_pages() {
    case $(cat $shmem_enabled 2>/dev/null) in
    *'[advise]'* | *'[always]'* | *'[within_size]'* | *'[force]'*) return ;;
    esac
    [ -w $shmem_enabled ] || return 1
    local before
    before=$(sed 's/.*\[\(.*\)\].*/\1/' $shmem_enabled)
    echo advise >$shmem_enabled 2>/dev/null || return 1
    shmem_before=$before
}
refuse_huge_pages() {
    [ -z "$shmem_before" ] || echo "$shmem_before" >$shmem_enabled
    shmem_before=
}

# open_cgroup BYTES: makes a cgroup whose processes may use this much memory, including the page cache,
# and no swap. "${enter[@]}" COMMAND then runs a command in it. Fails if the system does not allow it.
open_cgroup() {
    local v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup name=edgemind-bench.$$
    if [ -e $v1/memory.limit_in_bytes ]; then
        mkdir $v1/$name 2>/dev/null || return
        cgroup=$v1/$name
        echo "$1" >"$cgroup/memory.limit_in_bytes" || return
        [ ! -e "$cgroup/memory.memsw.limit_in_bytes" ] || echo "$1" >"$cgroup/memory.memsw.limit_in_bytes" || return
    elif grep -qw memory $v2/cgroup.controllers 2>/dev/null; then
        if ! grep -qw memory $v2/cgroup.subtree_control; then
            echo +memory 2>/dev/null >$v2/cgroup.subtree_control || return
            subtree_before=$v2/cgroup.subtree_control
        fi
        mkdir $v2/$name 2>/dev/null || return
        cgroup=$v2/$name
        echo "$1" >"$cgroup/memory.max" || return
        [ ! -e "$cgroup/memory.swap.max" ] || echo 0 >"$cgroup/memory.swap.max" || return
    else
        return 1
    fi
    # shellcheck disable=SC2016  # of the inner shell
    enter=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup")
}
# The most bytes that it has had until now.
cgroup_peak() { cat "$cgroup/memory.max_usage_in_bytes" 2>/dev/null || cat "$cgroup/memory.peak"; }
# Its processes must have ended.
close_cgroup() {
    enter=()
    [ -n "$cgroup" ] || return 0
    [ ! -e "$cgroup/memory.force_empty" ] || echo 0 >"$cgroup/memory.force_empty" || true
    rmdir "$cgroup"
    cgroup=
}

# needs GIB WHAT: skips the script if there is less memory.
needs() {
    local available
    available=$(awk '$1 == "MemAvailable:" { print int($2 / 1048576) }' /proc/meminfo)
    [ "$available" -ge "$1" ] && return
    echo "$2: skipped, needs $1 GiB of memory, $available are available"
    exit 0
}

gib=$((1 << 30))
model=$directory/model.safetensors
# make_model [LAYERS BYTES OPTION...]: writes a model to the disk, not only to the page cache; by default
# 1 GiB in 32 layers. The places of its tensors are in $directory/tensors.
make_model() {
    python3 tests/generate_weights.py safetensors "$model" --blocks "${1:-32}" --block-bytes "${2:-32M}" \
        "${@:3}" >"$directory/tensors"
    sync "$model"
}

cached_percent() {
    echo $(($(fincore --bytes --noheadings --output RES "$model") * 100 / $(stat -c %s "$model")))
}
make_cold() {
    dd if="$model" iflag=nocache count=0 status=none
    [ "$(cached_percent)" -lt 1 ] || { echo "$model stays in the page cache" >&2; exit 1; }
}
make_warm() {
    cat "$model" >/dev/null
    [ "$(cached_percent)" -ge 99 ] || { echo "$model does not stay in the page cache" >&2; exit 1; }
}
