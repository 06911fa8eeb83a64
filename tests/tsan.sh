#!/bin/bash
# Runs the tests of what has threads in a build with ThreadSanitizer: loader, plans, fills, workers, the
# ledger's drafts, and a daemon that loads, plans, cancels and runs. Prints one line per test; exits 1 if a
# test failed or the sanitizer reported anything.
#   tests/tsan.sh BUILD
# Builds what it needs in BUILD/tsan.
set -u -o pipefail
build=$(realpath -m "${1:?usage: tsan.sh BUILD}")/tsan
cd "$(dirname "$0")/.." || exit 1
units='daemon/weights/test_loader daemon/weights/test_loader_changes daemon/weights/test_loader_files
    daemon/weights/test_parse_gate daemon/system/test_workers daemon/system/test_workers_behind
    daemon/system/test_workers_stall daemon/methods/test_forecast daemon/methods/test_turns
    daemon/restart/test_ledger_drafts daemon/scheduler/test_planner daemon/arena/test_backing
    client/library/test_libedgemind_loss client/library/test_libedgemind_fault'
modules='test_cancel test_plan_load test_runs.Alone test_runs_shared test_reasons'
export TSAN_OPTIONS='exitcode=66 second_deadlock_stack=1' CK_DEFAULT_TIMEOUT=300
status=0

# judge NAME LOG STATUS
judge() {
    if [ "$3" -eq 0 ] && ! grep -q 'WARNING: ThreadSanitizer' "$2"; then
        echo "ok      $1"
        return
    fi
    echo "FAILED  $1"
    grep -A 30 -m 1 'WARNING: ThreadSanitizer' "$2" || tail -n 30 "$2"
    status=1
}

mkdir -p "$build"
if ! make -j"$(nproc)" BUILD="$build" CFLAGS='-O1 -g -include tests/tsan_join.h' SANITIZE=-fsanitize=thread "$build/edgemindd" "$build/emctl" \
    "$build/libedgemind.so" $(printf "$build/tests/unit/%s " $units) >"$build/build.log" 2>&1; then
    echo 'FAILED  does not build'
    tail -n 40 "$build/build.log"
    exit 1
fi
for unit in $units; do
    log=$build/${unit##*/}.log
    EDGEMIND_CASE_STEP=11 "$build/tests/unit/$unit" >"$log" 2>&1
    judge "$unit" "$log" $?
done
for module in $modules; do
    log=$build/$module.log
    (cd tests/integration && BUILD=$build python3 -m unittest "$module") >"$log" 2>&1
    judge "$module" "$log" $?
done
exit $status
