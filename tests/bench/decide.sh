#!/bin/bash
# Times a decision of the policy expected-use, and how much memory a layer takes for it.
#   tests/bench/decide.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

printf 'A request that evicts one of many layers, policy expected-use\n\n'
for layers in 6144 100000; do
    read -r median bytes < <("$build/tests/bench/decide" $layers)
    goal "$layers layers, us (median)" "$median" at-most 5
    goal "$layers layers, bytes a layer" "$bytes" at-most 64
done
