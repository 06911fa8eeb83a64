# Common parts of the timings of views: llama.cpp from npm, and its weights. Sourced after lib.sh. The
# engines' tokens must be the same in all arms.
# shellcheck shell=bash disable=SC2034,SC2154  # variables of the scripts and of lib.sh

# need_engine WHAT [moe]: skips the script if there is no engine. With moe the weights are a mixture of
# experts.
need_engine() {
    local found status=0
    found=$(python3 tests/engines/engine.py "$build" "${@:2}") || status=$?
    if [ $status -eq 77 ]; then
        echo "$1: skipped, ${found#SKIP }"
        exit 0
    fi
    read -r addon model <<<"$found"
    weights_bytes=$(stat -c %s "$model")
    sync "$model"
}

# run_engines ARM READERS TOKENS [OPTION...] -- [COMMAND...]: runs llama.cpp with these words before it, and
# adds a line to the arm's figures (see engines.py). It reads a text if $text is set, and computes with
# $threads threads.
threads=2
run_engines() {
    local arm=$1 readers=$2 n_tokens=$3 options=() tokens
    shift 3
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    python3 tests/bench/engines.py "${options[@]}" "$readers" "${enter[@]}" "$@" \
        node tests/engines/llama.js "$addon" "$model" "$n_tokens" "$threads" ${text:+text} >"$directory/line"
    cat "$directory/line" >>"$directory/$arm"
    tokens=$(cut -d ' ' -f 6 "$directory/line"),
    expected_tokens=${expected_tokens:-$tokens}
    case $expected_tokens in
    "$tokens"*) ;;
    *)
        case $tokens in
        "$expected_tokens"*) expected_tokens=$tokens ;;
        *)
            echo "$arm: tokens $tokens instead of $expected_tokens" >&2
            exit 1
            ;;
        esac
        ;;
    esac
}

# start_views CAPACITY: a daemon that knows the model, in units for views.
start_views() {
    start_daemon edgemind --capacity="$1" --policy="${policy:-lru}"
    "$build/emctl" --quiet --socket "$directory/edgemind" exec --model "llama=$model" -- true
}
stop_views() {
    stop_daemon
    rm -f "$directory/edgemind"
}
# Words for run_engines.
view() { printf '%s\n' env EDGEMIND_VIEW_FAULTS="$1" "$build/emctl" --socket "$directory/edgemind" exec --; }

overhead_kib() { awk '$1 == "VmRSS:" { rss = $2 } $1 == "RssShmem:" { shmem = $2 } END { print rss - shmem }' "/proc/$1/status"; }
share_bytes() { awk -v all="$weights_bytes" -v share="$1" 'BEGIN { printf "%d", int(all * share / 4096) * 4096 }'; }

# measure_own: what one engine, and the daemon beside its arena, need. Sets engine_bytes and daemon_bytes.
# Fails where there is no memory cgroup. The pages of the weights count for others meanwhile.
measure_own() {
    make_warm
    open_cgroup $((8 * gib)) || return
    run_engines own 1 4 --
    engine_bytes=$(cgroup_peak)
    close_cgroup
    start_views "$(share_bytes 0.65)"
    mapfile -t words < <(view uffd)
    run_engines own 1 4 -- "${words[@]}"
    daemon_bytes=$(($(overhead_kib "${pids[-1]}") << 10))
    stop_views
}
