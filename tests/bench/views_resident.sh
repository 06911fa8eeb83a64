#!/bin/bash
# What a view costs when everything is resident: the tokens of llama.cpp against its own mapping of a file
# in the page cache, a fault, and memory beside the arena.
#   tests/bench/views_resident.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/views_lib.sh
. "$(dirname "$0")/views_lib.sh"
faults='uffd sigsegv'
fault=$build/tests/bench/fault

# small_model NAME UNITS BYTES: registers and loads a model of small units. Sets file and offset.
small_model() {
    file=$directory/$1.safetensors
    python3 tests/generate_weights.py safetensors "$file" --blocks "$2" --block-bytes "$3" --embedding-bytes 0 \
        --shift 0 >"$directory/tensors"
    offset=$(awk 'NR == 1 { print $4 }' "$directory/tensors")
    "$build/emctl" --socket "$directory/edgemind" load-model --name="$1" "$file" >/dev/null
}
with_view() {
    local words
    mapfile -t words < <(view "$1")
    "${words[@]}" "${@:2}"
}

faults_us() {
    local touches=100000 bytes source words median p99 first last
    start_daemon edgemind --capacity=64M --policy=lru
    printf 'Reading one byte of each resident unit of a new view, %d reads of units of 64 KiB, us\n\n' $touches
    row() { printf '%-24s %10s %10s %14s %14s\n' "$@"; }
    row '' median p99 'first tenth' 'last tenth'
    for bytes in 65536 8388608; do
        small_model "units-$bytes" $((bytes < 1048576 ? 100 : 4)) $bytes
        for source in $faults; do
            read -r median p99 first last < <(with_view "$source" "$fault" touch "$file" "$offset" \
                $((bytes < 1048576 ? 100 : 4)) $bytes $((bytes < 1048576 ? touches / 100 : 100)))
            row "$((bytes >> 10)) KiB, $source" "$median" "$p99" "$first" "$last"
            [ $bytes -gt 1048576 ] || {
                goal "$source: median, us" "$median" at-most 150
                goal "$source: median of the last tenth, times the first's" "$(ratio "$last" "$first")" at-most 1.2
            } >>"$directory/goals"
        done
    done
    echo
    cat "$directory/goals"
    stop_views
}

# hold READERS UNITS COMMAND...: so many programs hold the units of the small model. Sets daemon_kib, and
# own_kib and switches of one of them.
hold() {
    local readers=$1 units=$2 i
    shift 2
    : >"$directory/held"
    mkfifo "$directory/end"
    exec 9<>"$directory/end"
    for ((i = 0; i < readers; i++)); do
        "$@" "$fault" hold "$file" "$offset" "$units" 16384 <"$directory/end" 9>&- >>"$directory/held" &
        pids+=($!)
    done
    until [ "$(wc -l <"$directory/held")" -eq "$readers" ]; do sleep 0.1; done
    daemon_kib=$(overhead_kib "${pids[0]}")
    read -r own_kib switches <"$directory/held"
    exec 9>&-
    for ((i = 0; i < readers; i++)); do
        wait "${pids[-1]}"
        unset 'pids[-1]'
    done
    rm "$directory/end"
}
overhead() {
    local readers=16 few=80 many=1080 words few_kib many_kib plain_kib
    start_daemon edgemind --capacity=32M --policy=lru
    small_model many $many 16K
    small_model few $few 16K
    mapfile -t words < <(view uffd)
    hold $readers $few "${words[@]}"
    few_kib=$daemon_kib
    hold 1 $few env
    plain_kib=$own_kib
    file=$directory/many.safetensors
    hold $readers $many "${words[@]}"
    many_kib=$daemon_kib
    printf 'Memory of a view of %d units in each of %d readers\n\n' $many $readers
    goal 'daemon, bytes a unit and reader' \
        $(((many_kib - few_kib) * 1024 / (readers * (many - few)))) at-most 64
    goal 'engine, KiB a view' $((own_kib - plain_kib)) at-most 1024
    goal "runs of the library's threads in an idle second" "$switches" at-most 0
    stop_views
}

# Arms with the same steps: plain is the engine without a daemon.
tokens() {
    local source words rounds=5 seconds_at_most=80
    need_engine 'llama.cpp, everything resident'
    needs 2 'llama.cpp, everything resident'
    make_cold
    start_views $((weights_bytes + (2 << 20)))
    make_warm
    while another_round; do
        run_engines plain 1 32 --
        for source in $faults; do
            mapfile -t words < <(view "$source")
            run_engines "$source" 1 32 -- "${words[@]}"
        done
    done
    printf 'llama.cpp, everything resident, medians of %d rounds\n\n' $counted
    row() { printf '%-24s %10s %16s %18s %16s\n' "$@"; }
    row '' ms/token 'from, to' 'first token, ms' 'from, to'
    for source in plain $faults; do
        row "$source" "$(median "$source")" "$(smallest "$source") to $(largest "$source")" "$(median "$source" 2)" \
            "$(column "$source" 2 | sed -n '1p;$p' | paste -sd' ' | sed 's/ / to /')"
    done
    echo
    for source in $faults; do
        goal "$source: times the tokens/s of mmap" "$(ratio "$(median plain)" "$(median "$source")")" at-least 0.97
        goal "$source: first token, times that of mmap" "$(ratio "$(median "$source" 2)" "$(median plain 2)")" at-most 1.2
    done
    stop_views
}

faults_us
echo
overhead
echo
tokens
