"""One user does as much of one kind as the daemon allows, and tries to do more. Meanwhile the other
clients are answered, rightly, and the daemon's memory beside the arena stays below overhead-limit, as an
observer reads it once a millisecond. When the flood is over, nothing of it is left.

The floods are those of tests/bench/hogs.sh, which measures how long others wait."""
import os
import subprocess
import sys
import time
import unittest

from harness import FFN10, MIB, ROOT, sanitized, sized_model, wait_until
from leasing import Leaser, LeaseTestCase
from machine import needs_root
from observing import Observer

SECONDS = 2.5  # of each flood, after it has begun
PATIENCE = 5  # seconds; a bystander who waits longer is starved
CAPACITY, OVERHEAD_LIMIT = 50 * MIB, 64 * MIB
BYSTANDER = 65533  # the floods are another user's
FLOODS = ROOT / "tests" / "bench" / "hog.py"
SIZES = [300_000, MIB, 5, 70_001]


@needs_root  # for two users: the clients of one user wait for each other
class Floods(LeaseTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(capacity=CAPACITY, policy="lru", log_level="warning",
                                 max_connections=10_000, max_connections_per_user=9_900)
        self.layers = self.load_weights("weights", SIZES)
        for definition in FFN10.read_text(), sized_model("big", 44 * MIB):
            self.daemon.call("LoadModel", definition=definition)
        self.daemon.call("LoadLayer", model="ffn10", layer="dense_0")
        self.n_fds = self.daemon.n_fds_at_rest()

    def bystander(self):
        os.seteuid(BYSTANDER)  # the kernel notes it when the connection is made
        try:
            client = Leaser(self.daemon)
        finally:
            os.seteuid(0)
        self.addCleanup(client.close)
        return client

    def look(self, client):
        self.assertEqual(client.call("Stats")["arena"]["capacityBytes"], CAPACITY)

    def lease(self, client, number):
        layer = "b.%d" % (number % len(SIZES))
        reply = client.lease(model="weights", layer=layer)
        self.assertTrue(client.read(reply) == self.layers[layer], layer)
        client.release(reply)

    def come_and_go(self):
        client = self.bystander()
        self.look(client)
        client.close()

    def assertServed(self, *deed):
        begin = time.monotonic()
        deed[0](*deed[1:])
        self.assertLess(time.monotonic() - begin, PATIENCE)

    def stand_by(self, flood):
        """What the others do meanwhile."""
        client, number = self.bystander(), 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.assertServed(self.look, client)
            self.assertServed(self.lease, client, number)
            if number % 10 == 0:
                self.assertServed(self.come_and_go)
            number += 1
            time.sleep(0.002)
        self.assertIsNone(flood.poll(), "the flood ended by itself")
        client.close()

    def endure(self, kind):
        limits = {"capacity": CAPACITY, "threads": self.daemon.status()["Threads"]}
        if not sanitized():
            limits["overhead"] = OVERHEAD_LIMIT
        observer = Observer(self.daemon, limits)
        self.addCleanup(observer.discard)
        flood = subprocess.Popen([sys.executable, FLOODS, str(self.daemon.socket), kind],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.assertEqual(flood.stdout.readline(), b"ready\n")
            self.stand_by(flood)
        finally:
            flood.kill()
            flood.communicate()
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == 1, "the flood to end")
        seen, breaches = observer.finish()
        self.assertEqual(breaches, "")
        self.assertGreater(seen["looks"], 0)
        self.assertNothingLeft(self.n_fds)

    def test_connections(self):
        """10,000."""
        self.endure("connections")

    def test_half_open(self):
        """1,000 connections with half of a call each."""
        self.endure("half-open")

    def test_pipelined_stats(self):
        self.endure("pipelined-stats")

    def test_pipelined_lists(self):
        self.endure("pipelined-lists")

    def test_unread_lists(self):
        self.endure("unread-lists")

    def test_watchers(self):
        """240, which never read."""
        self.endure("watchers")

    def test_descriptors(self):
        """253 with each call."""
        self.endure("descriptors")

    def test_half_messages(self):
        """253 descriptors with half of a call."""
        self.endure("half-messages")

    def test_plans(self):
        """The largest that are allowed, and as many as a user may have."""
        self.endure("plans")

    def test_busy_leases(self):
        self.endure("busy-leases")


if __name__ == "__main__":
    unittest.main()
