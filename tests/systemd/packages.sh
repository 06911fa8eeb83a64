#!/bin/bash
# The Debian packages: install, use, upgrade, remove, purge.
. tests/systemd/lib.sh

if ! ls $debs/edgemindd_*.deb >/dev/null 2>&1; then
    echo 'SKIP the packages: debhelper and dh-python are not installed'
    exit 0
fi
version=$(package_version)
stopped() { ! systemctl is-active "$1"; }
rm -f /var/lib/man-db/auto-update # or every call of dpkg would index all manuals

if command -v lintian >/dev/null; then
    check 'lintian finds no error and no warning' \
        lintian --allow-root --fail-on error,warning $debs/edgemind_*.changes
else
    echo 'SKIP lintian: it is not installed'
fi

# --- install
check 'dpkg -i' install_packages $debs
check 'the user is there' id edgemind
check 'the service runs' systemctl is-active edgemindd.service edgemindd.socket
check 'and will after a boot' systemctl is-enabled edgemindd.service edgemindd.socket
check 'the socket is for the group' owned $socket root:edgemind 660
check 'the configuration is a conffile' bash -c \
    "dpkg-query -W -f '\${Conffiles}' edgemindd | grep -F $conf"
check 'emctl load-model ffn10.json' emctl load-model ffn10.json
check 'four layers are resident' stats '.scheduler.layersLoaded == 4'
check 'the manuals are there' bash -c \
    'for page in edgemindd.8 emctl.1 libedgemind.3 edgemind-view.7; do ls /usr/share/man/man?/$page.gz || exit 1; done'
check 'a program runs on the arena, through the packaged library' bash -c \
    'emctl exec -- env | grep -E "^LD_PRELOAD=/usr/lib/[^/]+/edgemind/libedgemind-view.so$"'
check 'the completion is there' bash -c '. /usr/share/bash-completion/completions/emctl && complete -p emctl'
check 'a program builds with the library' bash -c \
    'echo "#include <edgemind.h>
     int main(void) { struct edgemind *em = edgemind_new(); edgemind_free(em); return !em; }" >/tmp/use.c &&
     cc -Wall -Werror -o /tmp/use /tmp/use.c $(pkg-config --cflags --libs edgemind) && /tmp/use'
check 'and needs its package only' bash -c 'ldd /tmp/use | grep -F libedgemind.so.0'
check 'the Python module is there' bash -c 'cd / && python3 -c "import edgemind"'

# --- upgrade
set_option capacity 20M
make_instance lab 8M && systemctl start edgemindd@lab.service || n_failed=$((n_failed + 1))
pid=$(systemctl show -P MainPID edgemindd.service)
lab_pid=$(systemctl show -P MainPID edgemindd@lab.service)
inode=$(stat -c %i $socket)
check 'a higher version' higher /tmp/higher "$version+1"
check 'dpkg -i of it' install_packages /tmp/higher --force-confold
check 'it is installed' test "$(dpkg-query -W -f '${Version}' edgemindd)" = "$version+1"
check 'the service runs' systemctl is-active edgemindd.service
check 'in a new process' test "$(systemctl show -P MainPID edgemindd.service)" != "$pid"
check 'as does the instance' test "$(systemctl show -P MainPID edgemindd@lab.service)" != "$lab_pid"
check 'the socket never went' test "$(stat -c %i $socket)" = "$inode"
check 'the changed configuration was kept' stats '.arena.capacityBytes == 20 * 1048576'

# --- what is switched off stays off
systemctl disable --now --quiet edgemindd.service edgemindd.socket
check 'the same version again' install_packages /tmp/higher --force-confold
check 'it stays stopped' stopped edgemindd.service
check 'and disabled' exits 1 systemctl is-enabled edgemindd.service
systemctl enable --now --quiet edgemindd.service edgemindd.socket

# --- remove, purge
packages='edgemindd emctl libedgemind0 libedgemind-dev python3-edgemind'
check 'dpkg -r' dpkg -r $packages
check 'the service is stopped' stopped edgemindd.service
check 'as is the instance' stopped edgemindd@lab.service
check 'the configuration is left' grep -q '^capacity = 20M' $conf
check 'no program is' bash -c '! ls /usr/sbin/edgemindd /usr/bin/emctl /usr/lib/*/libedgemind.so* 2>/dev/null'
check 'installing again' install_packages /tmp/higher --force-confold
check 'takes the configuration up' stats '.arena.capacityBytes == 20 * 1048576'
rm /etc/edgemind/lab.conf
check 'dpkg --purge' dpkg --purge $packages
remains=$(find /usr /lib /etc /var/lib/systemd -name '*edgemind*' -not -path '/usr/src/*' -not -name '*edgemind-test*' | sort -u)
check 'leaves nothing but the user' test -z "$remains"
[ -z "$remains" ] || printf '        %s\n' $remains
check 'which is still there' id edgemind
finish
