"""on-pressure = trim: what nobody uses is given back to the system while memory is short, everything
that somebody uses stays, and afterwards the arena has all its memory again."""
import mmap
import os
import signal
import unittest
import urllib.request

from fake_pressure import FakePressure, metrics_of, until_event
from harness import MIB, proc_status, sized_model, smaps_entry, wait_until
from machine import allow_huge_pages
from ports import free_port
from service_manager import Reader, RestartTestCase
from weight_files import sha256

UNIT = 256 << 10  # in which plain pages are given back
ARENA = "/memfd:edgemind-arena"


class TrimmingTestCase(RestartTestCase):
    def setUp(self):
        super().setUp()
        self.system = FakePressure(self.directory())

    def start_trimming(self, **options):
        self.daemon = self.service(**{"capacity": "64M", "monitor_interval": "20ms", "policy": "lru",
                                      "config": "on-pressure = trim\n", "log_level": "debug",
                                      "environment": self.system.environment, **options})
        self.watch()
        return self.daemon

    def watch(self):
        self.watcher = self.connect(self.daemon)
        self.watcher.send_call("Watch", more=True)
        self.assertEqual(self.watcher.result("Watch")["events"], [])

    def reload(self, text):
        self.daemon.config.write_text(text)
        self.daemon.process.send_signal(signal.SIGHUP)

    def file_bytes(self):
        return os.stat(self.daemon.arena_path()).st_blocks * 512

    def pressure(self):
        return self.daemon.stats()["pressure"]

    def until_trimmed(self, at_least):
        wait_until(lambda: self.pressure()["trimmedBytes"] >= at_least, "a trim")

    def assertAgrees(self):
        """The ledger, the arena's file, and the mapping say the same."""
        self.assertTrue(self.daemon.wait_sample()["aligned"])

        def agrees():  # all at one time: while memory is short, the next trim may be on its way
            n_bytes = self.file_bytes()
            self.assertLessEqual(n_bytes, 64 * MIB)
            return {self.daemon.stats()["arena"]["committedBytes"],
                    smaps_entry(self.daemon.pid, ARENA)["Rss"], self.file_bytes()} == {n_bytes}
        wait_until(agrees, "equal figures")


class ManyLayers(TrimmingTestCase):
    def test_in_portions(self):
        """All idle layers go, also those beyond the first portion (SCHEDULER_PORTION), and no leased one."""
        daemon = self.start_trimming()
        daemon.load(sized_model("many", *[64 << 10] * 300))
        holder = self.connect()
        for layer in ("l0", "l150", "l299"):
            holder.call("Acquire", model="many", layer=layer)
        self.system.begin()
        wait_until(lambda: daemon.stats()["scheduler"]["layersLoaded"] == 3, "evictions")
        self.assertEqual(self.pressure()["layersTrimmed"], 297)
        self.assertEqual({layer["name"] for layer in daemon.call("List", model="many")["layers"]
                          if layer["state"] == "resident"}, {"l0", "l150", "l299"})
        self.until_trimmed(64 * MIB - daemon.stats()["arena"]["usedBytes"] - 6 * UNIT)
        self.assertAgrees()


