#!/bin/bash
# Runs every test that the machine allows, stage by stage, and ends with "N passed, N failed, N skipped".
# A stage's whole output is kept in BUILD/logs; what fails is printed.
#   tests/check.sh BUILD
set -u -o pipefail

build=${1:?usage: check.sh BUILD}
logs=$build/logs
mkdir -p "$logs"
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

# lane ARRAY [PREFIX...]: the array's tests, one after the other, until one fails.
lane() {
    local -n tests=$1
    shift
    for test in "${tests[@]}"; do
        echo "== $test"
        "$@" "$test" || return 1
    done
}

# unit BUILD [PREFIX...]: every unit test, each below the command PREFIX, in two lanes side by side.
# Tests that change settings of the whole system share one lane.
unit() {
    local lane status=0 one=() other=()
    for test in "$1"/tests/unit/test_*; do
        case $test in
        *.o | *.d) ;;
        *_backing | *_headroom | *_loader | *_loader_files | *_monitor) one+=("$test") ;;
        *) other+=("$test") ;;
        esac
    done
    shift
    lane one "$@" >"$logs/lane.log" 2>&1 &
    lane=$!
    lane other "$@" || status=1
    wait $lane || status=1
    cat "$logs/lane.log"
    return $status
}

under_valgrind() {
    CK_FORK=no CK_DEFAULT_TIMEOUT=0 unit "$build" valgrind -q --error-exitcode=99 \
        --leak-check=full --errors-for-leak-kinds=definite,possible
}

sanitized() {
    make -j"$(nproc)" BUILD="$build/sanitized" CFLAGS="-O1 -g" \
        SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" \
        unit-tests >"$logs/sanitized-build.log" 2>&1 || { cat "$logs/sanitized-build.log"; return 1; }
    unit "$build/sanitized"
}

integration() {
    BUILD=$build python3 -W error::ResourceWarning -m unittest discover -v -s tests/integration
}

stage unit unit "$build"
stage integration integration
stage demo bash tests/demo.sh "$build"
stage sanitizers sanitized
stage valgrind under_valgrind
stage fuzz bash tests/fuzz/run.sh "$build" 20
stage lint bash tests/lint.sh "$build"
stage systemd bash tests/systemd/boot.sh "$build"

printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
