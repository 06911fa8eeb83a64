"""What the tests of bad input and bad peers share: a daemon with an innocent model in it, and the
check after each test that nobody else noticed anything."""
from harness import MIB, TestCase, sanitized, sized_model, wait_until

INVALID = "org.varlink.service.InvalidParameter"
MESSAGE_MAX = 64 << 10


class HostileTestCase(TestCase):
    options = {"capacity": "20M", "model_dir": "/usr/share"}
    overhead_max = 48 * MIB  # at rest; the peak may be higher

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("innocent", MIB, MIB))
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == 1, "one connection")
        self.n_fds = self.daemon.n_fds_at_rest()

    def tearDown(self):
        """Nobody else noticed."""
        stats = self.assertUnharmed()
        self.assertEqual([m["name"] for m in self.daemon.call("List")["models"]], ["innocent"])
        self.assertEqual(stats["scheduler"]["layersLoaded"], 2)
        self.assertFds(self.n_fds)
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes(), self.overhead_max)

    def assertRefused(self, connection, method="Stats"):
        """An error reply, or the end of that connection."""
        reply = connection.reply(method)
        self.assertTrue(reply is None or "error" in reply, reply)
        return reply
