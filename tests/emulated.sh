#!/bin/bash
# Cross-builds for another architecture, and runs unit and integration tests under user emulation. In the
# integration tests all programs are for it; only Python is this machine's. Its packages go into a temporary
# copy of this machine's file system, in a private mount namespace, so that nothing of it remains. Exits
# 77 if the machine or the archive does not allow it.
#   tests/emulated.sh arm64|armhf BUILD [MODULE...]: runs these integration tests, by default all; of "-" none.
#   Binaries and logs stay in BUILD/arm64 or BUILD/armhf.
# tests/emulated/skipped lists the tests that the emulator cannot run, with the reasons; skipped-armhf more of them.
set -eu -o pipefail

arch=${1:?usage: emulated.sh arm64|armhf BUILD [MODULE...]}
case $arch in
arm64) machine=aarch64 triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 elf=AArch64 ;;
armhf) machine=arm triplet=arm-linux-gnueabihf loader=ld-linux-armhf.so.3 elf=ARM ;;
*) echo "emulated.sh: unknown architecture $arch" >&2; exit 2 ;;
esac
shift
libraries='libevent-dev libinih-dev libjansson-dev libncurses-dev libsmartcols-dev libsystemd-dev check'
emulator=/opt/emulated # in the copy: the emulator, and the libraries below it
populate="-E LD_PRELOAD=/usr/lib/populate.so"
skipped=/results/skipped

skip() {
    echo "SKIP the tests on $arch: $1"
    exit 77
}

# The packages are unpacked, not installed, because in a temporary copy nothing has to be configured or
# upgraded. The libraries are resolved as if no package was installed, because this machine's versions may
# not be had for another architecture; an index that fails is not missed if the others have all.
get_packages() {
    local archives=/tmp/archives options foreign
    options="-q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Dir::Cache::archives=$archives"
    foreign="-o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State::status=/dev/null
        -o Dir::State::lists=/tmp/lists -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
    mkdir -p $archives/partial /tmp/lists/partial
    timeout 120 apt-get $options update
    timeout 240 apt-get $options install -y --no-install-recommends --download-only gcc-$triplet qemu-user-static
    timeout 120 apt-get $options $foreign update || true
    timeout 240 apt-get $options $foreign install -y --no-install-recommends --download-only $libraries
    printf '%s\0' $archives/*.deb | xargs -0 -n 1 -P "$(nproc)" bash "$0" $arch --unpack
    rm -r $archives

    # On a ramfs, because mapped files of a tmpfs count as shared memory, and some tests count that.
    mkdir $emulator
    mount -t ramfs -o mode=0755 edgemind-emulated $emulator
    mkdir -p $emulator/usr/lib/$triplet
    ln -s usr/lib $emulator/lib
    cp -a /usr/lib/$triplet/*.so* $emulator/usr/lib/$triplet/
    cp -L /lib/$loader $emulator/usr/lib/
    cp /usr/bin/qemu-$machine-static $emulator/emulate

    # If the unpacked programs do not run at all, the tests are skipped.
    echo 'int main(void) { return 0; }' | $triplet-gcc -x c -o /tmp/probe - -Wl,--no-as-needed \
        -levent -linih -ljansson -lncursesw -lsmartcols -lsystemd -lcheck
    $emulator/emulate -L $emulator /tmp/probe
}

# unpack PACKAGE: does nothing if a package of this name is installed. This machine's programs stay.
unpack() {
    local name its_arch wanted=. but=
    name=$(dpkg-deb -f "$1" Package)
    its_arch=$(dpkg-deb -f "$1" Architecture)
    [ "$its_arch" = all ] || name=$name:$its_arch
    [ "$its_arch" != $arch ] || but='--exclude=./bin --exclude=./sbin --exclude=./usr/bin --exclude=./usr/sbin --exclude=./etc'
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ] || return 0
    case $name in qemu-user-static:*) wanted=./usr/bin/qemu-$machine-static ;; esac
    dpkg-deb --fsys-tarfile "$1" | tar -C / --keep-directory-symlink --wildcards \
        --exclude='./usr/share/[dlm]*' $but -xf - $wanted
}

# emulate PROGRAM: replaces it by a script that runs it in the emulator.
emulate() {
    local preload=""
    case $1 in */edgemindd) preload=$populate ;; esac
    mv "$1" "$1.emulated"
    printf '#!/bin/bash\nexec %s/emulate -L %s -0 "$0" %s %s "$@"\n' $emulator $emulator "$preload" \
        "$1.emulated" >"$1"
    chmod 755 "$1"
}

