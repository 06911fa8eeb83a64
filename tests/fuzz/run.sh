#!/bin/bash
# Fuzzes what reads hostile input, as many targets at a time as there are processors. Each starts with
# its corpus in tests/fuzz/corpus.
#   tests/fuzz/run.sh BUILD SECONDS [TARGET...]
# Prints one line per target. Exits 1 if a target crashed, leaked, hung or grew beyond 512 MiB; the input
# is then in BUILD/fuzz/inputs/TARGET. Exits 77 if clang has no libFuzzer.
set -u -o pipefail
build=$(realpath -m "${1:?usage: run.sh BUILD SECONDS [TARGET...]}")/fuzz
seconds=${2:?usage: run.sh BUILD SECONDS [TARGET...]}
shift 2
[ $# -gt 0 ] || set -- safetensors gguf shards definition frame server views scrape ledger client view
cd "$(dirname "$0")/../.." || exit 1
status=0

packages='jansson libevent libsystemd inih'
sanitize='address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
flags="-std=gnu11 -D_GNU_SOURCE -I. -O1 -g -fsanitize=fuzzer,$sanitize"
mkdir -p "$build"
echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' >"$build/probe.c"
if ! clang $flags -o "$build/probe" "$build/probe.c" 2>"$build/probe.log"; then
    echo "SKIP  fuzzing: clang with libFuzzer is not installed (packages clang, libclang-rt-dev)"
    exit 77
fi
if ! make -j"$(nproc)" BUILD="$build" CC=clang CFLAGS='-O1 -g' SANITIZE="-fsanitize=fuzzer-no-link,$sanitize" \
    "$build"/lib{common,daemon,client}.a view-objects >"$build/build.log" 2>&1; then
    echo "FAILED  fuzzing: does not build"
    cat "$build/build.log"
    exit 1
fi

# The view library without the calls that it replaces: the fuzzer itself must keep the C library's.
objects_of() {
    [ "$1" != view ] || find "$build/client/view" -name '*.o' ! -name 'interpose_*'
}

fuzz() {
    local target=$1 work=$build/inputs/$1
    rm -rf "$work"
    mkdir -p "$work"
    cp -r "tests/fuzz/corpus/$target" "$work/corpus"
    if clang $flags -o "$build/fuzz_$target" "tests/fuzz/fuzz_$target.c" $(objects_of "$target") \
        "$build"/lib{daemon,client,common}.a $(pkg-config --libs $packages) -pthread >"$work/log" 2>&1 &&
        TMPDIR=$work "$build/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -max_len=8192 \
            -dict="tests/fuzz/$target.dict" -artifact_prefix="$work/" -print_final_stats=1 \
            "$work/corpus" >"$work/log" 2>&1; then
        touch "$work/passed"
    fi
}

n=0
for target in "$@"; do
    if [ $n -ge "$(nproc)" ]; then
        wait -n
        n=$((n - 1))
    fi
    fuzz "$target" &
    n=$((n + 1))
done
wait
for target in "$@"; do
    work=$build/inputs/$target
    if [ -e "$work/passed" ]; then
        echo "ok  $target: $(awk '/number_of_executed_units/ { print $2 }' "$work/log") inputs," \
            "$(find "$work/corpus" -type f | wc -l) of them kept"
    else
        echo "FAILED  $target: see $work"
        tail -n 40 "$work/log"
        status=1
    fi
done
exit $status
