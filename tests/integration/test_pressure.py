"""Memory pressure: that it is noticed, from each source, and told to everybody."""
import os
import pathlib
import subprocess
import unittest
import urllib.request

from fake_pressure import FakePressure, metrics_of, until_event
from harness import EMCTL, IS_ROOT, MIB, TestCase, clean_environment, wait_until
from ports import free_port

CGROUPS = pathlib.Path("/sys/fs/cgroup")


class PressureTestCase(TestCase):
    def start_under(self, system, **options):
        options.setdefault("capacity", "8M")
        self.daemon = self.start(environment=system.environment, monitor_interval="20ms", **options)
        self.watcher = self.connect()
        self.watcher.send_call("Watch", more=True)
        self.assertEqual(self.watcher.result("Watch")["events"], [])
        return self.daemon


class Told(PressureTestCase):
    def test_stalls(self):
        system, port = FakePressure(self.directory()), free_port()
        daemon = self.start_under(system, metrics_listen="127.0.0.1:%d" % port)
        before = daemon.stats()["pressure"]
        self.assertEqual((before["short"], before["begun"]), (False, 0))
        self.assertNotIn("reason", before)
        self.assertNotIn("MEMORY IS SHORT", daemon.emctl("stats").out)
        system.begin()
        event = until_event(self.watcher, "pressure-begun")
        self.assertEqual(event["reason"], "stalls")
        self.assertEqual(event["bytes"], 512 * MIB)
        self.assertIn("tasks waited for memory in 50.00%", event["message"])
        pressure = daemon.stats()["pressure"]
        self.assertEqual((pressure["short"], pressure["begun"], pressure["reason"]),
                         (True, 1, "stalls"))
        self.assertIn("MEMORY IS SHORT (stalls)", daemon.emctl("stats").out)
        url = "http://127.0.0.1:%d/metrics" % port
        metrics = metrics_of(urllib.request.urlopen(url, timeout=60).read().decode())
        self.assertEqual(metrics["edgemind_memory_pressure"], 1)
        self.assertEqual(metrics["edgemind_memory_pressure_periods_total"], 1)
        self.assertIn("memory is short: tasks waited", daemon.read_log())

    def test_watch(self):
        """emctl watch shows the event, and --json has one object a line."""
        system = FakePressure(self.directory())
        daemon = self.start_under(system)
        watch = subprocess.Popen([EMCTL, "watch", "--json"], stdout=subprocess.PIPE, text=True,
                                 env=clean_environment(EDGEMIND_SOCKET=daemon.socket))
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        wait_until(lambda: daemon.stats()["control"]["connections"] >= 3, "the watch")
        system.begin()
        for line in watch.stdout:
            if '"pressure-begun"' in line:
                self.assertRegex(line, r'^\{.*"reason": ?"stalls".*\}$')
                break

    def test_without_stalls(self):
        """As on Raspberry Pi OS. The daemon says so once, and judges by other figures."""
        system = FakePressure(self.directory(), has_stalls=False)
        daemon = self.start_under(system)
        system.available(300 * MIB)
        daemon.wait_sample()
        daemon.wait_sample()
        self.assertFalse(daemon.stats()["pressure"]["short"])
        system.available(100 * MIB)
        self.assertEqual(until_event(self.watcher, "pressure-begun")["reason"], "available")
        self.assertEqual(daemon.read_log().count("psi=1"), 1)

    def test_refaults(self):
        system = FakePressure(self.directory(), has_stalls=False)
        self.start_under(system)
        system.available(300 * MIB)
        system.refaults(100000)
        self.assertEqual(until_event(self.watcher, "pressure-begun")["reason"], "available")

    def test_own_cgroup(self):
        system = FakePressure(self.directory())
        system.put("proc/self/cgroup", "0::/a")
        (system.directory / "cgroup" / "a").mkdir()
        for name, text in (("max", "67108864"), ("high", "max"), ("current", "67000000"),
                           ("stat", "inactive_file 0"), ("pressure", "some avg10=0.00"),
                           ("events", "high 0\nmax 1\n")):
            (system.directory / "cgroup" / "a" / ("memory." + name)).write_text(text + "\n")
        daemon = self.start_under(system)
        self.assertEqual(daemon.stats()["pressure"]["cgroupPercent"], 0)
        daemon.wait_sample()
        self.assertFalse(daemon.stats()["pressure"]["short"])
        system.put("cgroup/a/memory.events", "high 0\nmax 2\n")
        event = until_event(self.watcher, "pressure-begun")
        self.assertEqual(event["reason"], "cgroup-limit")
        self.assertIn("limit of 64.0 MiB", event["message"])

    def test_log_of_this_machine(self):
        """With the kernel's own files the daemon starts, and says that stalls are not measured only
        if that is so."""
        daemon = self.start(capacity="4M")
        try:
            measured = pathlib.Path("/proc/pressure/memory").read_text().startswith("some avg10=")
        except OSError:
            measured = False
        self.assertEqual(daemon.read_log().count("psi=1"), 0 if measured else 1)