class Whole(TrimmingTestCase):
    def test_from_pressure_to_its_end(self):
        port = free_port()
        daemon = self.start_trimming(metrics_listen="127.0.0.1:%d" % port)
        held = self.load_weights("held", [4 * MIB, 4 * MIB], seed=1, daemon=daemon)
        idle = self.load_weights("idle", [2 * MIB] * 10, seed=2, daemon=daemon)
        run = self.load_weights("run", [3 * MIB, 3 * MIB], seed=3, daemon=daemon)
        reader, runner = Reader(daemon), self.connect(daemon)
        self.addCleanup(reader.close)
        lease = reader.lease(model="held", layer=sorted(held)[1])
        runner.call("BeginRun", model="run")
        n_layers = daemon.stats()["scheduler"]["layersLoaded"]
        used_bytes = daemon.stats()["arena"]["usedBytes"]
        self.assertEqual(self.file_bytes(), 64 * MIB)

        # The free pages go at once, the layers when nobody has used them for a while.
        self.system.begin()
        seen = []
        first = until_event(self.watcher, "trimmed", seen)
        self.assertEqual(first["reason"], "stalls")
        self.assertGreater(first["bytes"], 64 * MIB - used_bytes - 2 * UNIT)
        wait_until(lambda: daemon.stats()["scheduler"]["layersLoaded"] == 1 + len(run), "evictions")
        used_bytes = daemon.stats()["arena"]["usedBytes"]
        self.until_trimmed(64 * MIB - used_bytes - 6 * UNIT)
        n_evicted = n_layers - 1 - len(run)
        while sum(event["event"] == "layer-evicted" for event in seen) < n_evicted:
            until_event(self.watcher, "layer-evicted", seen)
        evicted = [event for event in seen if event["event"] == "layer-evicted"]
        self.assertEqual({event["reason"] for event in evicted}, {"pressure"})
        self.assertEqual({event["model"] for event in evicted}, {"held", "idle"})
        self.assertNotIn("to", evicted[0])
        self.assertAgrees()
        self.assertLess(proc_status(daemon.pid)["RssShmem"], used_bytes + 6 * UNIT + MIB)
        self.assertEqual(reader.digest(lease), self.digest_of(held, 1))

        # All say so.
        self.assertIn("given back to the system", daemon.emctl("stats").out)
        self.assertIn("because memory was short. on-pressure: trim.",
                      daemon.emctl("why", "idle", sorted(idle)[0]).out)
        pressure = self.pressure()
        self.assertEqual((pressure["onPressure"], pressure["layersTrimmed"]), ("trim", n_evicted))
        self.assertEqual(pressure["givenBytes"], pressure["trimmedBytes"])
        url = "http://127.0.0.1:%d/metrics" % port
        metrics = metrics_of(urllib.request.urlopen(url, timeout=60).read().decode())
        self.assertEqual(metrics["edgemind_arena_trimmed_bytes"], pressure["trimmedBytes"])
        self.assertEqual(metrics["edgemind_trim_evictions_total"], n_evicted)
        self.assertIn("were given back to the system; the arena now lacks", daemon.read_log())
        self.assertTrue(any("given back to the system" in line for line in
                            sum(daemon.notifications.messages, [])))

        # Loads under pressure get their pages and the right bytes.
        self.assertBytes(daemon, "idle", idle)
        self.assertBytes(daemon, "held", held)
        self.assertAgrees()

        # The quiet time, and then all of it comes again.
        self.system.end()
        ended = until_event(self.watcher, "pressure-ended")
        taken = until_event(self.watcher, "taken-back")
        self.assertGreaterEqual(taken["atUsec"], ended["atUsec"])
        self.assertEqual(self.file_bytes(), 64 * MIB)
        self.assertAgrees()
        pressure = self.pressure()
        self.assertEqual((pressure["trimmedBytes"], pressure["short"]), (0, False))
        self.assertEqual(pressure["takenBytes"], pressure["givenBytes"])
        self.assertNotIn("given back", daemon.emctl("stats").out)
        self.assertBytes(daemon, "idle", idle)
        self.assertEqual(reader.digest(lease), self.digest_of(held, 1))

    @staticmethod
    def digest_of(layers, index):
        return sha256(layers[sorted(layers)[index]])


