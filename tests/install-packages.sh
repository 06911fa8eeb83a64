#!/bin/sh
# Installs the missing Debian packages of a goal, and prints their names.
#   tests/install-packages.sh build|demo|deb|check|bench
set -eu

build='gcc libc6-dev make pkg-config libevent-dev libinih-dev libjansson-dev libncurses-dev libsmartcols-dev libsystemd-dev'
demo='jq'
deb='debhelper dh-python lintian python3'
check="ansible-lint check clang clang-format clang-tidy cppcheck dbus iproute2 libclang-rt-14-dev librsvg2-bin mandoc openssh-client procps prometheus python3 python3-numpy systemd systemd-container tmux util-linux valgrind varlink-go"
# sshd's package also starts it for everybody, so it is installed only where nothing starts services, as in a container.
[ -d /run/systemd/system ] || check="$check openssh-server"
# Where another package has kubectl, Debian's cannot be installed.
command -v kubectl >/dev/null || check="$check kubernetes-client"
bench='fio jq memcached python3 redis-server redis-tools util-linux'

case ${1:?usage: install-packages.sh build|demo|deb|check|bench} in
build) wanted=$build ;;
demo) wanted="$build $demo" ;;
deb) wanted="$build $deb" ;;
check) wanted="$build $demo $deb $check" ;;
bench) wanted="$build $bench" ;;
*) echo "install-packages.sh: unknown goal $1" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian; make sure that the equivalents of these are installed: $wanted"
    exit 0
fi
missing=
for package in $wanted; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Missing packages. Run as root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q=2 >/dev/null
apt-get install -q=2 --no-install-recommends $missing >/dev/null
