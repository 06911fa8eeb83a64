#!/bin/bash
# Cross-builds for arm64, and runs unit and integration tests under user emulation. In the integration
# tests all programs are for arm64; only Python is this machine's. The arm64 packages go into a temporary
# copy of this machine's file system, in a private mount namespace, so that nothing of it remains. Exits
# 77 if the machine or the archive does not allow it.
#   tests/arm64.sh BUILD [MODULE...]: runs these integration tests, by default all. Binaries and logs
#   stay in BUILD/arm64.
# tests/arm64/skipped lists the tests that the emulator cannot run, with the reasons.
set -eu -o pipefail

machine=aarch64
triplet=$machine-linux-gnu
libraries='libevent-dev libinih-dev libjansson-dev libncurses-dev libsmartcols-dev libsystemd-dev check'
emulator=/opt/arm64 # in the copy: the emulator, and the libraries below it
populate="-E LD_PRELOAD=/usr/lib/populate.so"
skipped=tests/arm64/skipped

skip() {
    echo "SKIP the tests on arm64: $1"
    exit 77
}

# The packages are unpacked, not installed, because in a temporary copy nothing has to be configured or
# upgraded.
get_packages() {
    local archives=/tmp/archives options foreign
    options="-q -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Dir::Cache::archives=$archives"
    foreign=$(printf '%s:arm64 ' $libraries)
    mkdir -p $archives/partial
    dpkg --add-architecture arm64
    timeout 120 apt-get $options update
    timeout 240 apt-get $options install -y --no-install-recommends --download-only \
        gcc-$triplet qemu-user-static $foreign
    printf '%s\0' $archives/*.deb | xargs -0 -n 1 -P "$(nproc)" bash "$0" --unpack
    rm -r $archives

    # On a ramfs, because mapped files of a tmpfs count as shared memory, and some tests count that.
    mkdir $emulator
    mount -t ramfs -o mode=0755 edgemind-arm64 $emulator
    mkdir -p $emulator/usr/lib/$triplet
    ln -s usr/lib $emulator/lib
    cp -a /usr/lib/$triplet/*.so* $emulator/usr/lib/$triplet/
    cp -L /lib/ld-linux-$machine.so.1 $emulator/usr/lib/
    cp /usr/bin/qemu-$machine-static $emulator/emulate

    # If the unpacked programs do not run at all, the tests are skipped.
    echo 'int main(void) { return 0; }' | $triplet-gcc -x c -o /tmp/probe - -Wl,--no-as-needed \
        -levent -linih -ljansson -lncursesw -lsmartcols -lsystemd -lcheck
    $emulator/emulate -L $emulator /tmp/probe
}

# unpack PACKAGE: does nothing if a package of this name is installed.
unpack() {
    local name arch wanted=.
    name=$(dpkg-deb -f "$1" Package)
    arch=$(dpkg-deb -f "$1" Architecture)
    [ "$arch" = all ] || name=$name:$arch
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ] || return 0
    case $name in qemu-user-static:*) wanted=./usr/bin/qemu-$machine-static ;; esac
    dpkg-deb --fsys-tarfile "$1" | tar -C / --keep-directory-symlink --wildcards \
        --exclude='./usr/share/[dlm]*' -xf - $wanted
}

# emulate PROGRAM: replaces it by a script that runs it in the emulator.
emulate() {
    local preload=""
    case $1 in */edgemindd) preload=$populate ;; esac
    mv "$1" "$1.arm64"
    printf '#!/bin/bash\nexec %s/emulate -L %s -0 "$0" %s %s "$@"\n' $emulator $emulator "$preload" \
        "$1.arm64" >"$1"
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
    BUILD=/results/build TEST_SKIP=/usr/src/edgemind/$skipped TEST_TIMEOUT=120 timeout 1800 python3 \
        -W error::ResourceWarning -m unittest -v "$1" >/results/logs/"$1".log 2>&1 </dev/null || status=1
    cat /results/logs/"$1".log
    return $status
}

