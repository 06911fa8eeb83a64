"""The journal of a test: it takes a daemon's entries in place of systemd's, in a mount namespace. Needs root."""
import shutil
import socket
import struct
import unittest

from harness import run
from machine import IS_ROOT

# Puts $0 in the place of the journal's socket, and says that standard error is a stream of the journal.
ENTER = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal && touch /run/systemd/journal/socket &&
mount --bind "$0" /run/systemd/journal/socket || exit 9
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM && exec "$@"
"""


def can_mount():
    return IS_ROOT and shutil.which("unshare") and run("unshare", "-m", "mount", "-t", "tmpfs", "none", "/run").code == 0


needs_journal = unittest.skipUnless(can_mount(), "needs a mount namespace")


class Journal:
    """`prefix` are the words before the program whose entries it takes."""

    def __init__(self, test):
        path = test.directory() / "journal"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        test.addCleanup(self.socket.close)
        self.socket.bind(str(path))
        self.socket.settimeout(60)
        self.prefix = ("unshare", "-m", "sh", "-c", ENTER, path)

    def entry(self):
        """The fields of the next entry, in the native protocol of systemd-journald."""
        fields, data = {}, self.socket.recv(1 << 16)
        while data:
            line, _, data = data.partition(b"\n")
            name, is_short, value = line.partition(b"=")
            if not is_short:
                length, = struct.unpack_from("<Q", data)
                value, data = data[8:8 + length], data[8 + length + 1:]
            fields[name.decode()] = value.decode()
        return fields

    def find(self, **fields):
        """The next entry with these fields."""
        while True:
            entry = self.entry()
            if fields.items() <= entry.items():
                return entry
