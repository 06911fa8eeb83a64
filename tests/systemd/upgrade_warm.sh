#!/bin/bash
# Upgrades the packages while models are loaded. Afterwards every layer is still resident with the same
# bytes, and nothing was read again.
. tests/systemd/lib.sh

if ! ls $debs/edgemindd_*.deb >/dev/null 2>&1; then
    echo 'SKIP the upgrade: debhelper and dh-python are not installed'
    exit 0
fi

layers() { emctl list weights --json | jq -r "$1"; } # FILTER
# The places of all layers, and how many bytes were ever loaded.
state() {
    layers '.layers[] | [.name, .state, .footprintBytes]'
    emctl stats --json | jq '.scheduler | .models, .layersLoaded, .bytesLoaded'
}
hashes() { # LAYER...
    for layer; do
        echo "$layer $(emctl cat weights "$layer" | sha256sum)"
    done
}

check 'dpkg -i' install_packages $debs
check 'a model with weights' python3 tests/generate_weights.py --blocks 8 --block-bytes 8M safetensors /tmp/weights.safetensors
check 'more than the arena holds' emctl load-model /tmp/weights.safetensors
all=$(layers '.layers[].name')
hashes $all >/tmp/all.before # every one was resident once
resident=$(layers '.layers[] | select(.state == "resident").name')
check 'some layers are resident' test -n "$resident"
check 'some are not' test "$resident" != "$all"
hashes $resident >/tmp/resident.before
state >/tmp/state.before
pid=$(systemctl show -P MainPID edgemindd.service)

check 'a higher version' higher /tmp/higher "$(package_version)+1"
check 'dpkg -i of it' install_packages /tmp/higher
check 'another process answers' soon emctl stats
check 'indeed another' test "$(systemctl show -P MainPID edgemindd.service)" != "$pid"
state >/tmp/state.after
check 'every layer is where it was, and nothing was loaded' diff /tmp/state.before /tmp/state.after
hashes $resident >/tmp/resident.after
check 'the resident ones have the same bytes' diff /tmp/resident.before /tmp/resident.after
state >/tmp/state.after
check 'which were not read again' diff /tmp/state.before /tmp/state.after
hashes $all >/tmp/all.after
check 'the others can still be loaded' diff /tmp/all.before /tmp/all.after
finish
