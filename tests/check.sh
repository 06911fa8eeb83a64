#!/bin/bash
# Runs every test that the machine allows, stage by stage, and ends with "N passed, N failed, N skipped".
# BUILD/logs keeps the whole output of each stage; the output of failed tests is printed.
#   tests/check.sh BUILD
set -u -o pipefail

build=${1:?usage: check.sh BUILD}
logs=$build/logs
mkdir -p "$logs"
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/edgemind-XXXXXX") || exit 1
export TMPDIR
chmod 1777 "$TMPDIR" # for tests of other users
sanitized_build=
clean_up() {
    [ -z "$sanitized_build" ] || kill "$sanitized_build" 2>/dev/null
    rm -rf --one-file-system "$TMPDIR"
}
trap clean_up EXIT
export CK_DEFAULT_TIMEOUT=120 # seconds; Check's own four are soon over where there is other work
passed=0 failed=0 skipped=0

# Test counts of a log: Check's and unittest's closing lines, and lines "ok ", "FAILED " of scripts.
count() {
    awk '
        /Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ {
            match($0, /Checks: [0-9]+/); n = substr($0, RSTART + 8, RLENGTH - 8)
            match($0, /Failures: [0-9]+/); f = substr($0, RSTART + 10, RLENGTH - 10)
            match($0, /Errors: [0-9]+/); e = substr($0, RSTART + 8, RLENGTH - 8)
            passed += n - f - e; failed += f + e
        }
        /^Ran [0-9]+ tests? in / { ran = $2 }
        /^(OK|FAILED)( \(.*\))?$/ && ran != "" {
            bad = 0; s = 0
            if (match($0, /failures=[0-9]+/)) bad += substr($0, RSTART + 9, RLENGTH - 9)
            if (match($0, /errors=[0-9]+/)) bad += substr($0, RSTART + 7, RLENGTH - 7)
            if (match($0, /skipped=[0-9]+/)) s = substr($0, RSTART + 8, RLENGTH - 8)
            passed += ran - bad - s; failed += bad; skipped += s; ran = ""
        }
        /^ *ok  +/ { passed++ }
        /^ *FAILED  +/ { failed++ }
        /^ *SKIP:? / { skipped++ }
        END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# stage NAME COMMAND...: exit status 77 means skipped.
stage() {
    local name=$1 log=$logs/$1.log status begin=$SECONDS p f s
    shift
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    read -r p f s < <(count "$log")
    if [ $status -eq 77 ]; then
        [ "$s" -gt 0 ] || s=1
        printf '  %-12s skipped (%s)\n' "$name" "$(grep -m1 SKIP "$log" || tail -n 1 "$log")"
    elif [ $status -ne 0 ]; then
        [ "$f" -gt 0 ] || f=1
        printf '  %-12s FAILED, status %d; the end of %s:\n' "$name" $status "$log"
        tail -n 60 "$log" | sed 's/^/    /'
    else
        [ "$p" -gt 0 ] || p=1
        printf '  %-12s passed: %d, skipped: %d, %d s\n' "$name" "$p" "$s" $((SECONDS - begin))
        grep -hE '^ *SKIP|skipped ' "$log" | sort -u | sed 's/^ */    /' | cut -c1-160
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# run_tests DIRECTORY TEST...: runs the tests one after the other, each with the command in the array
# `prefix` before it. Their output goes to `passed` or `failed` in the directory.
run_tests() {
    local directory=$1 test name
    shift
    for test; do
        name=${test##*/}
        if "${prefix[@]}" "$test" >"$directory/$name" 2>&1; then
            mv "$directory/$name" "$directory/passed/"
        else
            mv "$directory/$name" "$directory/failed/"
        fi
    done
}

# unit BUILD [PREFIX...]: runs every unit test with the command PREFIX before it, as many at a time as
# there are processors. Tests that change settings of the whole system run one after the other.
unit() (
    directory=$logs/unit prefix=("${@:2}") alone=() others=() n=1
    rm -rf "$directory"
    mkdir -p "$directory/passed" "$directory/failed"
    for test in $(find "$1"/tests/unit -type f -perm /100 -name 'test_*' | sort); do
        case $test in
        *_backing* | *_headroom | *_loader* | *_monitor*) alone+=("$test") ;;
        *) others+=("$test") ;;
        esac
    done
    run_tests "$directory" "${alone[@]}" &
    for test in "${others[@]}"; do
        if [ $n -ge "$(nproc)" ]; then
            wait -n
            n=$((n - 1))
        fi
        run_tests "$directory" "$test" &
        n=$((n + 1))
    done
    wait
    cd "$directory" || exit 1
    shopt -s nullglob
    status=0
    for log in passed/* failed/*; do
        echo "== $log"
        cat "$log"
        [ "${log%/*}" = passed ] || status=1
    done
    exit $status
)

under_valgrind() {
    EDGEMIND_CASE_STEP=11 CK_FORK=no CK_DEFAULT_TIMEOUT=0 unit "$build" timeout 300 valgrind -q \
        --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible
}

# The same programs on a system that says that its pages have 16 or 64 KiB, as other arm64 kernels say.
large_pages() {
    local preloaded status=0 kib
    preloaded=LD_PRELOAD=$(realpath "$build")/tests/integration/large_pages
    for kib in 16 64; do
        local with=("$preloaded" TEST_PAGE_BYTES=$((kib * 1024)) EDGEMIND_CASE_STEP=11)
        [ "$(env "${with[@]}" getconf PAGESIZE)" -eq $((kib * 1024)) ] || return 1
        unit "$build" env "${with[@]}" timeout 300 || status=1
    done
    (cd tests/integration && env "${with[@]}" BUILD="$build" python3 -W error::ResourceWarning -m unittest -v \
        test_ffn test_leases_bytes test_leases_readonly test_library test_main_job test_map test_pieces test_restart \
        test_restart_leases test_units test_weights) || status=1
    return $status
}

# Compiles in the background while the integration tests run.
build_sanitized() {
    exec nice -n 10 make -j"$(nproc)" BUILD="$build/sanitized" CFLAGS="-O1 -g" \
        SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" \
        unit-tests >"$logs/sanitized-build.log" 2>&1 </dev/null
}

sanitized() {
    wait "$sanitized_build"
    local status=$?
    sanitized_build=
    [ $status -eq 0 ] || { cat "$logs/sanitized-build.log"; return 1; }
    unit "$build/sanitized"
}

integration() {
    BUILD=$build python3 -W error::ResourceWarning -m unittest discover -v -s tests/integration
}

# First that it finds planted faults, then the storm; `make soak` makes a longer one.
soak() {
    BUILD=$build python3 -m unittest discover -v -s tests/soak && python3 tests/soak/soak.py "$build"
}

# Run only integration tests for which the architecture may matter; `make check-arm64` and `check-armhf` run all.
arm64() {
    bash tests/emulated.sh arm64 "$build" test_main_job test_protocol test_leases_bytes test_leases_readonly \
        test_ffn test_library test_library_linking test_library_reconnecting test_restart_leases
}

armhf() {
    bash tests/emulated.sh armhf "$build" test_main_job test_leases_bytes test_ffn test_library test_restart_leases
}

stage unit unit "$build"
build_sanitized &
sanitized_build=$!
stage integration integration
# Only samples; `make check-faults` runs every allocation and system call.
stage faults python3 tests/faults/faults.py "$build" 11
stage large-pages large_pages
stage demo bash tests/demo.sh "$build"
stage sanitizers sanitized
stage tsan bash tests/tsan.sh "$build"
stage valgrind under_valgrind
stage soak soak
stage fuzz bash tests/fuzz/run.sh "$build" 10
stage lint bash tests/lint.sh "$build"
stage systemd bash tests/systemd/boot.sh "$build"
stage engines env BUILD="$build" python3 tests/engines/llama.py
stage engine-kills env BUILD="$build" python3 tests/engines/kills.py 3
stage arm64 arm64
stage armhf armhf

printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
