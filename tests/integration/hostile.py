"""Common parts of the tests of bad input and bad peers: a daemon with an innocent model in it, and
the check after each test that no other client was affected."""
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
        """Checks that no other client was affected."""
        stats = self.assertUnharmed()
        self.assertEqual([m["name"] for m in self.daemon.call("List")["models"]], ["innocent"])
        self.assertEqual(stats["scheduler"]["layersLoaded"], 2)
        self.assertFds(self.n_fds)
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes(), self.overhead_max)

    def assertRefused(self, connection, method="Stats"):
        """Checks that the client gets an error reply, or that its connection ends."""
        reply = connection.reply(method)
        self.assertTrue(reply is None or "error" in reply, reply)
        return reply
