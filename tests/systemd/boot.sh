#!/bin/bash
# Runs tests under a real systemd. For each test (another script in this directory) it boots systemd in a
# container on a temporary copy of this machine's file system, and runs the test there as root, in a copy
# of the tree. Exits 1 if a test failed; 77 if the machine does not allow it. Everything is in a private
# mount namespace, so that nothing remains.
# Without names it runs all tests except filter, which takes minutes.
#   tests/systemd/boot.sh BUILD [TEST...]
set -eu -o pipefail

skip() {
    echo "SKIP the test with a real systemd: $1"
    exit 77
}

# In the namespace, with the tree in place of the original's name: mounts, copies, boots.
if [ "${1:-}" = --in-namespace ]; then
    source=$2 build=$3 work=$4 test=$5
    mount -t tmpfs -o mode=0755 edgemind-boot "$work/mount"
    cd "$work/mount"
    mkdir upper overlay root
    mount -t overlay -o "lowerdir=/,upperdir=$work/mount/upper,workdir=$work/mount/overlay" overlay root
    mkdir -p root/usr/src/edgemind/build root/var/lib/edgemind-boot
    tar -C "$source" --format=posix --exclude-vcs --exclude=./build -cf - . |
        tar -C root/usr/src/edgemind -xf -
    tar -C "$build" --format=posix --exclude=./tests/unit --exclude=./tests/bench --exclude=./logs --exclude=./sanitized \
        --exclude=./arm64 --exclude=./armhf --exclude=./engines --exclude='./deb/edgemind-*' -cf - . |
        tar -C root/usr/src/edgemind/build -xf -
    rm -f root/usr/sbin/policy-rc.d
    # The tests must not see what this machine has installed.
    rm -rf root/var/log/journal root/etc/edgemind root/etc/systemd/system/*.wants
    cat >root/etc/systemd/system/edgemind-test.service <<-UNIT
	[Unit]
	SuccessAction=exit-force
	FailureAction=exit-force
	[Service]
	Type=oneshot
	TimeoutStartSec=900s
	WorkingDirectory=/usr/src/edgemind
	StandardOutput=append:/results/output
	StandardError=inherit
	ExecStart=/bin/bash tests/systemd/$test.sh
	UNIT
    mkdir root/results
    mount -t tmpfs -o mode=0755 edgemind-boot /run # also removes what nspawn leaves there
    # SIGTERM must end it at once, not shut it down.
    exec timeout --kill-after=5 930 systemd-nspawn -q -D "$work/mount/root" --boot --register=no \
        --keep-unit --private-network --link-journal=no --settings=no --resolv-conf=off \
        --timezone=off --kill-signal=SIGKILL --capability=CAP_IPC_LOCK --bind="$work/results:/results" \
        -- systemd.unit=edgemind-test.service systemd.show_status=0 systemd.journald.forward_to_console=0
fi

build=$(realpath "${1:?usage: boot.sh BUILD [TEST...]}")
shift
[ $# -gt 0 ] || set -- service restart instances packages upgrade_warm
source=$(realpath "$(dirname "$0")/../..")

[ "$(id -u)" -eq 0 ] || skip 'only root can run it'
for program in systemd-nspawn systemctl unshare jq python3; do
    command -v $program >/dev/null || skip "$program is not installed"
done
[ -x /lib/systemd/systemd ] || skip 'systemd is not installed'
unshare -m true 2>/dev/null || skip 'mount namespaces are not allowed here'

work=$(mktemp -d "${TMPDIR:-/tmp}/edgemind-boot-XXXXXX")
booting=
clean_up() {
    if [ -n "$booting" ]; then
        kill "$booting" 2>/dev/null || true
        wait "$booting" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
    # nspawn does not remove the control groups that it made in ours.
    local hierarchy name path
    while IFS=: read -r hierarchy name path; do
        case $hierarchy:$name in
        0:) set -- /sys/fs/cgroup /sys/fs/cgroup/unified ;;
        *:name=systemd) set -- /sys/fs/cgroup/systemd ;;
        *) continue ;;
        esac
        for top; do
            find "$top$path/payload" "$top$path/supervisor" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
    done </proc/self/cgroup
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$work/mount"

case " $* " in
*' packages '* | *' upgrade_warm '*)
    if command -v dh >/dev/null && [ -e /usr/share/perl5/Debian/Debhelper/Sequence/python3.pm ]; then
        DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" make -C "$source" --no-print-directory \
            BUILD="$build" deb >"$build/deb.log" 2>&1 || { tail -n 40 "$build/deb.log"; exit 1; }
    fi
    ;;
esac

# boot TEST: its exit status.
boot() {
    local status=0
    rm -rf "$work/results" "$work/console"
    mkdir "$work/results"
    # In the background, so that a signal to this script is answered at once.
    unshare -m --propagation private -- bash "$0" --in-namespace "$source" "$build" "$work" "$1" \
        >"$work/console" 2>&1 </dev/null &
    booting=$!
    wait "$booting" || status=$?
    booting=

    if [ ! -s "$work/results/output" ]; then
        tail -n 20 "$work/console"
        skip "the container did not boot (status $status, see above)"
    fi
    cat "$work/results/output"
    [ "$status" -eq 0 ] || tail -n 20 "$work/console"
    return "$status"
}

failed=0
for test; do
    echo "== $test"
    boot "$test" || failed=1
done
exit $failed
