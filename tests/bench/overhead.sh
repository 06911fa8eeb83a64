#!/bin/bash
# Measures in /proc the daemon's own memory beside the arena, with 10,000 layers known and resident.
#   tests/bench/overhead.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"

layers=10000
python3 - $layers >"$directory/sized.json" <<'PYTHON'
import json, sys
layers = [{"name": "layer_%d" % i, "bytes": 4096} for i in range(int(sys.argv[1]))]
json.dump({"name": "sized", "layers": layers}, sys.stdout)
PYTHON
python3 tests/generate_weights.py safetensors "$directory/weights.safetensors" --blocks $layers \
    --block-bytes 4K >/dev/null

overhead_mib() {
    awk '$1 == "VmRSS:" { rss = $2 } $1 == "RssShmem:" { shmem = $2 } END { printf "%.2f", (rss - shmem) / 1024 }' \
        "/proc/${pids[-1]}/status"
}
printf 'Daemon memory outside the arena, %d layers\n\n' $layers
for file in sized.json weights.safetensors; do
    start_daemon "$file.socket" --capacity=200M
    empty=$(overhead_mib)
    call "$file.socket" LoadModel "{\"path\":\"$file\"}" >/dev/null
    goal "$file, MiB (none known: $empty)" "$(overhead_mib)" at-most 8
done
