#!/bin/bash
# The integration tests as the service's user, below everything that the unit forbids: its system call
# filter above all. They take minutes and are those of `make check`, so boot.sh runs this only when it
# is named, as after a change to the unit or of a library: tests/systemd/boot.sh BUILD filter
. tests/systemd/lib.sh

# skip FILE NAME REASON: a class or a test that cannot run there.
skip() {
    sed -i -E "s/^( *)(class|def) $2\\b.*/\\1@unittest.skip(\"$3\")\\n&/" "tests/integration/$1" &&
        grep -qF "@unittest.skip(\"$3\")" "tests/integration/$1"
}
# below_the_unit NAME COMMAND: a unit that has the service's user and its sandbox, but for what keeps
# Python from running.
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
# On a disk: a program's pages on a tmpfs count as shared memory, and there are no direct reads.
cp -r /usr/src/edgemind /results/edgemind && cd /results/edgemind || exit 1
check 'no strace(1)' skip test_weights_faults.py Faults 'the filter forbids ptrace(2), which strace(1) needs'
check 'no make(1)' skip test_library_linking.py test_installed 'the filter forbids setresuid(2), which make(1) needs'
chown -R edgemind .
# In two lanes, every other file each.
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
