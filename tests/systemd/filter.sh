#!/bin/bash
# Runs the integration tests as the service's user, with all restrictions of the unit, in particular its
# system call filter. They take minutes, and `make check` also runs them without the restrictions. So
# boot.sh runs this only if it is named, as after a change of the unit or of a library:
# tests/systemd/boot.sh BUILD filter
. tests/systemd/lib.sh

# skip FILE NAME REASON: a class or a test that cannot run there.
skip() {
    sed -i -E "s/^( *)(class|def) $2\\b.*/\\1@unittest.skip(\"$3\")\\n&/" "tests/integration/$1" &&
        grep -qF "@unittest.skip(\"$3\")" "tests/integration/$1"
}
# below_the_unit NAME COMMAND: runs the command in a unit with the service's user and sandbox, except for
# settings with which Python cannot run.
below_the_unit() {
    {
        echo '[Service]'
        echo 'Type=oneshot'
        echo 'User=edgemind'
        echo "WorkingDirectory=$PWD/tests/integration"
        echo "Environment=BUILD=$PWD/build PYTHONDONTWRITEBYTECODE=1"
        echo 'TimeoutStartSec=infinity'
        echo 'ReadWritePaths=/results'
        echo 'LimitMEMLOCK=8M'
        echo "ExecStart=$2"
        echo "StandardOutput=append:/results/$1"
        echo 'StandardError=inherit'
        sed -n '/^CapabilityBoundingSet=/,/^\[Install\]/p' systemd/edgemindd.service |
            grep -E '^[A-Z]' | grep -vE '^(NoExecPaths|ExecPaths)='
    } >"/run/systemd/system/$1.service"
}

check 'make install' make install PREFIX=/usr BUILD=build
# On a disk, because on a tmpfs a program's pages count as shared memory, and there are no direct reads.
cp -r /usr/src/edgemind /results/edgemind && cd /results/edgemind || exit 1
check 'no strace(1)' skip test_weights_faults.py Faults 'the filter forbids ptrace(2), which strace(1) needs'
check 'no make(1)' skip test_library_linking.py test_installed 'the filter forbids setresuid(2), which make(1) needs'
chown -R edgemind .
# Runs two lanes in parallel, each with every other file.
lanes=([0]='' [1]='') i=0
for file in tests/integration/test_*.py; do
    lanes[i++ % 2]+=" $(basename "$file" .py)"
done
for lane in 0 1; do
    below_the_unit "lane$lane" "python3 -W error::ResourceWarning -m unittest -v${lanes[lane]}"
done
systemctl daemon-reload
check 'the integration tests' systemctl start lane0.service lane1.service
cat /results/lane[01]
finish
