"""libedgemind connects to a daemon that knows nothing of the one before."""
import unittest

from harness import MIB
from library_program import LibraryTestCase


class Reconnecting(LibraryTestCase):
    """Connects again to a new daemon that has nothing of the old one."""

    def setUp(self):
        super().setUp()
        self.path = self.directory() / "socket"
        self.begin()

    def begin(self):
        self.daemon = self.start(capacity="8M", socket=self.path)
        self.daemon.socket = self.path

    def test_while_all_is_well(self):
        layers = self.load_weights("m", [MIB, 2 * MIB])
        program = self.program()
        places = [program.acquire(i, "m", "b.%d" % i) for i in range(2)]
        program.begin(2, "m")
        program.next(2)
        n_fds = program.n_fds()
        hits = self.daemon.stats()["scheduler"]["hits"]
        program.check()
        program.reconnect()
        program.check()
        self.assertEqual([program.show(i) for i in range(2)], places)
        self.assertEqual(self.daemon.stats()["scheduler"]["hits"], hits + 3)
        self.assertEqual(program.mappings(), ["r--s"])
        self.assertEqual(program.n_fds(), n_fds)
        self.assertEqual(program.bytes(1), layers["b.1"])
        self.assertEqual(program.bytes(2), layers["b.0"])
        self.assertEqual(program.next(2)[:3], ["b.1", "1", "0"])
        program.end(2)
        for i in range(2):
            self.give_back(program, i)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertEqual(self.daemon.stats()["control"]["connections"], 2)

    def restart(self):
        """Another daemon on the same socket."""
        self.daemon.discard()
        self.begin()

    def test_to_another_daemon(self):
        data = self.scatter()
        program = self.program()
        program.acquire(0, "big", "b.0")
        program.begin(1, "small")
        program.next(1)
        self.restart()
        self.assertFails("ECONNRESET", program.check)
        failure = self.assertFails("ESTALE", program.acquire, 2, "big", "b.0")
        self.assertIn("layer b.0 of model big is lost: there is no model big", failure.text)
        self.assertFails("ESTALE", program.check)
        self.assertEqual(program.bytes(0), data)  # the old arena is mapped still
        self.assertFails("NotFound", program.reconnect)
        self.load_weights("other", [MIB], seed=8)
        layers = self.load_weights("big", [MIB * 7 // 2])
        self.assertEqual(layers["b.0"], data)
        self.assertFails("NotFound", program.reconnect)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)  # all or nothing
        self.assertFails("ESTALE", program.end, 1)
        program.reconnect()
        program.check()
        self.assertEqual(program.bytes(0), data)
        self.assertEqual(program.mappings(), ["r--s"])  # nothing is left of the old one
        self.give_back(program, 0)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    def test_to_another_model_of_that_name(self):
        data = self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.restart()
        self.load_weights("m", [MIB + 1])
        for call in (lambda: program.acquire(1, "m", "b.0"), program.reconnect):
            self.assertIsNone(self.assertFails("ESTALE", call).name)
        self.assertEqual(program.bytes(0), data["b.0"])
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertFails("ESTALE", program.release, 0)
        program.acquire(0, "m", "b.0")  # with nothing lost, a new connection is made

    def test_with_nothing_held(self):
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.release(0)
        self.restart()
        data = self.load_weights("m", [MIB], seed=5)
        program.acquire(0, "m", "b.0")
        self.assertEqual(program.bytes(0), data["b.0"])
        self.assertEqual(program.mappings(), ["r--s"])

    def test_without_a_daemon(self):
        program = self.program(connected=False)
        self.daemon.stop()
        self.assertFails("ENOENT", program.connect)
        self.assertFails("ENOENT", program.reconnect)
        self.begin()
        program.reconnect()
        self.assertEqual(self.daemon.stats()["control"]["connections"], 2)

    def test_no_daemon_comes_back(self):
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.timeout(10_000)
        self.daemon.stop()
        for _ in range(2):
            self.assertIn("no daemon at",
                          self.assertFails("ENOENT", program.acquire, 1, "m", "b.0").text)
        self.assertFails("ENOENT", program.release, 0)


if __name__ == "__main__":
    unittest.main()
