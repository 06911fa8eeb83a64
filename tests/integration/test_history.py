"""History: the daemon's memory of the last hour, also after a restart."""
import os
import time

from harness import MIB, TestCase, sized_model, wait_until
from service_manager import RestartTestCase


class History(TestCase):
    def test_points(self):
        before = int(time.time() * 1e6)
        self.daemon = self.start(capacity="4M", commit="load")
        self.daemon.call("LoadModel", definition=sized_model("m", 2 * MIB))
        wait_until(lambda: self.daemon.call("History")["points"][-1]["arenaFileBytes"] == 2 * MIB, "a sample")
        reply = self.daemon.call("History")
        self.assertEqual(reply["stepUsec"], 10_000_000)
        for point in reply["points"]:
            self.assertTrue(before <= point["atUsec"] <= time.time() * 1e6)
            self.assertGreater(point["rssBytes"], point["arenaFileBytes"])
        self.assertLessEqual(len(reply["points"]), 1 + (time.time() * 1e6 - before) // 10_000_000 + 1)


class Restarts(RestartTestCase):
    def test_kept(self):
        """The points of the first process are still there, even those of an unused ring."""
        daemon = self.service(capacity="4M", commit="load")
        daemon.call("LoadModel", definition=sized_model("m", 2 * MIB))
        wait_until(lambda: daemon.call("History")["points"][-1]["arenaFileBytes"] == 2 * MIB, "a sample")
        first = daemon.call("History")["points"][0]
        daemon.restart()
        self.assertAlmostEqual(daemon.call("History")["points"][0]["atUsec"], first["atUsec"], delta=1_000_000)
        self.assertGreaterEqual(daemon.call("History")["points"][0]["arenaFileBytes"], 2 * MIB)

    def test_damaged(self):
        """A ring that is not the daemon's own counts as empty, and harms nothing."""
        for damage in (lambda fd: os.ftruncate(fd, 20), lambda fd: os.pwrite(fd, b"\xff" * 9000, 0)):
            daemon = self.service(capacity="4M", commit="load")
            daemon.call("LoadModel", definition=sized_model("m", MIB))
            daemon.end()
            damage(daemon.store.fd("history"))
            now = time.time() * 1e6
            daemon.start_again()
            self.assertTrue(daemon.said("a warm start"))
            for point in daemon.call("History")["points"]:
                self.assertGreaterEqual(point["atUsec"], now)