# unit ROOM/TEST: if the test fails and the list names it, it counts as skipped.
unit() {
    local status=0 preload="" name=${1##*/} log=/results/logs/${1//\//.}.log
    case $name in test_arena_map | test_backing* | test_holes* | test_loader | test_monitor*) preload=$populate ;; esac
    # Emulation is slow, so the tests' own time limits are raised.
    CK_TIMEOUT_MULTIPLIER=20 timeout 900 $emulator/emulate -L $emulator $preload \
        /results/build/tests/unit/"$1" >"$log" 2>&1 </dev/null || status=$?
    awk -v unit="$name" -v status=$status '
        NR == FNR { reason[$1] = substr($0, length($1) + 2); next }
        /^[^ ]+:[0-9]+:[FE]:/ {
            split($0, part, ":")
            name = unit "." part[5]
            if (name in reason) {
                print "SKIP " name ": " reason[name]
                n_named++
                next
            }
            n_other++
        }
        /^[0-9]+%: Checks: / { closing = $0; next }
        { print }
        END {
            match(closing, /Checks: [0-9]+/)
            n = substr(closing, RSTART + 8, RLENGTH - 8)
            if (closing == "" || n_other || status && !n_named) {
                print (closing == "" ? "FAILED  " unit ": no closing line" : closing) ", status " status
                exit 1
            }
            print "100%: Checks: " n - n_named ", Failures: 0, Errors: 0"
        }' $skipped "$log"
}

integration() {
    local status=0
    cd tests/integration
    BUILD=/results/build TEST_SKIP=$skipped TEST_TIMEOUT=120 timeout 1800 python3 \
        -W error::ResourceWarning -m unittest -v "$1" >/results/logs/"$1".log 2>&1 </dev/null || status=1
    cat /results/logs/"$1".log
    return $status
}

# A process of 32 bits cannot map 3.8 GiB, though the machine has the memory.
check_addresses() {
    local said
    if [ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -lt 6000000 ]; then
        echo 'SKIP: an arena that does not fit in the address space: it needs 6 GB of RAM'
        return
    fi
    said=$(timeout 60 /results/build/edgemindd --capacity=3900M --commit=load --mlock=no --socket=/tmp/socket 2>&1 || true)
    echo "$said" | grep 'cannot map a capacity of 3.8 GiB: this process has addresses for .* GiB in one piece' >/dev/null ||
        { echo "FAILED  an arena that does not fit in the address space: $said"; exit 1; }
    echo 'ok      an arena that does not fit in the address space is refused'
}

