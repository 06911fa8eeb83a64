#!/bin/bash
# Runs the unit and integration tests of a build with --coverage. Prints which share of each room's lines
# they reached, and the ten files with the most unreached lines.
#   tests/coverage.sh BUILD
set -u -o pipefail
build=$(realpath "${1:?usage: coverage.sh BUILD}")
cd "$(dirname "$0")/.." || exit 1

find "$build" -name '*.gcda' -delete
for test in $(find "$build/tests/unit" -type f -perm /100 -name 'test_*' | sort); do
    CK_DEFAULT_TIMEOUT=120 "$test" >"$build/unit.log" 2>&1 || echo "failed: ${test##*/}"
done
# Failures are ignored, because some tests have memory limits that this larger build exceeds.
BUILD=$build python3 -m unittest discover -s tests/integration >"$build/integration.log" 2>&1 ||
    echo "integration tests: $(tail -n 1 "$build/integration.log") (this build is larger than the real one)"

find "$build/common" "$build/proto" "$build/daemon" "$build/client" -name '*.gcda' -print0 |
    xargs -0 gcov -n 2>/dev/null |
    awk -F"[':% ]+" '/^File / { file = $2 } /^Lines executed/ && file ~ /\.c$/ { print file, $3, $5; file = "" }' |
    sort -u >"$build/lines"
awk '{
        room = $1; sub("/[^/]*$", "", room)
        hit[room] += $2 * $3 / 100; all[room] += $3; hits += $2 * $3 / 100; total += $3
    }
    END {
        for (room in all)
            printf "%-20s %5.1f %% of %5d lines\n", room, 100 * hit[room] / all[room], all[room] | "sort"
        close("sort")
        printf "%-20s %5.1f %% of %5d lines\n\nnot reached, in lines\n", "all", 100 * hits / total, total
    }' "$build/lines"
awk '{ printf "%5d  %s\n", $3 - $2 * $3 / 100 + 0.5, $1 }' "$build/lines" | sort -rn | head -n 10