# Runs in the copy: packages, build, tests. The results go to /results.
inside() {
    local compiler="make -j$(nproc) BUILD=/results/build CC=$triplet-gcc AR=$triplet-ar WERROR=1"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    bash "$0" --packages >/results/packages.log 2>&1 ||
        { tail -n 5 /results/packages.log; skip 'the packages are not to be had'; }
    echo "packages: $SECONDS s"
    export PKG_CONFIG_LIBDIR=/usr/lib/$triplet/pkgconfig:/usr/share/pkgconfig
    $compiler all unit-tests test-programs >/results/build.log 2>&1 ||
        { tail -n 40 /results/build.log; exit 1; }
    unset PKG_CONFIG_LIBDIR
    $triplet-gcc -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -fPIC -shared \
        -o $emulator/usr/lib/populate.so tests/arm64/populate.c
    echo "build: $SECONDS s"
    for file in edgemindd emctl libedgemind.so; do
        $triplet-readelf -h /results/build/$file | grep 'Machine: *AArch64' >/dev/null || exit 1
        echo "ok      $file is built for arm64"
    done
    for program in /results/build/{edgemindd,emctl,examples/*,tests/integration/*}; do
        case $program in *.[od]) ;; *) emulate $program ;; esac
    done
    for program in edgemindd emctl; do
        /results/build/$program --help >/dev/null || exit 1
        echo "ok      $program starts"
    done

    local status=0
    [ $# -gt 0 ] || set -- $(cd tests/integration && printf '%s\n' test_*.py | sed 's/\.py$//')
    mkdir /results/logs
    find /results/build/tests/unit -type f -perm /100 -name 'test_*' -printf '%P\n' | sort |
        xargs -n 1 -P "$(nproc)" bash "$0" --unit || status=1
    echo "unit tests: $SECONDS s"
    printf '%s\n' "$@" | sort -r | xargs -n 1 -P "$(nproc)" bash "$0" --integration || status=1
    echo "integration tests: $SECONDS s"
    return $status
}

# In the namespace: the copy, on a tmpfs.
in_namespace() {
    local source=$1 work=$2 results=$3
    shift 3
    mount -t tmpfs -o mode=0755 edgemind-arm64 "$work" || return 77
    cd "$work"
    mkdir upper overlay root
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" overlay root || return 77
    mkdir -p root/usr/src/edgemind root/results
    mount --bind "$results" root/results
    mount -t tmpfs -o mode=1777 edgemind-arm64 root/tmp
    mount -t tmpfs -o mode=0755 edgemind-arm64 root/run
    mount --rbind /dev root/dev
    # A test must not change settings of this machine or register an emulator with its kernel.
    mount -t proc proc root/proc && mount --bind root/proc/sys root/proc/sys &&
        mount -o remount,bind,ro root/proc/sys || return 77
    cat /etc/resolv.conf >"$work/resolv.conf"
    [ -s "$work/resolv.conf" ] && { rm -f root/etc/resolv.conf; cp "$work/resolv.conf" root/etc/; }
    tar -C "$source" --format=posix --exclude-vcs --exclude=./build -cf - . | tar -C root/usr/src/edgemind -xf -
    # The emulator's SO_PEERGROUPS has room for one group.
    exec chroot root setpriv --clear-groups /bin/bash /usr/src/edgemind/tests/arm64.sh --inside "$@"
}

case ${1:-} in
--in-namespace) shift; in_namespace "$@"; exit ;;
--inside) shift; cd /usr/src/edgemind; inside "$@"; exit ;;
--packages) get_packages; exit ;;
--unpack) unpack "$2"; exit ;;
--unit) unit "$2"; exit ;;
--integration) integration "$2"; exit ;;
esac

build=${1:?usage: arm64.sh BUILD [MODULE...]}
shift
source=$(realpath "$(dirname "$0")/..")
[ "$(id -u)" -eq 0 ] || skip 'only root can run it'
for program in apt-get dpkg-deb unshare setpriv python3; do
    command -v $program >/dev/null || skip "$program is not installed"
done
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

# The process namespace ends with its first process, and kills all others in it.
unshare -m -p --fork --kill-child --propagation private -- \
    bash "$0" --in-namespace "$source" "$work" "$(realpath "$build/arm64")" "$@" </dev/null &
running=$!
status=0
wait "$running" || status=$?
running=
[ "$status" -ne 77 ] || skip 'not possible here'
exit "$status"
