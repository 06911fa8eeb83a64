#!/bin/bash
# The daemon dies, or is restarted: every layer is still where it was, with the same bytes, and
# nothing was read again. Stopped and started again, it begins anew.
. tests/systemd/lib.sh

list() { emctl list weights --json | jq -c '.layers[] | [.name, .state, .footprintBytes]'; }
loaded() { emctl stats --json | jq '.scheduler | [.models, .layersLoaded, .bytesLoaded]'; }
hashes() { # LAYER...
    for layer; do
        echo "$layer $(emctl cat weights "$layer" | sha256sum)"
    done
}
main_pid() { systemctl show -P MainPID edgemindd.service; }
another_process() { # PID
    local now
    now=$(main_pid)
    [ "$now" != 0 ] && [ "$now" != "$1" ] && [ "$(systemctl is-active edgemindd.service)" = active ]
}
# The state right after the restart, and how long it took to tell, in milliseconds.
look() { # FILE
    local begin=${EPOCHREALTIME/./}
    { list; loaded; } >"$1" || return
    echo "told within $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
    [ $((${EPOCHREALTIME/./} - begin)) -lt 1000000 ]
}
stored() { shows NFileDescriptorStore "$1"; }

# survives WHAT COMMAND...: what is restarted by the command comes back as it was.
survives() {
    local what=$1 pid
    shift
    pid=$(main_pid)
    check "$what" "$@"
    check 'another process runs' soon another_process "$pid"
    check 'within a second every layer is where it was' look /tmp/after
    check 'and nothing was loaded' diff /tmp/before /tmp/after
    hashes $resident >/tmp/hashes.after
    check 'the same bytes' diff /tmp/hashes.before /tmp/hashes.after
    check 'the operating system agrees' stats '.monitor.aligned'
    check 'a warm start, says the journal' journal "_PID=$(main_pid)" -- '^a warm start'
}

check 'make install' make install PREFIX=/usr BUILD=build
set_option policy lru
set_option lease-grace 5s
check 'systemctl start edgemindd' systemctl start edgemindd
[ $n_failed -eq 0 ] || finish
check 'a model with weights' python3 tests/generate_weights.py --blocks 8 --block-bytes 8M safetensors /tmp/weights.safetensors
check 'more than the arena holds' emctl load-model /tmp/weights.safetensors
resident=$(emctl list weights --json | jq -r '.layers[] | select(.state == "resident").name')
absent=$(emctl list weights --json | jq -r '.layers[] | select(.state == "absent").name' | head -n 1)
check 'some layers are resident' test -n "$resident"
check 'and some are not' test -n "$absent"
check 'arena, ledger and weights are stored' stored 3
hashes $resident >/tmp/hashes.before
{ list; loaded; } >/tmp/before

survives 'kill -9' kill -KILL "$(main_pid)"
survives 'systemctl restart' systemctl restart edgemindd
survives 'systemctl try-restart' systemctl try-restart edgemindd
pid=$(main_pid)
check 'systemctl daemon-reexec' systemctl daemon-reexec
check 'which restarts nothing' test "$(main_pid)" = "$pid"
check 'and keeps the store' stored 3
survives 'kill -9 after it' kill -KILL "$pid"

# --- a lease is held throughout
emctl hold weights "${resident%%$'\n'*}" -- sleep 60 &
holder=$!
check 'a lease' soon stats '.arena.leasedBytes > 0'
check 'kill -9' kill -KILL "$(main_pid)"
check 'its layer is still pinned' soon stats '.arena.leasedBytes > 0'
check 'and cannot be unloaded' exits 6 emctl unload-layer weights "${resident%%$'\n'*}"
kill $holder
wait $holder

# --- what was evicted can be loaded again, though its file is gone
rm /tmp/weights.safetensors
check 'an evicted layer of a file that was removed' emctl load-layer weights "$absent"
check 'emctl unload-model' soon emctl unload-model weights
check 'its weights are stored no more' soon stored 2

# --- a hung loop
check 'emctl load-model' emctl load-model ffn10.json
pid=$(main_pid)
check 'the daemon hangs' kill -STOP "$pid"
check 'the watchdog ends it' timeout 60 bash -c "while [ \"\$(systemctl show -P MainPID edgemindd.service)\" = $pid ]; do sleep 0.2; done"
check 'the daemon answers again' soon emctl stats
check 'with its models' stats '.scheduler.models == 1 and .scheduler.layersLoaded > 0'

# --- what makes the next start a cold one
set_option capacity 40M
check 'another capacity' systemctl restart edgemindd
check 'is a cold start, says the journal' journal "_PID=$(main_pid)" PRIORITY=5 -- '^a cold start'
check 'with the new capacity, and nothing in it' stats '.arena.capacityBytes == 40 * 1048576 and .scheduler.models == 0'
check 'emctl load-model' emctl load-model ffn10.json
check 'systemctl stop' systemctl stop edgemindd.service
check 'systemctl start' systemctl start edgemindd.service
check 'a cold start, without a word' stats '.scheduler.models == 0'
finish
