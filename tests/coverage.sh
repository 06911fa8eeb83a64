#!/bin/bash
# Runs the unit and integration tests of a build with --coverage. Prints which share of each room's lines and
# branches they reached, and the ten files with the most unreached lines.
#   tests/coverage.sh BUILD
set -u -o pipefail
build=$(realpath "${1:?usage: coverage.sh BUILD}")
cd "$(dirname "$0")/.." || exit 1

find "$build" -name '*.gcda' -delete
for test in $(find "$build/tests/unit" -type f -perm /100 -name 'test_*' | sort); do
    CK_DEFAULT_TIMEOUT=600 "$test" >"$build/unit.log" 2>&1 || echo "failed: ${test##*/}"
done
# Failures are ignored, because some tests have memory limits that this larger build exceeds.
BUILD=$build python3 -m unittest discover -s tests/integration >"$build/integration.log" 2>&1 ||
    echo "integration tests: $(tail -n 1 "$build/integration.log") (this build is larger than the real one)"

find "$build/common" "$build/proto" "$build/daemon" "$build/client" -name '*.gcda' -print0 |
    xargs -0 gcov -bn 2>/dev/null |
    awk -F"[':% ]+" '
        /^File / { file = $2; lines = "" }
        /^Lines executed/ { lines = $3 " " $5 }
        /^No branches/ { print file, lines, 0, 0 }
        /^Taken at least once/ { print file, lines, $5, $7 }' |
    grep -E '^[^/][^ ]*\.c ' | sort -u >"$build/reached"
awk '{
        room = $1; sub("/[^/]*$", "", room)
        lines[room] += $3; branches[room] += $5; all_lines += $3; all_branches += $5
        hit_lines[room] += $2 * $3 / 100; hit_branches[room] += $4 * $5 / 100
    }
    function tell(name, hit_lines, lines, hit_branches, branches) {
        return sprintf("%-20s %5.1f %% of %5d lines, %5.1f %% of %5d branches", name,
                       100 * hit_lines / lines, lines, branches ? 100 * hit_branches / branches : 100, branches)
    }
    END {
        for (room in lines) {
            print tell(room, hit_lines[room], lines[room], hit_branches[room], branches[room]) | "sort"
            hits += hit_lines[room]; branch_hits += hit_branches[room]
        }
        close("sort")
        print tell("all", hits, all_lines, branch_hits, all_branches) "\n\nnot reached, in lines"
    }' "$build/reached"
awk '{ printf "%5d  %s\n", $3 - $2 * $3 / 100 + 0.5, $1 }' "$build/reached" | sort -rn | head
