#!/bin/bash
# What scrapers of the metrics cost the control plane.
#   tests/bench/scrapes.sh BUILD
set -eu
exec python3 "$(dirname "$0")/scrapes.py" "${1:?usage: $0 BUILD}"
