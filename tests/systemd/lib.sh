# Common parts of the tests in the container. Prints one line per check, and the journal on failure.
# shellcheck shell=bash
set -u -o pipefail

conf=/etc/edgemind/edgemindd.conf
socket=/run/edgemind/io.edgemind.manager
n_failed=0

# check TEXT COMMAND...
check() {
    local text=$1 output status=0
    shift
    output=$("$@" 2>&1) || status=$?
    if [ $status -eq 0 ]; then
        echo "ok      $text"
    else
        echo "FAILED  $text"
        printf '%s\n' "\$ $*" "$output" "exit status $status" | sed 's/^/        /'
        n_failed=$((n_failed + 1))
    fi
}

# exits STATUS COMMAND...
exits() {
    local expected=$1 status=0
    shift
    "$@" || status=$?
    [ $status -eq "$expected" ]
}

# soon COMMAND...: until it succeeds, for at most 10 s.
soon() {
    local deadline=$((SECONDS + 10)) output
    until output=$("$@" 2>&1); do
        if [ $SECONDS -ge $deadline ]; then
            printf '%s\n' "$output"
            return 1
        fi
        sleep 0.05
    done
}

shows() { # PROPERTY VALUE
    local value
    value=$(systemctl show -P "$1" edgemindd.service)
    echo "$1=$value"
    [[ $value == $2 ]]
}
differs() { ! shows "$1" "$2"; }
stats() { emctl stats --json | tee /dev/stderr | jq -e "$1"; }
journal() { # MATCH... -- PATTERN
    local matches=()
    while [ "$1" != -- ]; do
        matches+=("$1")
        shift
    done
    journalctl --sync
    journalctl --no-pager -o cat -u edgemindd.service ${matches[@]+"${matches[@]}"} | grep -E -- "$2"
}
as() { # USER COMMAND...
    local user=$1
    shift
    runuser -u "$user" -- "$@"
}
finish() {
    if [ $n_failed -gt 0 ]; then
        echo '--- the journal'
        journalctl --no-pager -o short-precise -u 'edgemindd*' | tail -n 200
    fi
    [ $n_failed -eq 0 ]
    exit
}
process_status() { # FIELD: a line of the daemon's /proc/PID/status, without its name
    sed -n "s/^$1:[[:space:]]*//p" "/proc/$(systemctl show -P MainPID edgemindd.service)/status"
}
# The programs are on a tmpfs here, so some of their pages count as shared memory, too.
arena_is() { # FIELD KIB
    local kib
    kib=$(process_status "$1" | sed 's/ kB//')
    echo "$1=$kib"
    [ "$kib" -ge "$2" ] && [ "$kib" -lt $(($2 + 1024)) ]
}
owned() { # PATH OWNER MODE
    [ "$(stat -c '%U:%G %a' "$1" | tee /dev/stderr)" = "$2 $3" ]
}
set_option() { # NAME VALUE
    sed -i "/^$1 =/d" $conf && echo "$1 = $2" >>$conf
}
shipped_conf() { cp systemd/edgemindd.conf $conf; }

# --- packages
debs=build/deb
package_version() { dpkg-deb -f $debs/edgemindd_*.deb Version; }
# higher DIRECTORY VERSION: copies the built packages with a higher version number.
higher() {
    local package tree old
    old=$(package_version)
    mkdir -p "$1"
    for package in $debs/*.deb; do
        case $package in *-dbgsym_*) continue ;; esac
        tree=$(mktemp -d)
        dpkg-deb -R "$package" "$tree" &&
            sed -i "s/^Version: .*/Version: $2/; s/= $old)/= $2)/" "$tree/DEBIAN/control" &&
            dpkg-deb -b "$tree" "$1" >/dev/null || return
        rm -r "$tree"
    done
}
# install_packages DIRECTORY [OPTION...]: installs packages from files, without questions.
install_packages() {
    local directory=$1 packages=()
    shift
    for package in "$directory"/*.deb; do
        case $package in *-dbgsym_*) ;; *) packages+=("$package") ;; esac
    done
    DEBIAN_FRONTEND=noninteractive dpkg -i "$@" "${packages[@]}" </dev/null
}
# make_instance NAME CAPACITY: user, group and configuration.
make_instance() {
    systemd-sysusers --inline "u edgemind-$1 - \"EdgeMind for $1\"" 2>/dev/null &&
        printf 'capacity = %s\n' "$2" >/etc/edgemind/"$1".conf
}
