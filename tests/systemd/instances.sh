#!/bin/bash
# One arena for each trust domain: two instances and the plain service at the same time.
. tests/systemd/lib.sh

on() { # NAME COMMAND...: on that instance's socket
    local name=$1
    shift
    EDGEMIND_SOCKET=/run/edgemind-$name/io.edgemind.manager "$@"
}
stats_of() { on "$1" stats "$2"; }
status_of() { # NAME FIELD: a word of the instance's /proc/PID/status
    awk -v field="$2:" '$1 == field { print $2 }' \
        "/proc/$(systemctl show -P MainPID "edgemindd@$1.service")/status"
}
# Removes the lines that may differ between the plain service and its template.
common_lines() { grep -vE '^(#|Description=|Requires=|ExecStart=|User=|Group=|RuntimeDirectory|Also=)' "$1"; }

check 'make install' make install PREFIX=/usr BUILD=build
check 'the template is the service but for the names' \
    diff <(common_lines systemd/edgemindd.service) <(common_lines systemd/edgemindd@.service)
check 'two users and configurations' bash -c \
    '. tests/systemd/lib.sh; make_instance lab 60M && make_instance plant 12M'
check 'systemd finds nothing wrong with the units' \
    systemd-analyze verify --man=no edgemindd@lab.service edgemindd@lab.socket
check 'an instance is hardened to 1.5 or better' systemd-analyze security --threshold=15 edgemindd@lab.service
useradd -M -G edgemind-lab member || n_failed=$((n_failed + 1))

# --- side by side
check 'enable and start one' systemctl enable --now edgemindd@lab.service
check 'start the other by its socket' systemctl start edgemindd@plant.socket
check 'start the plain service' systemctl start edgemindd.service
check 'the first is active' systemctl is-active edgemindd@lab.service edgemindd@lab.socket
check 'it is enabled with its socket' systemctl is-enabled edgemindd@lab.service edgemindd@lab.socket
check 'the other starts with its first call' stats_of plant '.arena.capacityBytes == 12 * 1048576'
check 'each has its own capacity' stats_of lab '.arena.capacityBytes == 60 * 1048576'
check 'as has the plain service' stats '.arena.capacityBytes == 50 * 1048576'
check 'the first runs as its own user' test "$(status_of lab Uid)" = "$(id -u edgemind-lab)"
check 'the other as another' test "$(status_of plant Uid)" = "$(id -u edgemind-plant)"
check 'without capabilities' test "$(status_of lab CapBnd)" = 0000000000000000
check 'each socket is for its group' owned /run/edgemind-lab/io.edgemind.manager root:edgemind-lab 660
check 'in a directory of its own' owned /run/edgemind-plant root:root 755

# --- apart
check 'load a model into one' on lab emctl load-model ffn10.json
check 'the other knows nothing of it' stats_of plant '.scheduler.models == 0'
check 'a member of one group may look there' on lab as member emctl stats
check 'but not at the other' bash -c '! EDGEMIND_SOCKET=/run/edgemind-plant/io.edgemind.manager runuser -u member -- emctl stats'
check 'one daemon'\''s user is nobody to the other' \
    bash -c '! EDGEMIND_SOCKET=/run/edgemind-lab/io.edgemind.manager runuser -u edgemind-plant -- emctl stats'
check 'and cannot reach its memory' \
    bash -c "! runuser -u edgemind-plant -- ls /proc/$(systemctl show -P MainPID edgemindd@lab.service)/fd"

# --- a failure of one
before=$(systemctl show -P MainPID edgemindd@lab.service)
check 'kill -9 one' systemctl kill --kill-whom=main --signal=KILL edgemindd@plant.service
restarted() { [ "$(systemctl show -P NRestarts edgemindd@plant.service)" -ge 1 ]; }
check 'it comes back' soon restarted
check 'and answers' soon stats_of plant '.arena.capacityBytes == 12 * 1048576'
check 'the other did not notice' test "$before" = "$(systemctl show -P MainPID edgemindd@lab.service)"
check 'and keeps its layers' stats_of lab '.scheduler.layersLoaded == 3'
check 'an instance without a configuration does not start' exits 1 bash -c \
    '. tests/systemd/lib.sh; make_instance none 1M && rm /etc/edgemind/none.conf && systemctl start edgemindd@none.service'
named() { journalctl --sync; journalctl --no-pager -o cat -u edgemindd@none.service | grep -F '/etc/edgemind/none.conf: cannot open'; }
check 'and says why' soon named
systemctl stop edgemindd@none.socket

check 'stop one' systemctl stop edgemindd@lab.socket edgemindd@lab.service
check 'the other goes on' stats_of plant '.arena.capacityBytes == 12 * 1048576'
check 'make uninstall' make uninstall PREFIX=/usr
check 'stops what was left' exits 3 systemctl is-active edgemindd@plant.service
finish