class RealCgroup(PressureTestCase):
    """A memory cgroup at its limit, of the kernel. The limit is reached by another process, with
    memory that cannot be dropped."""

    def cgroup(self):
        if not IS_ROOT:
            self.skipTest("only root makes cgroups")
        name = "edgemind-test-%d" % os.getpid()
        for parent, limit, others in (
                (CGROUPS, "memory.max", {"memory.swap.max": 0}),
                (CGROUPS / "memory", "memory.limit_in_bytes", {"memory.swappiness": 0})):
            if not (parent / "cgroup.procs").exists() or \
                    (limit == "memory.max" and
                     "memory" not in (parent / "cgroup.subtree_control").read_text().split()):
                continue
            path = parent / name
            try:
                path.mkdir()
                self.addCleanup(path.rmdir)
                (path / limit).write_text(str(64 * MIB))
                for file, value in others.items():
                    if (path / file).exists():
                        (path / file).write_text(str(value))
            except OSError as error:
                self.skipTest("no memory cgroup can be made: %s" % error)
            return path
        self.skipTest("no memory cgroup can be made: there is no controller of memory")

    def test_limit(self):
        path = self.cgroup()
        prefix = ["bash", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(path)]
        daemon = self.start(prefix=prefix, capacity="24M", huge_pages="never",
                            monitor_interval="20ms", on_pressure="trim")
        watcher = self.connect(daemon)
        watcher.send_call("Watch", more=True)
        watcher.result("Watch")
        # Takes memory until there is little left, and then writes files, whose pages hit the limit.
        hog = subprocess.Popen(["python3", "-c", """if True:
            import mmap, os, sys, time
            open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
            open("/proc/self/oom_score_adj", "w").write("1000")
            usage = sys.argv[1] + ("/memory.current" if os.path.exists(sys.argv[1] + "/memory.current")
                                   else "/memory.usage_in_bytes")
            held = []
            while True:
                if int(open(usage).read()) < (63 << 20) + (768 << 10):
                    held.append(mmap.mmap(-1, 64 << 10))
                    held[-1].write(bytes(64 << 10))
                else:
                    with open(sys.argv[2], "wb") as file:  # page cache, which hits the limit
                        for _ in range(64):
                            file.write(bytes(64 << 10))
                        file.flush()
                        os.fsync(file.fileno())
                    time.sleep(0.01)
            """, str(path), str(self.directory() / "cache")])
        self.addCleanup(hog.wait)
        self.addCleanup(hog.kill)
        event = until_event(watcher, "pressure-begun")
        self.assertIn(event["reason"], ("cgroup-limit", "cgroup-stalls"))
        # The other process gets what the arena gives back.
        until_event(watcher, "trimmed")
        wait_until(lambda: os.stat(daemon.arena_path()).st_blocks == 0, "the arena to be given back")
        hog.kill()
        hog.wait()
        until_event(watcher, "pressure-ended")
        until_event(watcher, "taken-back")
        self.assertEqual(os.stat(daemon.arena_path()).st_blocks * 512, 24 * MIB)


if __name__ == "__main__":
    unittest.main()
