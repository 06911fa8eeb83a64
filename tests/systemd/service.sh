#!/bin/bash
# `make install`, and the service as its owner would use it.
. tests/systemd/lib.sh

# --- install
check 'make install' make install PREFIX=/usr BUILD=build
check 'the installed programs are there' test -x /usr/sbin/edgemindd -a -x /usr/bin/emctl
check 'so is the library of views' test -r /usr/lib/edgemind/libedgemind-view.so
check 'and the rule for udev' grep -q 'KERNEL=="userfaultfd", GROUP="edgemind"' /usr/lib/udev/rules.d/60-edgemind.rules
check 'the user is there' id edgemind
check 'the directory of the socket is there' owned /run/edgemind edgemind:edgemind 755
check 'systemd finds nothing wrong with the units' \
    systemd-analyze verify --man=no edgemindd.service edgemindd.socket
check 'the shipped configuration is valid' edgemindd --check-config
check 'the unit is hardened to 1.5 or better' systemd-analyze security --threshold=15 edgemindd.service
systemd-analyze security --no-pager edgemindd.service | tail -n 1
useradd -M -G edgemind member && useradd -M stranger || n_failed=$((n_failed + 1))

[ $n_failed -eq 0 ] || finish

# --- start, load, look
check 'systemctl start edgemindd' systemctl start edgemindd
[ $n_failed -eq 0 ] || finish
check 'it is active' systemctl is-active edgemindd.service edgemindd.socket
check 'it runs as its own user' test "$(process_status Uid | awk '{ print $2 }')" = "$(id -u edgemind)"
check 'without capabilities' test "$(process_status CapBnd)" = 0000000000000000
check 'the socket is for the group' owned $socket root:edgemind 660
check 'systemctl status tells about the arena' shows StatusText '*of 50.0 MiB used*'
check 'it logged that it is ready' journal _SYSTEMD_UNIT=edgemindd.service PRIORITY=6 -- '^ready'
check 'the arena is committed' arena_is RssShmem 51200
check 'a member of the group may plan' as member emctl plan ffn10.json
check 'emctl load-model ffn10.json' emctl load-model ffn10.json
check 'a program that maps files runs on the arena' emctl exec -- true
check 'as it does for a member of the group' as member emctl exec -- true
check 'with the library that is installed' bash -c \
    'emctl exec -- env | grep -Fx LD_PRELOAD=/usr/lib/edgemind/libedgemind-view.so'
check 'six layers came, one had to unload, four are left' stats '
    .arena.capacityBytes == 50 * 1048576 and .arena.commit == "boot"
    and .scheduler.layersLoaded == 4 and .scheduler.decisions.mustUnload == 1
    and .scheduler.decisions.loaded == 10 and .scheduler.flushes == 1
    and .scheduler.evictions == 6 and .scheduler.decisions.outOfMemory == 0'
check 'the operating system agrees' stats '
    .monitor.aligned and .monitor.driftBytes == 0
    and .monitor.arenaFileBytes == 50 * 1048576 and .monitor.swapBytes == 0'
check 'the flush is in the journal' journal EDGEMIND_EVENT=flushed SYSLOG_IDENTIFIER=edgemindd -- '6 layers'

# --- who may
check 'a member of the group may look' as member emctl stats
check 'and list' as member emctl list
check 'but not load' exits 9 as member emctl load-model ffn10.json
check 'nor reset' exits 9 as member emctl reset
check 'nor set' exits 9 as member emctl set-policy lru
check 'nothing changed' stats '.scheduler.layersLoaded == 4 and .scheduler.policy == "flush-all"'
check 'the daemon'\''s own user may' as edgemind emctl set-policy flush-all
check 'anybody else may not even look' bash -c '! runuser -u stranger -- emctl stats'

# --- reload
set_option policy lru
set_option log-level debug
set_option loaders 3
check 'systemctl reload edgemindd' systemctl reload edgemindd
check 'the new policy holds' soon stats '.scheduler.policy == "lru"'
check 'the reload is in the journal' soon journal EDGEMIND_EVENT=reloaded -- .
check 'as is what needs a restart' journal PRIORITY=4 -- '^loaders '
check 'emctl reset' emctl reset
check 'emctl load-layer' emctl load-layer ffn10 dense_3
check 'each layer is in the journal at debug' \
    journal EDGEMIND_MODEL=ffn10 EDGEMIND_LAYER=dense_3 EDGEMIND_EVENT=layer-loaded PRIORITY=7 -- .

# --- a journal that takes nothing
python3 -c 'import json; print(json.dumps({"name": "many", "layers": [
    {"name": str(i), "bytes": 1} for i in range(1000)]}))' >/tmp/many.json
journald=$(systemctl show -P MainPID systemd-journald.service)
check 'the journal hangs' kill -STOP "$journald"
check 'the daemon loads more layers than the journal has room for entries' timeout 60 emctl load-model /tmp/many.json
check 'and goes on' timeout 20 emctl stats
check 'the journal goes on, too' kill -CONT "$journald"
check 'what it had room for is there' journal EDGEMIND_MODEL=many EDGEMIND_EVENT=layer-loaded -- .
check 'unload one' emctl unload-layer many 7
check 'as is what comes next' soon journal EDGEMIND_LAYER=7 EDGEMIND_EVENT=layer-evicted PRIORITY=7 -- .
check 'with who asked for it' journal EDGEMIND_LAYER=7 EDGEMIND_METHOD=UnloadLayer EDGEMIND_USER=0 -- .
check 'unload them all' emctl unload-model many

