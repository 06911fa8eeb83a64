#!/bin/bash
# Compares llama.cpp on views with llama.cpp on its own mapping, with a mixture of experts of which the arena
# holds a part. Both have the same memory limit, which covers the engine and, with views, the daemon and its
# arena. Every arm reads the same text, and makes the same tokens. Which experts each token uses is recorded,
# and replayed by `emctl plan`: what the policy must read with a memory of that size.
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
tokens=32
text=1
route=$directory/route.csv
title='llama.cpp with experts, on views and on its own mapping'
need_engine "$title" moe
needs 4 "$title"
if ! measure_own; then
    echo "$title: skipped, no memory cgroup can be made here"
    exit 0
fi

# The kernel's memory for the arena, above all page tables, grows with the units that come and go.
kernel_bytes=$((8 << 20))
limit_of() { echo $(($(share_bytes "$1") + engine_bytes + daemon_bytes + kernel_bytes)); }
loaded() { "$build/emctl" --socket "$directory/edgemind" stats --json | jq .scheduler.bytesLoaded; }
# Both arms begin with nothing in memory.
run_view() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    start_views "$(share_bytes "$1")"
    "$build/emctl" --quiet --socket "$directory/edgemind" reset
    loaded_before=$(loaded)
    run_engines "view-$1" 1 $tokens -- "$build/emctl" --socket "$directory/edgemind" exec --
    echo "$((($(loaded) - loaded_before) / tokens))" >>"$directory/loaded-$1"
    stop_views
    close_cgroup
}
run_mmap() {
    make_cold
    open_cgroup "$(limit_of "$1")"
    run_engines "mmap-$1" 1 $tokens --
    close_cgroup
}

# With an empty step before the first one, because a replay leaves out the first.
record_route() {
    start_daemon edgemind --capacity=$((weights_bytes * 2)) --policy=$policy
    run_engines record 1 $tokens -- env EDGEMIND_VIEW_ROUTES="$directory/recorded.csv" \
        "$build/emctl" --socket "$directory/edgemind" exec "--model=llama=$model" --
    stop_views
    awk -F, -v OFS=, '/^0/ { if (!n++) print 0, 1, 0, $4, 0, 0; $3++ } { print }' "$directory/recorded.csv" >"$route"
}
replay() { "$build/emctl" plan "--trace=$route" "--capacity=$1" --json; }
# What is read of experts a token, by the policy that $2 names; all else stays in the memory.
necessary() {
    local capacity=$(($(share_bytes "$1") - dense_bytes))
    replay $capacity | jq --arg policy "$2" ".policies[] | select(.policy == \$policy).bytesRead / $tokens | floor"
}

record_route
dense_bytes=$(replay $weights_bytes | jq .denseBytes)
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
    experts=$(($(median "loaded-$share") - dense_bytes / tokens))
    goal "at $share, bytes of experts a token, of what the policy must read" \
        "$(ratio $experts "$(necessary "$share" $policy)")" at-most 1.15
    printf 'With the future known it would be %s\n' "$(ratio $experts "$(necessary "$share" future)")"
done
