#!/bin/bash
# Four llama.cpp at the same time, on views of one model and on their own mappings of its file: all of the
# model fits, and with an arena of 0.47 of it. In the second case both have the same memory limit, as in
# views.sh. Where all fits, they compute with one thread each, and with two. The threads of one llama.cpp spin
# while they wait for each other: eight threads on two processors do little else.
#   tests/bench/views_readers.sh BUILD
# shellcheck disable=SC2034  # variables of lib.sh
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/views_lib.sh
. "$(dirname "$0")/views_lib.sh"
rounds=3
seconds_at_most=70
readers=4
share=0.47
title='Four llama.cpp'
need_engine "$title"
needs 3 "$title"
limited=1
measure_own || limited=
all_bytes=$((weights_bytes + (2 << 20)))
limit=$(($(share_bytes $share) + readers * engine_bytes + daemon_bytes))
mapfile -t words < <(view uffd)

# fitting THREADS TOKENS
fitting() {
    threads=$1
    make_warm
    run_engines "mmap-fits-$1" $readers "$2" --
    make_cold
    start_views $all_bytes
    run_engines "view-fits-$1" $readers "$2" -- "${words[@]}"
    stop_views
    threads=2
}
tight() {
    make_cold
    open_cgroup $limit
    run_engines mmap-tight $readers 5 --
    close_cgroup
    make_cold
    open_cgroup $limit
    start_views "$(share_bytes $share)"
    run_engines view-tight $readers 8 -- "${words[@]}"
    stop_views
    close_cgroup
}
while another_round; do
    fitting 1 32
    fitting 2 12
    [ -z "$limited" ] || tight
done
# Looking at their mappings takes the engines' time.
start_views $all_bytes
run_engines pss $readers 32 --pss 'edgemind-arena llama.gguf' "${pids[-1]}" -- "${words[@]}"
pss=$(cut -d ' ' -f 5 "$directory/pss")
stop_views

row() { printf '%-30s %14s %20s\n' "$@"; }
arm() { row "$2" "$(median "$1" 3)" "$(smallest "$1" 3) to $(largest "$1" 3)"; }
printf '%s at the same time, %d MiB of F16 weights, medians of %d rounds\n\n' "$title" $((weights_bytes >> 20)) $counted
row '' 'tokens/s of all' 'from, to'
for n in 1 2; do
    arm mmap-fits-$n "mmap, page cache, threads: $n"
    arm view-fits-$n "views, resident, threads: $n"
done
if [ -n "$limited" ]; then
    arm mmap-tight "mmap, limit $((limit >> 20)) MiB"
    arm view-tight "views, arena at $share"
fi
echo
goal 'All fits: copies of the weights in PSS' "$(awk -v pss="$pss" -v all="$weights_bytes" 'BEGIN { printf "%.3f", pss * 1048576 / all }')" \
    at-most 1.02
for n in 1 2; do
    goal "All fits, threads of each: $n: times the tokens/s of mmap" \
        "$(ratio "$(median view-fits-$n 3)" "$(median mmap-fits-$n 3)")" at-least 0.9
done
if [ -n "$limited" ]; then
    goal "Arena at $share: times the tokens/s of mmap" "$(ratio "$(median view-tight 3)" "$(median mmap-tight 3)")" at-least 2.2
else
    echo "Arena at $share: skipped, no memory cgroup can be made here"
fi
