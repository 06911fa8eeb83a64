"""emctl -H and --hosts across a network: each host is a network namespace with an sshd and a daemon of its own."""
import json
import re
import subprocess
import time
import unittest

from harness import MIB, TestCase, sized_model, wait_until
from host_network import HostNetwork, needs_network


@needs_network
class Network(TestCase):
    def setUp(self):
        super().setUp()
        self.network = HostNetwork(self)
        self.addresses = []
        for n in (1, 2):
            daemon = self.start(capacity="%dM" % (10 * n), commit="load", log_level="info")
            daemon.call("LoadModel", definition=sized_model("m%d" % n, *[MIB] * n))
            self.addresses.append(self.network.add(daemon))

    def test_one_that_does_not_answer(self):
        """It costs 10 s and is named; the others are shown, each with the figures of its own daemon."""
        silent = self.network.add_silent()
        hosts = self.directory() / "hosts"
        hosts.write_text("\n".join((self.addresses[0], silent, self.addresses[1])))
        began = time.monotonic()
        result = self.assertExit(3, self.network.run("--hosts", hosts, "stats"))
        took = time.monotonic() - began
        self.assertGreater(took, 9)
        rows = [row.split() for row in result.out.splitlines()[1:]]
        self.assertEqual([(row[0], row[-1]) for row in rows], [
            (self.addresses[0], "yes"), (silent, "unreachable"), (self.addresses[1], "yes")])
        self.assertEqual([" ".join(rows[n][1:5]) for n in (0, 2)], ["1.0 MiB 10.0 MiB", "2.0 MiB 20.0 MiB"])
        self.assertRegex(result.err, r"(?m)\Aemctl: %s: (no answer within 10 s|ssh cannot reach it: .*timed out.*)\.\n\Z"
                         % re.escape(silent))

        result = self.assertExit(3, self.network.run("--hosts", hosts, "stats", "--json"))
        found = [json.loads(line) for line in result.out.splitlines()]
        self.assertEqual([one["host"] for one in found], [self.addresses[0], silent, self.addresses[1]])
        self.assertEqual([one["stats"]["daemon"]["pid"] for one in found if "stats" in one],
                         [daemon.pid for daemon in self.daemons])

    def test_each_host_has_its_own_daemon(self):
        for n, address in enumerate(self.addresses, 1):
            self.assertRegex(self.assertExit(0, self.network.run("-H", address, "list")).out, r"(?m)^m%d +%d " % (n, n))
        self.assertExit(0, self.network.run("-H", self.addresses[0], "unload-model", "m1"))
        self.assertEqual(self.daemons[0].call("List")["models"], [])
        self.assertEqual(len(self.daemons[1].call("List")["models"]), 1)

    def test_the_cable_is_pulled(self):
        """A watch says that the host is gone, and goes on when it is back."""
        shown = self.directory() / "shown"
        with open(shown, "wb") as file:
            watcher = subprocess.Popen(self.network.words("-H", self.addresses[1], "stats", "--watch", "--json"),
                                       env=self.network.environment(), stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=subprocess.PIPE, text=True)
        self.addCleanup(watcher.stderr.close)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)

        def told(text):
            for line in watcher.stderr:
                if text in line:
                    return
            self.fail("emctl has ended without: " + text)
        wait_until(lambda: shown.stat().st_size, "the first frame")
        self.network.cut(self.addresses[1])
        told("emctl: %s: ssh cannot reach it" % self.addresses[1])
        told("emctl: waiting for the daemon to come back.")
        self.network.cut(self.addresses[1], False)
        told("emctl: connected again.")
        before = shown.stat().st_size
        wait_until(lambda: shown.stat().st_size > before, "another frame")


if __name__ == "__main__":
    unittest.main()