class Settings(TrimmingTestCase):
    def test_reload(self):
        """Ignored unless it is set. SIGHUP switches it on, and off again: then all comes at once."""
        self.start_trimming(config="")
        self.system.begin()
        until_event(self.watcher, "pressure-begun")
        self.daemon.wait_sample()
        self.assertEqual(self.pressure()["trimmedBytes"], 0)
        self.assertEqual(self.pressure()["onPressure"], "ignore")
        self.reload("on-pressure = trim\n")
        event = until_event(self.watcher, "on-pressure-changed")
        self.assertEqual((event["from"], event["to"]), ("ignore", "trim"))
        self.until_trimmed(64 * MIB)
        self.assertEqual(self.file_bytes(), 0)
        self.system.available(4096 * MIB)
        self.reload("on-pressure = ignore\n")
        until_event(self.watcher, "taken-back")
        self.assertTrue(self.pressure()["short"])
        self.assertEqual(self.file_bytes(), 64 * MIB)

    def test_commit_load(self):
        self.start_trimming(commit="load")
        self.daemon.call("LoadModel", definition=sized_model("m", 10 * MIB, 10 * MIB))
        self.assertEqual(self.file_bytes(), 20 * MIB)
        self.system.begin()
        self.until_trimmed(20 * MIB)
        self.assertAgrees()
        self.assertEqual(self.file_bytes(), 0)
        self.daemon.call("LoadModel", definition=sized_model("n", 30 * MIB + 5))
        self.connect(self.daemon).call("Acquire", model="n", layer="l0")
        self.assertAgrees()
        self.assertGreaterEqual(self.file_bytes(), 30 * MIB)

    def test_mlock(self):
        if os.geteuid() != 0:
            self.skipTest("only root may lock so much")
        self.start_trimming(mlock="yes")
        self.system.begin()
        self.until_trimmed(64 * MIB)
        self.daemon.call("LoadModel", definition=sized_model("m", 8 * MIB))
        self.assertAgrees()
        wait_until(lambda: smaps_entry(self.daemon.pid, ARENA)["Locked"] == self.file_bytes(),
                   "all that there is to be locked")

    def test_reserved_pages_are_refused(self):
        result = self.start_refused(capacity="64M", on_pressure="trim", huge_pages="reserved")
        self.assertEqual(result.code, 2)
        self.assertIn("huge-pages=reserved", result.err)

    def test_simulated(self):
        daemon = self.start(capacity="8M", on_pressure="trim", simulate=True,
                            environment=self.system.environment)
        daemon.call("LoadModel", definition=sized_model("m", MIB))
        self.system.begin()
        wait_until(lambda: daemon.stats()["pressure"]["short"], "pressure")
        daemon.wait_sample()
        self.assertEqual(daemon.stats()["scheduler"]["layersLoaded"], 1)


class HugePages(TrimmingTestCase):
    def test_transparent(self):
        """Only whole huge pages go, and they come as huge pages again."""
        allow_huge_pages(self)
        self.start_trimming(huge_pages="auto")
        if self.daemon.stats()["arena"]["backing"] != "transparent-huge-pages":
            self.skipTest("this machine gives no transparent huge pages")
        layers = self.load_weights("m", [3 * MIB] * 8, seed=6, daemon=self.daemon)
        reader = Reader(self.daemon)
        self.addCleanup(reader.close)
        name = sorted(layers)[1]
        lease = reader.lease(model="m", layer=name)
        self.system.begin()
        wait_until(lambda: self.daemon.stats()["scheduler"]["layersLoaded"] == 1, "evictions")
        self.until_trimmed(54 * MIB)
        self.assertEqual(self.pressure()["trimmedBytes"] % (2 * MIB), 0)
        self.assertAgrees()
        self.assertEqual(reader.digest(lease), sha256(layers[name]))
        self.assertBytes(self.daemon, "m", layers)
        self.system.end()
        until_event(self.watcher, "taken-back")
        self.assertEqual(self.file_bytes(), 64 * MIB)
        self.assertAgrees()
        self.assertBytes(self.daemon, "m", layers)


