#!/bin/bash
# Measures EdgeMind and other programs. Each script does one job; lib.sh has the common parts.
#   tests/bench/bench.sh BUILD
set -eu
build=${1:?usage: bench.sh BUILD}
here=$(dirname "$0")

for job in control loop decide top hogs scrapes start load stats overhead acquire stream views views_resident views_readers experts; do
    "$here/$job.sh" "$build"
    echo
done
