#!/bin/bash
# Compares llama.cpp on views with llama.cpp on its own mapping, with a mixture of experts of which the arena
# holds a part. Both have the same memory limit, which covers the engine and, with views, the daemon and its
# arena. Every arm makes the same tokens.
#   tests/bench/experts.sh BUILD
# shellcheck disable=SC2034  # variables of lib.sh
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/views_lib.sh
. "$(dirname "$0")/views_lib.sh"
rounds=3
seconds_at_most=240
shares='0.5 0.25'
declare -A goals=([0.25]=5 [0.5]=3)
policy=expected-use
tokens=24
title='llama.cpp with experts, on views and on its own mapping'
need_engine "$title" moe
needs 4 "$title"
if ! measure_own; then
    echo "$title: skipped, no memory cgroup can be made here"
    exit 0
fi

limit_of() { echo $(($(share_bytes "$1") + engine_bytes + daemon_bytes)); }
loaded() { "$build/emctl" --socket "$directory/edgemind" stats --json | jq .scheduler.bytesLoaded; }
run_view() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    start_daemon edgemind --capacity="$(share_bytes "$1")" --policy=$policy
    run_engines "view-$1" 1 $tokens -- "$build/emctl" --socket "$directory/edgemind" exec "--model=llama=$model" --
    echo "$(($(loaded) / tokens))" >>"$directory/loaded-$1"
    stop_views
    close_cgroup
}
run_mmap() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    run_engines "mmap-$1" 1 8 --
    close_cgroup
}

while another_round; do
    make_warm
    run_engines resident 1 $tokens --
    for share in $shares; do
        run_mmap "$share"
        run_view "$share"
    done
done

printf '%s: %d MiB of F16 weights, medians of %d rounds\n' "$title" $((weights_bytes >> 20)) $counted
printf 'Everything resident: %s ms a token\n\n' "$(median resident)"
for share in $shares; do
    printf 'Arena at %s of the weights, limit %d MiB: mmap %s ms a token, view %s ms a token and %s MiB read\n' \
        "$share" $(($(limit_of "$share") >> 20)) "$(median "mmap-$share")" "$(median "view-$share")" \
        $(($(median "loaded-$share") >> 20))
    goal "at $share, times the tokens/s of mmap" "$(ratio "$(median "mmap-$share")" "$(median "view-$share")")" \
        at-least "${goals[$share]}"
done