class Trouble(TrimmingTestCase):
    def test_no_memory_to_take(self):
        """It is said once, the daemon goes on, loads get their pages, and the rest comes later."""
        self.start_trimming()
        self.system.begin()
        self.until_trimmed(64 * MIB)
        self.system.stalls(0)  # but less than a tenth of the machine's memory is available
        until_event(self.watcher, "pressure-ended")
        event = until_event(self.watcher, "take-back-delayed")
        self.assertEqual(event["bytes"], 64 * MIB)
        for _ in range(3):
            self.daemon.wait_sample()
        self.assertEqual(self.file_bytes(), 0)
        self.daemon.call("LoadModel", definition=sized_model("m", 5 * MIB))
        self.assertAgrees()
        self.system.available(4096 * MIB)
        until_event(self.watcher, "taken-back")
        self.assertEqual(self.file_bytes(), 64 * MIB)
        self.assertEqual(self.daemon.read_log().count("it will try again"), 1)

    def test_pages_cannot_be_had(self):
        """A load then gets an error with a type, and the daemon does not end. The file is cut short, so
        that the kernel has no pages for the holes."""
        self.start_trimming()
        self.system.begin()
        self.until_trimmed(64 * MIB)
        path = self.daemon.arena_path()
        os.truncate(path, 0)
        client = self.connect(self.daemon)
        self.assertVarlinkError("IOFailed", client.call, "LoadModel",
                                definition=sized_model("m", 5 * MIB))
        self.assertEqual(self.file_bytes(), 0)
        os.truncate(path, 64 * MIB)
        client.call("LoadModel", definition=sized_model("n", 5 * MIB))
        self.assertAgrees()

    def test_readers_of_leased_layers(self):
        """Clients have the whole arena mapped, and read what they lease all the time."""
        self.start_trimming()
        layers = self.load_weights("m", [2 * MIB] * 6, seed=4, daemon=self.daemon)
        reader = Reader(self.daemon)
        self.addCleanup(reader.close)
        leases = {name: reader.lease(model="m", layer=name) for name in sorted(layers)[1::2]}
        with mmap.mmap(reader.arena, 64 * MIB, prot=mmap.PROT_READ) as mapped:
            self.system.begin()
            while self.daemon.stats()["scheduler"]["layersLoaded"] > len(leases) or \
                    self.pressure()["trimmedBytes"] < 40 * MIB:
                for name, lease in leases.items():
                    data = b"".join(mapped[s["offset"]:s["offset"] + s["length"]]
                                    for s in lease["segments"])
                    self.assertTrue(data == layers[name], name)
            self.assertAgrees()


class Restart(TrimmingTestCase):
    def test_what_was_trimmed_stays_so(self):
        """A daemon that is killed while memory is short starts again without the memory that was given
        back, keeps its layers, and takes the memory when it has been quiet."""
        for commit in ("boot", "load"):
            with self.subTest(commit):
                self.system.end()
                daemon = self.start_trimming(commit=commit)
                layers = self.load_weights("m", [2 * MIB] * 6, seed=5, daemon=daemon)
                name = sorted(layers)[2]
                reader = Reader(daemon)
                self.addCleanup(reader.close)
                reader.lease(model="m", layer=name)
                self.system.begin()
                self.until_trimmed((40 if commit == "boot" else 6) * MIB)
                wait_until(lambda: daemon.stats()["scheduler"]["layersLoaded"] == 1, "evictions")
                daemon.wait_sample()
                self.assertAgrees()
                n_bytes = self.file_bytes()
                daemon.end(signal.SIGKILL)
                self.assertEqual(daemon.arena_bytes(), n_bytes)
                daemon.start_again()
                self.assertWarm(daemon)
                self.assertEqual(self.file_bytes(), n_bytes)
                self.assertAgrees()
                self.assertBytes(daemon, "m", {name: layers[name]})
                self.watch()
                self.system.end()
                until_event(self.watcher, "taken-back")
                self.assertEqual(self.file_bytes(), daemon.stats()["arena"]["committedBytes"])
                self.assertEqual(self.pressure()["trimmedBytes"], 0)
                self.assertBytes(daemon, "m", layers)
                self.assertAgrees()

    def test_without_the_setting_all_is_committed(self):
        daemon = self.start_trimming()
        self.system.begin()
        self.until_trimmed(64 * MIB)
        daemon.end(signal.SIGKILL)
        daemon.config.write_text("")
        daemon.start_again()
        self.assertWarm(daemon)
        self.assertEqual(self.file_bytes(), 64 * MIB)


if __name__ == "__main__":
    unittest.main()
