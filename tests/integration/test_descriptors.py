"""The want of descriptors: half messages do not take them all, and without any left a client gets an
error and keeps what it has."""
import os
import resource
import unittest

from harness import TestCase, sized_model, wait_until
from machine import NOBODY

N_FILES = 1024  # that the daemon may open


class Descriptors(TestCase):
    options = {"process": {"preexec_fn": lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (N_FILES, N_FILES))}}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=MODEL)

    def test_half_messages(self):
        """Of two users take half of the table; both end soon, and the others work meanwhile."""
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        before = self.daemon.n_fds()
        halves = [self.connect_as(NOBODY - i % 2) for i in range(32)]
        for c in halves:
            c.send(b"{", [null] * 253)
        self.daemon.stats()
        self.assertLessEqual(self.daemon.n_fds(), before + len(halves) + N_FILES // 2 + 1)
        with self.daemon.connect() as root:
            self.assertIn("lease", root.call("Acquire", model="m", layer="l0"))
        wait_until(lambda: self.daemon.n_fds() < before + len(halves) + 10, "the end of all of them")

    def test_surplus(self):
        """Is refused by a typed error, and the connection stays."""
        null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, null)
        halves = [self.connect_as(NOBODY) for _ in range(4)]
        for c in halves:
            c.send(b"{", [null] * 253)
        with self.connect_as(NOBODY) as c:
            found = self.assertVarlinkError("IOFailed", c.call, "Plan", {
                "definitionFileDescriptor": 0}, [null] * 253)
            self.assertEqual(found["errnoName"], "EMFILE")
            c.call("List")

    def test_acquire(self):
        """Without a descriptor left: an error; the leases, and other connections, stay."""
        with self.daemon.connect() as holder, self.daemon.connect() as c:
            lease = holder.call("Acquire", model="m", layer="l0")["lease"]
            self.daemon.stats()
            resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (3, N_FILES))
            try:
                found = self.assertVarlinkError("IOFailed", c.call, "Acquire", model="m",
                                                layer="l1")
                self.assertEqual(found["errnoName"], "EMFILE")
                self.assertIn("lease", holder.call("Acquire", model="m", layer="l1"))
            finally:
                resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (N_FILES, N_FILES))
            self.assertIn("lease", c.call("Acquire", model="m", layer="l1"))
            holder.call("Release", lease=lease)


MODEL = sized_model("m", 4096, 4096)

if __name__ == "__main__":
    unittest.main()
