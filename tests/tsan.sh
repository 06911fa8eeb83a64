#!/bin/bash
# Runs the tests of what has threads in a build with ThreadSanitizer, as many at a time as there are
# processors. Fails if a test fails, or if any program that it started reports anything. First it finds a
# planted race. Exits 77 if the compiler has no ThreadSanitizer, or it cannot run here.
#   tests/tsan.sh BUILD
# Builds what it needs in BUILD/tsan; reports are in BUILD/tsan/reports.
set -u -o pipefail
script=$(realpath "$0")
build=$(realpath -m "${1:?usage: tsan.sh BUILD}")/tsan
cd "$(dirname "$0")/.." || exit 1
reports=$build/reports logs=$build/logs

# The unit programs that make threads. Those that change settings of the whole system run one after the other.
alone='daemon/weights/test_loader daemon/weights/test_loader_changes daemon/weights/test_loader_files
    daemon/arena/test_backing daemon/arena/test_backing_adopt daemon/arena/test_backing_lock
    daemon/monitor/test_monitor'
units='daemon/system/test_memory_gate daemon/arena/test_holes daemon/arena/test_holes_adopt
    daemon/arena/test_arena_fault daemon/system/test_workers daemon/system/test_workers_behind
    daemon/system/test_workers_stall daemon/restart/test_ledger_drafts daemon/methods/test_restoring
    daemon/test_reload client/library/test_libedgemind_fault client/library/test_libedgemind_loss
    client/library/test_libedgemind_restart client/library/test_libedgemind_run
    client/view/test_daemon_link'
# A daemon that cancels loads, plans, runs, cuts layers, fails to read, gives memory back while it fills, and
# is followed by the next process.
modules='test_cancel test_trimming.Whole test_trimming.Trouble test_runs.Alone test_runs_shared test_reasons
    test_restart_passing test_plan_load test_weights_faults test_leases_units'

# run TEST...: the output of each goes to `passed` or `failed`. Status 255 lets xargs begin no others: a race
# may make each of them wait for its limit.
run() {
    local test name status=0
    for test; do
        name=${test//\//.}
        if run_one "$test" >"$logs/$name" 2>&1 </dev/null; then
            mv "$logs/$name" "$logs/passed/"
        else
            echo "status $?: $test" >>"$logs/$name"
            mv "$logs/$name" "$logs/failed/"
            status=255
        fi
    done
    return $status
}

run_one() (
    case $1 in
    */*) EDGEMIND_CASE_STEP=11 timeout 120 "$build/tests/unit/$1" ;;
    *) cd tests/integration && BUILD=$build timeout 120 python3 -W error::ResourceWarning -m unittest -v "$1" ;;
    esac
)

# Below: tsan.sh BUILD --run TEST...
if [ "${2:-}" = --run ]; then
    run "${@:3}"
    exit
fi

# With more than 28 random bits in addresses (vm.mmap_rnd_bits) older sanitizers do not run.
fixed=(setarch "$(uname -m)" -R)
"${fixed[@]}" true 2>/dev/null || fixed=()

rm -rf "$reports" "$logs"
mkdir -p "$reports" "$logs/passed" "$logs/failed"
chmod 1777 "$reports" # for daemons of other users
if ! ${CC:-cc} -x c -g -fsanitize=thread -pthread -o "$build/race" - 2>"$build/race.log" <<'EOF'
#include <pthread.h>
static int raced;
static void *write_it(void *unused) { raced++; return unused; }
int main(void)
{
    pthread_t other;
    pthread_create(&other, NULL, write_it, NULL);
    write_it(NULL);
    return pthread_join(other, NULL);
}
EOF
then
    echo 'SKIP: the compiler has no ThreadSanitizer'
    exit 77
fi
"${fixed[@]}" "$build/race" 2>"$build/race.log"
if grep -q 'unexpected memory mapping' "$build/race.log"; then
    echo 'SKIP: ThreadSanitizer does not run with this many random bits in addresses (vm.mmap_rnd_bits)'
    exit 77
elif ! grep -q 'WARNING: ThreadSanitizer: data race' "$build/race.log"; then
    cat "$build/race.log"
    echo 'FAILED  a planted race is not found'
    exit 1
fi
echo 'ok      a planted race is found'

if ! make -j"$(nproc)" BUILD="$build" CFLAGS='-O1 -g -include tests/tsan_join.h' \
    SANITIZE=-fsanitize=thread "$build/edgemindd" "$build/emctl" \
    $(printf "$build/tests/unit/%s " $alone $units) >"$build/build.log" 2>&1; then
    tail -n 40 "$build/build.log"
    echo 'FAILED  does not build'
    exit 1
fi
export TSAN_OPTIONS="exitcode=66 second_deadlock_stack=1 log_path=$reports/report"
TSAN_OPTIONS+=" suppressions=$PWD/tests/tsan.supp"
export CK_DEFAULT_TIMEOUT=300
{ echo $alone; printf '%s\n' $units $modules; } |
    "${fixed[@]}" xargs -L 1 -P "$(nproc)" bash "$script" "${build%/tsan}" --run

cd "$logs" || exit 1
shopt -s nullglob
status=0
for log in passed/* failed/*; do
    echo "== $log"
    cat "$log"
    [ "${log%/*}" = passed ] || status=1
done
for report in "$reports"/*; do
    head -n 40 "$report"
    echo "FAILED  ThreadSanitizer reports: $report"
    status=1
done
exit $status
