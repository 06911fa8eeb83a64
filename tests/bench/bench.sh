#!/bin/bash
# Timings beside the peers, one script a job; see lib.sh for how.
#   tests/bench/bench.sh BUILD
set -eu
build=${1:?usage: bench.sh BUILD}
here=$(dirname "$0")

for job in control hogs start load stats overhead acquire stream; do
    "$here/$job.sh" "$build"
    echo
done
