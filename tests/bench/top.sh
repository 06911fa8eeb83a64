#!/bin/bash
# What emctl top costs the daemon, with 100,000 layers.
#   tests/bench/top.sh BUILD
set -eu
BUILD=${1:?usage: $0 BUILD} exec python3 "$(dirname "$0")/top_cost.py"
