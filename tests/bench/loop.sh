#!/bin/bash
# How long the event loop is busy at a stretch, for each method, with the largest model.
#   tests/bench/loop.sh BUILD
set -eu
exec python3 "$(dirname "$0")/loop.py" "${1:?usage: $0 BUILD}"
