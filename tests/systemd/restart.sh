#!/bin/bash
# After the daemon dies, is restarted, or hangs, every layer is in the same place with the same bytes, and
# nothing is read again. After a stop and a start the arena is empty.
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

# survives WHAT COMMAND...: checks that the command restarts the daemon without changing its state.
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

# Whether the daemon waits for that signal.
catches() { (((0x$(process_status SigCgt) >> ($1 - 1)) & 1)); }
arena_is_undumped() { # PID: what is mapped of the arena has the flag "dd"
    awk '/^[0-9a-f]+-/ { arena = /memfd:edgemind/ } arena && /^VmFlags:/ { print; n++; bad += !/ dd( |$)/ }
        END { exit n == 0 || bad }' "/proc/$1/smaps"
}
# The core must not have bytes from the middle of any resident layer.
core_is_without_weights() { # CORE
    for layer in $resident; do
        emctl cat weights "$layer" | tail -c +4194305 | head -c 64
    done >/tmp/pieces
    python3 - "$1" <<-'PYTHON'
	import mmap, sys
	pieces = open("/tmp/pieces", "rb").read()
	pieces = [pieces[i:i + 64] for i in range(0, len(pieces), 64)]
	with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core:
	    sys.exit(not pieces or any(core.find(piece) >= 0 for piece in pieces))
	PYTHON
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
check 'arena, ledger, history and weights are stored' stored 4
hashes $resident >/tmp/hashes.before
{ list; loaded; } >/tmp/before

survives 'kill -9' kill -KILL "$(main_pid)"
survives 'systemctl restart' systemctl restart edgemindd
survives 'systemctl try-restart' systemctl try-restart edgemindd
pid=$(main_pid)
check 'systemctl daemon-reexec' systemctl daemon-reexec
check 'which restarts nothing' test "$(main_pid)" = "$pid"
check 'and keeps the store' stored 4
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

# --- a hung loop, in a build that can be told to hang, and with a faster watchdog
unit=/run/systemd/system/edgemindd.service.d/hang.conf
mkdir -p ${unit%/*}
printf '[Service]\nWatchdogSec=5s\nLimitCORE=infinity\nWorkingDirectory=/run/edgemind\n' >$unit
systemctl daemon-reload
check 'the product knows no signal to hang on' exits 1 catches 12
check 'install a build that does' install build/test/edgemindd /usr/sbin/edgemindd
survives 'systemctl restart' systemctl restart edgemindd
check 'it waits for the signal' catches 12
pid=$(main_pid)
check 'the arena is left out of cores' arena_is_undumped "$pid"
hang() {
    kill -USR2 "$1" && timeout 60 bash -c "while kill -0 $1 2>/dev/null; do sleep 0.1; done"
}
survives 'its loop hangs until the watchdog ends it' hang "$pid"
check 'as systemd says' journal _PID=1 -- 'Watchdog timeout'
check 'by SIGABRT' journal _PID=1 -- 'Main process exited.*status=6/ABRT'
cores=(/run/edgemind/core*)
if [ -e "${cores[0]}" ]; then
    check 'its core knows the model' grep -qa model.embed_tokens.weight "${cores[@]}"
    check 'but holds none of its bytes' core_is_without_weights "${cores[@]}"
    rm "${cores[@]}"
else
    echo "SKIP    the core goes to $(cat /proc/sys/kernel/core_pattern)"
fi
check 'the product again' install build/edgemindd /usr/sbin/edgemindd
rm $unit
systemctl daemon-reload
survives 'systemctl restart' systemctl restart edgemindd

# --- what was evicted can be loaded again, though its file is gone
rm /tmp/weights.safetensors
check 'an evicted layer of a file that was removed' emctl load-layer weights "$absent"
check 'emctl unload-model' soon emctl unload-model weights
check 'its weights are stored no more' soon stored 3

# --- what makes the next start a cold one
set_option capacity 40M
check 'another capacity' systemctl restart edgemindd
check 'is a cold start, says the journal' journal "_PID=$(main_pid)" PRIORITY=5 -- '^a cold start'
check 'with the new capacity, and nothing in it' stats '.arena.capacityBytes == 40 * 1048576 and .scheduler.models == 0'
check 'emctl load-model' emctl load-model ffn10.json
# A client that has disconnected but keeps its descriptor sees the same memory after restarts, and no
# memory after a final stop.
python3 - <<-'PYTHON' &
	import json, os, socket, time
	client = socket.socket(socket.AF_UNIX)
	client.connect("/run/edgemind/io.edgemind.manager")
	layer = next(l["name"] for l in json.load(os.popen("emctl list ffn10 --json"))["layers"]
	             if l["state"] == "resident")
	client.send(json.dumps({"method": "io.edgemind.manager.Acquire", "parameters":
	                        {"model": "ffn10", "layer": layer}}).encode() + b"\0")
	fd = socket.recv_fds(client, 1 << 20, 8)[1][0]
	client.close()
	while True:
	    with open("/tmp/kept.new", "w") as file:
	        file.write("%d" % (os.fstat(fd).st_blocks > 0))
	    os.rename("/tmp/kept.new", "/tmp/kept")
	    time.sleep(0.05)
PYTHON
keeper=$!
kept() { rm -f /tmp/kept; soon test -e /tmp/kept; [ "$(cat /tmp/kept)" = "$1" ]; }
# The daemon asks systemd over the bus whether it is stopped for good.
check 'the system bus' systemctl start dbus.socket
check 'a client keeps the arena mapped' soon test -e /tmp/kept
check 'systemctl restart' systemctl restart edgemindd.service
check 'after a restart the memory is still there' kept 1
check 'systemctl stop' systemctl stop edgemindd.service
check 'after a stop there is none, though the client keeps its descriptor' kept 0
kill $keeper
check 'systemctl start' systemctl start edgemindd.service
check 'a cold start, without a word' stats '.scheduler.models == 0'
finish
