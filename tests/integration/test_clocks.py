"""Clocks that are set, a machine that sleeps, and programs that are stopped."""
import os
import re
import signal
import time
import unittest

from clocks import Clocks
from harness import EMCTL, EMULATED, MIB, clean_environment, memory_file, run, sanitized, sized_model, wait_until
from leasing import write_model
from service_manager import Reader, RestartTestCase
from machine import IS_ROOT
from slow_files import READ, SlowFiles
import wire

HOUR, YEAR = 3600, 365 * 86400

needs_shifted_clocks = unittest.skipIf(EMULATED or sanitized(), "nothing is preloaded into these programs")


@needs_shifted_clocks
class Clocked(RestartTestCase):
    def setUp(self):
        super().setUp()
        self.clocks = Clocks(self)

    def emctl(self, *words):
        return self.assertExit(0, run(EMCTL, *words, env=clean_environment(
            EDGEMIND_SOCKET=self.daemon.socket, **self.clocks.environment))).out

    def assertSaid(self, text):
        wait_until(lambda: re.search(text, self.daemon.read_log()), "%r in the log" % text)


class Set(Clocked):
    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="4M", policy="lru", commit="load", environment=self.clocks.environment)
        self.daemon.call("LoadModel", definition=sized_model("a", 3 * MIB))
        self.daemon.call("LoadModel", definition=sized_model("b", 2 * MIB))  # evicts it
        wait_until(lambda: self.daemon.call("History")["points"], "a sample")

    def set(self, seconds):
        self.clocks.set(seconds)
        self.assertSaid("the wall clock was set %s by %d s" % ("forward" if seconds > 0 else "back", abs(seconds)))

    def test_reasons(self):
        """A device without a clock of its own gets the time after the daemon has started. How long ago
        something was stays right."""
        for seconds in (YEAR, -2 * YEAR):
            self.set(seconds)
            for words in (("why", "a", "l0"), ("why", "a")):
                self.assertRegex(self.emctl(*words), r"evicted at \d\d:\d\d:\d\d \(\d\d? s ago\)")
            self.assertRegex(self.emctl("why", "a", "l0"), r"last used at \d\d:\d\d:\d\d \(\d\d? s ago\)")

    def test_the_last_hour(self):
        """The points keep their distance from now, also for a daemon that follows."""
        n = len(self.daemon.call("History")["points"])
        for seconds in (YEAR, -2 * YEAR):
            self.set(seconds)
            points = self.daemon.call("History")["points"]
            self.assertGreaterEqual(len(points), n)
            now = (time.time() + YEAR * (1 if seconds > 0 else -1)) * 1e6
            for point in points:
                self.assertLess(abs(now - point["atUsec"]), 600e6)
        self.daemon.restart()
        self.assertGreaterEqual(len(self.daemon.call("History")["points"]), n)

    def test_leases_and_waits(self):
        """Neither ends early, and no event is lost."""
        holder, waiter, watcher = Reader(self.daemon), Reader(self.daemon), self.connect()
        for client in (holder, waiter):
            self.addCleanup(client.close)
        watcher.send_call("Watch", more=True)
        watcher.result("Watch")
        holder.lease(model="b", layer="l0")
        waiter.send_call("Acquire", {"model": "a", "layer": "l0", "waitUsec": 60_000_000})
        for seconds in (YEAR, -2 * YEAR):
            self.set(seconds)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 2 * MIB)
        holder.close()
        waiter.result("Acquire")
        names = []
        while "layer-loaded" not in names:
            names += [event["event"] for event in watcher.result("Watch")["events"]]
        self.assertIn("layer-evicted", names)
        self.assertUnharmed()


class Asleep(Clocked):
    def test_said(self):
        self.daemon = self.service(capacity="4M", environment=self.clocks.environment)
        self.clocks.sleep(HOUR)
        self.assertSaid("the machine slept for 3600 s")
        self.assertNotIn("stood still", self.daemon.read_log())
        self.assertNotIn("the wall clock", self.daemon.read_log())