# Runs in the copy: packages, build, tests. The results go to /results.
inside() {
    local compiler="make -j$(nproc) BUILD=/results/build CC=$triplet-gcc AR=$triplet-ar WERROR=1"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    bash "$0" $arch --packages >/results/packages.log 2>&1 ||
        { tail -n 5 /results/packages.log; skip 'the packages are not to be had'; }
    echo "packages: $SECONDS s"
    export PKG_CONFIG_LIBDIR=/usr/lib/$triplet/pkgconfig:/usr/share/pkgconfig
    $compiler all unit-tests test-programs >/results/build.log 2>&1 ||
        { tail -n 40 /results/build.log; exit 1; }
    unset PKG_CONFIG_LIBDIR
    $triplet-gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -fPIC -shared \
        -o $emulator/usr/lib/populate.so tests/emulated/populate.c
    echo "build: $SECONDS s"
    for file in edgemindd emctl libedgemind.so; do
        $triplet-readelf -h /results/build/$file | grep "Machine: *$elf\$" >/dev/null || exit 1
        echo "ok      $file is built for $arch"
    done
    for program in /results/build/{edgemindd,emctl,examples/*,tests/integration/*}; do
        case $program in *.[od]) ;; *) emulate $program ;; esac
    done
    for program in edgemindd emctl; do
        /results/build/$program --help >/dev/null || exit 1
        echo "ok      $program starts"
    done

    [ $arch != armhf ] || check_addresses
    local status=0
    [ $# -gt 0 ] || set -- $(cd tests/integration && printf '%s\n' test_*.py | sed 's/\.py$//')
    mkdir /results/logs
    cat tests/emulated/skipped >$skipped
    [ ! -e tests/emulated/skipped-$arch ] || cat tests/emulated/skipped-$arch >>$skipped
    find /results/build/tests/unit -type f -perm /100 -name 'test_*' -printf '%P\n' | sort |
        xargs -n 1 -P "$(nproc)" bash "$0" $arch --unit || status=1
    echo "unit tests: $SECONDS s"
    [ "$*" != - ] || return $status
    printf '%s\n' "$@" | sort -r | xargs -n 1 -P "$(nproc)" bash "$0" $arch --integration || status=1
    echo "integration tests: $SECONDS s"
    return $status
}

# In the namespace: the copy, on a tmpfs.
in_namespace() {
    local source=$1 work=$2 results=$3
    shift 3
    mount -t tmpfs -o mode=0755 edgemind-emulated "$work" || return 77
    cd "$work"
    mkdir upper overlay root
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" overlay root || return 77
    mkdir -p root/usr/src/edgemind root/results
    mount --bind "$results" root/results
    mount -t tmpfs -o mode=1777 edgemind-emulated root/tmp
    mount -t tmpfs -o mode=0755 edgemind-emulated root/run
    mount --rbind /dev root/dev
    # A test must not change settings of this machine or register an emulator with its kernel.
    mount -t proc proc root/proc && mount --bind root/proc/sys root/proc/sys &&
        mount -o remount,bind,ro root/proc/sys || return 77
    cat /etc/resolv.conf >"$work/resolv.conf"
    [ -s "$work/resolv.conf" ] && { rm -f root/etc/resolv.conf; cp "$work/resolv.conf" root/etc/; }
    tar -C "$source" --format=posix --exclude-vcs --exclude=./build -cf - . | tar -C root/usr/src/edgemind -xf -
    # The emulator's SO_PEERGROUPS has room for one group.
    exec chroot root setpriv --clear-groups /bin/bash /usr/src/edgemind/tests/emulated.sh $arch --inside "$@"
}

case ${1:-} in
--in-namespace) shift; in_namespace "$@"; exit ;;
--inside) shift; cd /usr/src/edgemind; inside "$@"; exit ;;
--packages) get_packages; exit ;;
--unpack) unpack "$2"; exit ;;
--unit) unit "$2"; exit ;;
--integration) integration "$2"; exit ;;
esac

build=${1:?usage: emulated.sh arm64|armhf BUILD [MODULE...]}
shift
source=$(realpath "$(dirname "$0")/..")
[ "$(id -u)" -eq 0 ] || skip 'only root can run it'
for program in apt-get dpkg-deb unshare setpriv python3; do
    command -v $program >/dev/null || skip "$program is not installed"
done
unshare -m true 2>/dev/null || skip 'mount namespaces are not allowed here'
[ "$(dpkg --print-architecture)" != $arch ] || skip "this is $arch already"
[ "$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)" -gt 4000000 ] || skip 'it needs 4 GB of RAM'

rm -rf "$build/$arch"
mkdir -p "$build/$arch"
work=$(mktemp -d "${TMPDIR:-/tmp}/edgemind-emulated-XXXXXX")
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

# The process namespace ends with its first process, and kills all others in it.
# The directory that TMPDIR names is not in there.
env -u TMPDIR unshare -m -p --fork --kill-child --propagation private -- \
    bash "$0" $arch --in-namespace "$source" "$work" "$(realpath "$build/$arch")" "$@" </dev/null &
running=$!
status=0
wait "$running" || status=$?
running=
[ "$status" -ne 77 ] || skip 'not possible here'
exit "$status"
