#!/bin/bash
# Measures the time from exec to READY with 1 GiB committed, and compares it with one thread that fills a
# memfd with memset.
#   tests/bench/start.sh BUILD
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
needs 3 'Start to READY'

touch "$directory/conf"
ready() {
    "$build/tests/bench/start" ready "$build/edgemindd" --config="$directory/conf" --capacity=1G \
        --socket="$directory/socket" --log-level=error "$@"
}
# Measures the second start, which gets the pages that the first one freed. Under a hypervisor that takes
# free memory away, the first start would measure how fast the host provides memory.
measure() {
    local arm=$1
    shift
    "$@" >/dev/null
    "$@" >>"$directory/$arm"
}
if allow_huge_pages; then huge=yes; else huge=; fi
for _ in $(seq $((rounds + 1))); do
    measure memset "$build/tests/bench/start" memset "$gib"
    measure plain ready --huge-pages=never
    [ -z "$huge" ] || measure huge ready --huge-pages=auto
done

printf 'Start to READY, 1 GiB committed, seconds of %d rounds\n\n' "$rounds"
row() { printf '%-34s %10s %10s %10s\n' "$@"; }
arm() { row "$2" "$(median "$1")" "$(smallest "$1")" "$(largest "$1")"; }
row '' median min max
arm memset 'memset of a memfd, plain pages'
arm plain 'edgemindd, plain pages'
[ -z "$huge" ] || arm huge 'edgemindd, transparent huge pages'
echo
goal 'Plain pages: times the speed of memset' "$(ratio "$(median memset)" "$(median plain)")" at-least 1.5
if [ -n "$huge" ]; then
    goal 'Huge pages: times the speed of memset' "$(ratio "$(median memset)" "$(median huge)")" at-least 5
else
    echo "Huge pages: skipped, $shmem_enabled says never"
fi