set_option policy nonsense
check 'reload with a mistake' systemctl reload edgemindd
check 'names file and line' soon journal PRIORITY=3 -- "$conf:[0-9]+: 'nonsense' is not valid for policy"
check 'and changes nothing' stats '.scheduler.policy == "lru" and .scheduler.layersLoaded == 1'

# --- the watchdog, faster than shipped
check 'the watchdog is on' shows WatchdogUSec 30s
mkdir -p /run/systemd/system/edgemindd.service.d
printf '[Service]\nWatchdogSec=1s\n' >/run/systemd/system/edgemindd.service.d/test.conf
shipped_conf
set_option capacity 4M # a container may not raise RLIMIT_MEMLOCK, which is 8M
set_option mlock yes
set_option model-dir /usr/share/edgemind/models
set_option metrics-listen 127.0.0.1:9464
check 'edgemindd --print-dropin' \
    bash -c 'edgemindd --print-dropin >/run/systemd/system/edgemindd.service.d/memory.conf'
check 'systemd finds nothing wrong with it' systemd-analyze verify --man=no edgemindd.service
systemctl daemon-reload
# 4 MiB of arena, 64 of overhead, 10 of unread replies, 86.3 of messages, 3 of metrics
check 'the limits are in force: of memory' shows MemoryMax $((168 * 1048576))
check 'and of locked memory' shows LimitMEMLOCK 4194304
check 'systemctl restart edgemindd, with mlock' systemctl restart edgemindd
check 'the arena is locked' arena_is VmLck 4096
check 'metrics are served, because the drop-in lets the service use the network' bash -c '
    exec 3<>/dev/tcp/127.0.0.1/9464
    printf "GET /metrics HTTP/1.0\r\n\r\n" >&3
    grep -x "edgemind_arena_capacity_bytes 4194304" <&3'
fed=$(systemctl show -P WatchdogTimestampMonotonic edgemindd.service)
check 'the watchdog is fed' soon differs WatchdogTimestampMonotonic "$fed"

# --- a path below model-dir, under the unit's system call filter
load_path() {
    python3 - "$1" <<-'PYTHON'
	import json, socket, sys
	peer = socket.socket(socket.AF_UNIX)
	peer.connect("/run/edgemind/io.edgemind.manager")
	call = {"method": "io.edgemind.manager.LoadModel", "parameters": {"path": sys.argv[1]}}
	peer.sendall(json.dumps(call).encode() + b"\0")
	reply = b""
	while not reply.endswith(b"\0"):
	    reply += peer.recv(65536) or sys.exit("hung up")
	print(reply[:-1].decode())
	sys.exit("error" in json.loads(reply[:-1]))
	PYTHON
}
echo '{"name": "small", "layers": [{"name": "a", "bytes": 4096}]}' >/usr/share/edgemind/models/small.json
check 'a path below model-dir can be loaded' load_path small.json
check 'one that leads out cannot' exits 1 load_path ../../../../etc/passwd
ln -s small.json /usr/share/edgemind/models/link.json
check 'nor a link' exits 1 load_path link.json

# --- crash, stop, socket activation
check 'kill -9' systemctl kill --kill-whom=main --signal=KILL edgemindd.service
check 'it comes back after a crash' soon shows NRestarts 1
check 'and is ready' soon systemctl is-active edgemindd.service
check 'systemctl stop edgemindd' systemctl stop edgemindd.service
check 'it ended cleanly' shows Result success
check 'with status 0' shows ExecMainStatus 0
check 'and said so' journal -- '^ending on Terminated'
check 'the socket is still there' owned $socket root:edgemind 660
check 'it is stopped' exits 3 systemctl is-active edgemindd.service
check 'the first call starts it' as member emctl stats
check 'it is active again' systemctl is-active edgemindd.service

# --- a wrong configuration
systemctl stop edgemindd.service edgemindd.socket
set_option capacity lots
check 'it does not start' exits 1 systemctl start edgemindd.service
check 'says why' soon journal PRIORITY=3 -- "$conf:[0-9]+: 'lots' is not valid for capacity"
check 'and is not tried again' shows NRestarts 0
check 'its status tells wrong configuration' shows ExecMainStatus 2
shipped_conf
set_option capacity 100000G
check 'nor with more than the machine has' exits 1 systemctl start edgemindd.service
check 'without being killed' shows ExecMainStatus 2
systemctl stop edgemindd.service edgemindd.socket
shipped_conf
rm -r /run/systemd/system/edgemindd.service.d
systemctl daemon-reload
check 'it starts again once corrected' systemctl start edgemindd.service

# --- remove
echo '# changed' >>$conf
check 'make install over it' make install PREFIX=/usr BUILD=build
check 'keeps the configuration' grep -q '^# changed' $conf
check 'make install with DESTDIR' make install PREFIX=/opt/em BUILD=build DESTDIR=/tmp/staged
check 'names its own directories' grep -q '^ExecStart=/opt/em/sbin/edgemindd$' \
    -r /tmp/staged --include=edgemindd.service
check 'make uninstall' make uninstall PREFIX=/usr
check 'stops it' exits 3 systemctl is-active edgemindd.service
remains=$(find /usr /etc /run -name '*edgemind*' -not -path '/usr/src/*' -not -name '*edgemind-test*' | sort)
check 'leaves the configuration only' \
    test "$remains" = "$(printf '%s\n' /etc/edgemind $conf /run/edgemind)"

finish
