"""The soak can fail: each test plants a fault, and the soak must find it. BUILD names the directory of
the programs (default: build)."""
import threading
import time
import unittest
from unittest import mock

import soak
import harness
import process
from client import Failed
from test_memory import writable_arena

SEED, N_CLIENTS = 5, 6
LONG = 120  # seconds; the soak ends when it finds a fault


class Planted(unittest.TestCase):
    def assertFound(self, what, plant=lambda found: None, seconds=LONG, **options):
        with self.assertRaisesRegex(Failed, what):
            soak.storm(SEED, seconds, plant, **{"n_clients": N_CLIENTS, **options})

    def test_nothing(self):
        """Without a fault it ends well, and has done something."""
        done, seen = soak.storm(SEED, 3, n_clients=N_CLIENTS)
        self.assertGreater(done["evictions"], 0)
        self.assertGreater(done["steps"], N_CLIENTS)
        self.assertGreater(done["layers_read"], 0)
        self.assertGreater(seen["looks"], 100)
        self.assertGreater(seen["arena_bytes"], 0)

    def test_a_wrong_byte(self):
        def plant(storm):
            for key in storm.models.layers:
                if key[0] == "g":
                    storm.models.digests[key] = {"0" * 64}
        self.assertFound("wrong bytes in g/blk", plant)

    def test_limits(self):
        """A capacity that is one page smaller, and the other limits one less than what is used."""
        with self.assertRaises(Failed) as caught:
            soak.storm(SEED, 1, n_clients=N_CLIENTS, commit="boot", limits={
                "capacity": soak.CAPACITY - harness.PAGE, "overhead": 1 << 20, "descriptors": 10,
                "threads": 2})
        for figure in "arena_bytes", "overhead_bytes", "descriptors", "threads":
            self.assertIn("breach: " + figure, str(caught.exception))
        self.assertIn("arena_bytes is %d" % soak.CAPACITY, str(caught.exception))

    def test_a_page_too_many_for_a_moment(self):
        def disturb(storm):
            time.sleep(0.5)
            with writable_arena(storm.service) as arena:
                harness.os.pwrite(arena, b"x", soak.CAPACITY)
                time.sleep(0.3)
                harness.os.ftruncate(arena, soak.CAPACITY)

        def plant(storm):
            threading.Thread(target=disturb, args=(storm,)).start()
        with mock.patch.dict(soak.DISTURBANCES, kill_daemon=0):
            self.assertFound("arena_bytes is %d" % (soak.CAPACITY + harness.PAGE), plant, seconds=2,
                             commit="boot")

    def test_a_connection_that_ends_for_no_reason(self):
        """A kill that the clients do not know of."""
        def plant(storm):
            storm.shared.turn_epoch = lambda: None
        with mock.patch.dict(soak.DISTURBANCES, kill_daemon=100):
            self.assertFound("the daemon closed a connection, and was not killed", plant)

    def test_a_daemon_that_ends(self):
        self.assertFound("the daemon", lambda storm: storm.service.process.kill())

    def test_a_descriptor_that_is_left(self):
        def plant(storm):
            n_fds, n_threads = storm.at_rest
            storm.at_rest = n_fds - 1, n_threads
        with mock.patch.object(harness, "TIMEOUT", 3):
            self.assertFound("descriptors and threads, and at the start", plant, seconds=1)

    def test_a_lease_that_is_left(self):
        def plant(storm):
            self.left = storm.service.connect()
        with mock.patch.object(harness, "TIMEOUT", 3), mock.patch.dict(soak.DISTURBANCES, kill_daemon=0):
            self.addCleanup(lambda: self.left.close())
            with self.assertRaisesRegex(AssertionError, "connections to end"):
                soak.storm(SEED, 1, plant, n_clients=N_CLIENTS)


class Replay(unittest.TestCase):
    def choices(self, seed):
        return [process.choice(seed, number, life, step)[0]
                for number in range(3) for life in range(2) for step in range(50)]

    def test_seed(self):
        """The same seed makes the same choices, another one others."""
        self.assertEqual(self.choices(3), self.choices(3))
        self.assertNotEqual(self.choices(3), self.choices(4))
        first, second = (process.choice(3, 1, 0, 7)[1].random() for _ in range(2))
        self.assertEqual(first, second)


if __name__ == "__main__":
    unittest.main()
