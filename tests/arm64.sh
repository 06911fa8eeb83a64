#!/bin/bash
# Cross-builds for arm64 and runs the unit tests there under user emulation. The foreign packages go
# into a throw-away copy of this machine's file system, in a private mount namespace that takes
# everything with it. Exits 77 where the machine or the archive does not allow it.
#   tests/arm64.sh BUILD: binaries and logs are left in BUILD/arm64
set -eu -o pipefail

machine=aarch64
triplet=$machine-linux-gnu
libraries='libevent-dev libinih-dev libjansson-dev libsmartcols-dev libsystemd-dev check'

skip() {
    echo "SKIP the tests on arm64: $1"
    exit 77
}

# In the copy: packages, build, tests. Results lie in /results.
if [ "${1:-}" = --inside ]; then
    cd /usr/src/edgemind
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    foreign=$(printf '%s:arm64 ' $libraries)
    {
        dpkg --add-architecture arm64
        apt-get update -q
        apt-get install -q -y --no-install-recommends crossbuild-essential-arm64 qemu-user-static $foreign
    } >/results/packages.log 2>&1 || exit 77
    export PKG_CONFIG_LIBDIR=/usr/lib/$triplet/pkgconfig:/usr/share/pkgconfig
    make -j"$(nproc)" BUILD=/results/build CC=$triplet-gcc AR=$triplet-ar WERROR=1 all unit-tests \
        >/results/build.log 2>&1 || { tail -n 40 /results/build.log; exit 1; }
    for file in edgemindd emctl libedgemind.so; do
        $triplet-readelf -h /results/build/$file | grep 'Machine: *AArch64' >/dev/null || exit 1
        echo "ok      $file is built for arm64"
    done
    for program in edgemindd emctl; do
        qemu-$machine-static /results/build/$program --help >/dev/null || exit 1
        echo "ok      $program starts"
    done
    status=0
    for test in /results/build/tests/unit/test_*; do
        case $test in
        *.[od]) continue ;;
        *_arena_map | *_backing | *_loader | *_monitor)
            echo "SKIP $(basename "$test"): the emulator ignores madvise and says that it did it"
            continue
            ;;
        *_server)
            echo "SKIP $(basename "$test"): the emulator knows no SO_PEERGROUPS"
            continue
            ;;
        esac
        # Emulation is slow, and a test's own time limit is no verdict on it.
        CK_TIMEOUT_MULTIPLIER=10 timeout 300 qemu-$machine-static "$test" </dev/null || status=1
    done
    exit $status
fi

# In the namespace: the copy, on a tmpfs.
if [ "${1:-}" = --in-namespace ]; then
    source=$2 work=$3 results=$4
    mount -t tmpfs -o mode=0755 edgemind-arm64 "$work"
    cd "$work"
    mkdir upper overlay root
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" overlay root
    mkdir -p root/usr/src/edgemind root/results
    mount --bind "$results" root/results
    mount -t tmpfs -o mode=1777 edgemind-arm64 root/tmp
    mount -t tmpfs -o mode=0755 edgemind-arm64 root/run
    mount --rbind /dev root/dev
    mount -t proc -o ro proc root/proc # read-only: an emulator must not register with this kernel
    cat /etc/resolv.conf >"$work/resolv.conf"
    [ -s "$work/resolv.conf" ] && { rm -f root/etc/resolv.conf; cp "$work/resolv.conf" root/etc/; }
    printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d
    chmod 755 root/usr/sbin/policy-rc.d
    tar -C "$source" --format=posix --exclude-vcs --exclude=./build -cf - . | tar -C root/usr/src/edgemind -xf -
    exec chroot root /bin/bash /usr/src/edgemind/tests/arm64.sh --inside
fi

build=${1:?usage: arm64.sh BUILD}
source=$(realpath "$(dirname "$0")/..")
[ "$(id -u)" -eq 0 ] || skip 'only root can run it'
command -v apt-get >/dev/null || skip 'this is no Debian'
command -v unshare >/dev/null || skip 'unshare is not installed'
unshare -m true 2>/dev/null || skip 'mount namespaces are not allowed here'
[ "$(dpkg --print-architecture)" != arm64 ] || skip 'this is arm64 already'
[ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 4000000 ] || skip 'it needs 4 GB of RAM'

rm -rf "$build/arm64"
mkdir -p "$build/arm64"
work=$(mktemp -d "${TMPDIR:-/tmp}/edgemind-arm64-XXXXXX")
running=
clean_up() {
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The process namespace ends with its first process, whatever is left in it.
unshare -m -p --fork --kill-child --propagation private -- \
    bash "$0" --in-namespace "$source" "$work" "$(realpath "$build/arm64")" </dev/null &
running=$!
status=0
wait "$running" || status=$?
running=
[ "$status" -ne 77 ] || { tail -n 5 "$build/arm64/packages.log"; skip 'the packages are not to be had'; }
exit "$status"