class Stopped(Clocked):
    def service_with_model(self, **options):
        self.daemon = self.service(capacity="4M", environment=self.clocks.environment, **options)
        self.path = self.directory() / "m"
        self.layers = write_model(self.path, [MIB, MIB])
        with Reader(self.daemon) as client:
            client.load_model(self.path, name="m")

    def test_lease_grace_begins_again(self):
        """Everything is stopped just after a restart, for longer than lease-grace. The client then takes
        up its lease, and finds the layer where it was."""
        self.service_with_model(lease_grace="30s", policy="lru")
        client = Reader(self.daemon)
        lease = client.lease(model="m", layer="b.0")
        self.daemon.restart()
        client.close()
        self.clocks.stop(HOUR)
        self.assertSaid(r"stood still for 3[56]\d\d s")
        self.assertSaid("lease-grace begins again")
        self.assertGreater(self.daemon.stats()["arena"]["leasedBytes"], 0)
        with Reader(self.daemon) as client:
            again = client.lease(model="m", layer="b.0", fill=lease["fill"])
            self.assertEqual({**again, "lease": None}, {**lease, "lease": None})
            self.assertTrue(client.read(again) == self.layers["b.0"])
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "the lease to end")

    @unittest.skipUnless(IS_ROOT, "needs root to mount")
    def test_a_read_that_was_under_way(self):
        """It is not taken for one of a file that does not answer."""
        path = self.directory() / "w"
        layers = write_model(path, [4 * MIB, 4 * MIB])
        files = SlowFiles(self.directory(), {"w": path.read_bytes()})
        self.addCleanup(files.close)
        self.daemon = self.service(capacity="20M", environment=self.clocks.environment)
        files.hang(READ, offset=MIB)
        loading = self.connect()
        loading.send_call("LoadModel", {"definitionFileDescriptor": 0, "name": "m"}, [files.open("w")])
        wait_until(lambda: files.n_hung, "a read without an answer")
        self.clocks.stop(HOUR)
        self.assertSaid(r"stood still for 3[56]\d\d s")
        self.clocks.stop(5)  # the looks are far less apart
        files.resume()
        loading.result("LoadModel")
        self.assertEqual(self.daemon.stats()["scheduler"]["layersLoaded"], 2)
        self.assertBytes(self.daemon, "m", layers)


class Plans(Clocked):
    def test_a_plan_is_ended_at_its_limit(self):
        self.daemon = self.service(capacity="16M", environment=self.clocks.environment)
        found = wait_until(self.plan_too_long, "a plan that is not yet ready when its time is over")
        self.assertEqual(found, {"limit": "microseconds of planning", "maximum": 10_000_000})
        self.assertEqual(self.daemon.call("Plan", definition=sized_model("m", 1))["stepsTotal"], 1)

    def plan_too_long(self):
        """The daemon is stopped after the first of several forecasts. None if it has made all by then."""
        with self.daemon.connect() as planner, memory_file(sized_model("m", *[1] * 8000)) as file:
            forecasts = planner.stream("Plan", {"definitionFileDescriptor": 0, "passes": 25, "policy": "all"},
                                       fds=[file.fileno()])
            next(forecasts)
            os.kill(self.daemon.pid, signal.SIGSTOP)
            self.clocks.stop(11)
            os.kill(self.daemon.pid, signal.SIGCONT)
            try:
                list(forecasts)
            except wire.VarlinkError as refused:
                self.assertEqual(refused.error, "LimitExceeded")
                return refused.parameters
        return None


class Signals(RestartTestCase):
    def test_all_are_stopped(self):
        """The real thing, if only for seconds: daemon and client are stopped longer than lease-grace and the
        watchdog's interval, and continued."""
        self.daemon = self.service(capacity="4M", lease_grace="1s", environment={"WATCHDOG_USEC": 2_000_000})
        layers = {"l0": bytes(MIB)}
        self.daemon.call("LoadModel", definition=sized_model("m", MIB))
        client = Reader(self.daemon)
        self.addCleanup(client.close)
        lease = client.lease(model="m", layer="l0")
        self.daemon.restart()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        client.close()
        time.sleep(7)  # the test is about this time
        os.kill(self.daemon.pid, signal.SIGCONT)
        wait_until(lambda: "stood still" in self.daemon.read_log(), "the daemon to say it")
        with Reader(self.daemon) as client:
            again = client.lease(model="m", layer="l0", fill=lease["fill"])
            self.assertEqual(again["segments"], lease["segments"])
        beats = self.daemon.notifications.messages.count(["WATCHDOG=1"])
        wait_until(lambda: self.daemon.notifications.messages.count(["WATCHDOG=1"]) > beats, "the watchdog's message")
        self.assertBytes(self.daemon, "m", layers)


if __name__ == "__main__":
    unittest.main()
