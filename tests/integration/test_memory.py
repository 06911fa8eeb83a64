"""Physical memory according to the operating system: equal to the arena, and never above the
cap."""
import os
import pathlib
import random
import stat
import threading
import unittest

from harness import INTERFACES, MIB, PAGE, TIMEOUT, TestCase, sanitized, sized_model
from machine import IS_ROOT, NOBODY, allow_huge_pages, needs_root, writable_setting
import wire

HUGE = 2 * MIB
RELEASE = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def rss_slack(status):
    """How far RssShmem in /proc/PID/status may be off. Since Linux 6.17 it is exact; before, each
    thread counts up to 64 pages separately. smaps walks the page tables and is always exact."""
    return 0 if RELEASE >= (6, 17) else 64 * PAGE * status["Threads"]


class MemoryTestCase(TestCase):
    def assertArenaRss(self, daemon, expected):
        self.assertEqual(daemon.arena_smaps()["Rss"] if expected else 0, expected)
        status = daemon.status()
        self.assertLessEqual(abs(status["RssShmem"] - expected), rss_slack(status))
        self.assertEqual(os.stat(daemon.arena_path()).st_blocks * 512, expected)

    def assertAligned(self, daemon):
        monitor = daemon.wait_sample()
        self.assertTrue(monitor["aligned"], monitor)
        self.assertEqual(monitor["driftBytes"], 0, monitor)
        return monitor


class PlainPages(MemoryTestCase):
    def test_boot(self):
        capacity = 20 * MIB
        daemon = self.start(capacity=capacity, commit="boot")
        self.assertArenaRss(daemon, capacity)  # already at READY, before any request
        stats = daemon.stats()
        self.assertGreaterEqual(stats["monitor"]["samples"], 1)
        self.assertTrue(stats["monitor"]["aligned"], stats)
        self.assertEqual(stats["arena"]["backing"], "plain-pages")
        self.assertEqual(stats["arena"]["committedBytes"], capacity)
        daemon.call("LoadModel", definition=sized_model("m", *[3 * MIB + 5] * 9))
        self.assertArenaRss(daemon, capacity)
        daemon.call("Reset")
        self.assertArenaRss(daemon, capacity)
        monitor = self.assertAligned(daemon)
        status = daemon.status()
        self.assertEqual(monitor["arenaFileBytes"], capacity)
        self.assertLessEqual(abs(monitor["rssShmemBytes"] - capacity), rss_slack(status))
        self.assertEqual(monitor["overheadBytes"], monitor["rssBytes"] - monitor["rssShmemBytes"])
        self.assertEqual((monitor["swapBytes"], monitor["arenaSwappedBytes"]), (0, 0))
        self.assertGreaterEqual(monitor["peakRssBytes"], monitor["rssShmemBytes"])
        if not sanitized():
            self.assertLess(monitor["overheadBytes"], 16 * MIB)

    def test_load(self):
        """RSS climbs with the high-water mark, to the page, after every layer."""
        rng = random.Random(7)
        sizes = [rng.randrange(1, 3 * MIB) for _ in range(12)] + [PAGE, PAGE + 1, 1]
        daemon = self.start(capacity="20M", commit="load", policy="lru")
        self.assertArenaRss(daemon, 0)
        self.assertEqual(os.stat(daemon.arena_path()).st_size, 0)
        self.assertAligned(daemon)
        mark = 0
        for i, size in enumerate(sizes):
            daemon.call("LoadModel", definition=sized_model("m%d" % i, size))
            arena = daemon.stats()["arena"]
            self.assertGreaterEqual(arena["highWaterBytes"], max(mark, arena["usedBytes"]))
            mark = arena["highWaterBytes"]
            self.assertEqual(arena["committedBytes"], mark)
            self.assertArenaRss(daemon, mark)
            self.assertEqual(os.stat(daemon.arena_path()).st_size, mark)
        self.assertGreater(mark, 15 * MIB)
        self.assertAligned(daemon)
        daemon.call("Reset")  # frees pages in the arena, but not for the machine
        self.assertArenaRss(daemon, mark)

    def test_never_above_the_cap(self):
        """Two clients load and evict all the time, and the kernel's figures are read meanwhile."""
        capacity = 24 * MIB
        for commit in ("boot", "load"):
            daemon = self.start(capacity=capacity, commit=commit, policy="lru")
            rng = random.Random(11)
            for name in ("a", "b"):
                sizes = [rng.randrange(1, 5 * MIB) for _ in range(12)]
                daemon.call("LoadModel", definition=sized_model(name, *sizes))
            worst, over = [0, 0], threading.Event()

            def sample():
                arena = daemon.arena_path()
                while not over.is_set():
                    status = daemon.status()
                    worst[0] = max(worst[0], status["RssShmem"] - rss_slack(status))
                    worst[1] = max(worst[1], os.stat(arena).st_blocks * 512)

            def storm(name, seed):
                choice = random.Random(seed)
                with wire.Varlink(daemon.socket, INTERFACES, TIMEOUT) as connection:
                    for _ in range(150):
                        layer = "l%d" % choice.randrange(12)
                        try:
                            connection.call("LoadLayer", model=name, layer=layer)
                        except wire.VarlinkError as refused:  # the other client's load is in progress
                            if refused.error != "Busy":
                                failures.append(refused)

            failures = []
            clients = [threading.Thread(target=storm, args=(n, i)) for i, n in enumerate("ab")]
            sampler = threading.Thread(target=sample)
            for thread in (sampler, *clients):
                thread.start()
            for client in clients:
                client.join()
            over.set()
            sampler.join()
            self.assertEqual(failures, [])
            self.assertGreater(worst[1], 0)
            self.assertLessEqual(max(worst), capacity)
            self.assertUnharmed(daemon)
            self.assertAligned(daemon)
            daemon.stop()

    def test_the_arenas_file(self):
        """Mode 0400, kept out of core dumps, and readable bytes that are all zero."""
        daemon = self.start(capacity="4M")
        path = daemon.arena_path()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o400)
        self.assertEqual(os.stat(path).st_size, 4 * MIB)
        self.assertIn("dd", daemon.arena_smaps()["VmFlags"])

    def test_zero_filled(self):
        """A size-only layer shows no bytes of an earlier layer."""
        daemon = self.start(capacity="2M")
        with writable_arena(daemon) as fd:
            os.pwrite(fd, b"\xa5" * (2 * MIB), 0)
            daemon.call("LoadModel", definition=sized_model("m", MIB + 3))
            self.assertEqual(os.pread(fd, MIB + 3, 0), bytes(MIB + 3))

    @needs_root
    def test_mlock(self):
        daemon = self.start(capacity="4M", mlock="yes")
        self.assertGreaterEqual(daemon.status()["VmLck"], 4 * MIB)

    def test_mlock_refused(self):
        """Without the permission to lock memory the start fails and reports the reason."""
        nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if IS_ROOT else {}
        result = self.start_refused(["prlimit", "--memlock=65536"], capacity="4M", mlock="yes",
                                    process=nobody)
        self.assertEqual(result.code, 1)
        self.assertIn("lock", result.err)


class writable_arena:
    """A writable descriptor of the arena's memfd, which only root or its owner can get."""

    def __init__(self, daemon):
        self.path = daemon.arena_path()

    def __enter__(self):
        if not IS_ROOT:
            os.chmod(self.path, 0o600)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


class BehindTheBack(MemoryTestCase):
    """The monitor notices if another process adds pages to the arena's file or removes some."""

    def disturb(self, commit, harm, heal, sign):
        daemon = self.start(capacity="8M", commit=commit, monitor_interval="20ms")
        daemon.call("LoadModel", definition=sized_model("m", 3 * MIB))
        self.assertAligned(daemon)
        with daemon.connect() as watcher:
            watcher.send_call("Watch", more=True)
            self.assertEqual(watcher.result("Watch")["events"], [])
            with writable_arena(daemon) as fd:
                harm(fd)
                self.events_until(watcher, "misaligned")
                monitor = daemon.wait_sample()  # that sample may have been taken during the change
                self.assertFalse(monitor["aligned"], monitor)
                self.assertGreater(monitor["driftBytes"] * sign, 0, monitor)
                heal(fd)
            self.events_until(watcher, "aligned")
        self.assertAligned(daemon)

    def events_until(self, watcher, name):
        while True:
            for event in watcher.result("Watch")["events"]:
                if event["event"] == name:
                    return

    def test_pages_appear_by_write(self):
        self.disturb("load", lambda fd: os.pwrite(fd, bytes(64 * PAGE), 5 * MIB),
                     lambda fd: os.ftruncate(fd, 3 * MIB), 1)

    def test_pages_appear_by_fallocate(self):
        self.disturb("load", lambda fd: os.posix_fallocate(fd, 3 * MIB, MIB),
                     lambda fd: os.ftruncate(fd, 3 * MIB), 1)

    def test_pages_appear_beyond_the_capacity(self):
        self.disturb("boot", lambda fd: os.pwrite(fd, bytes(64 * PAGE), 8 * MIB),
                     lambda fd: os.ftruncate(fd, 8 * MIB), 1)

    def test_pages_disappear(self):
        daemon = self.start(capacity="8M", monitor_interval="20ms")
        with daemon.connect() as watcher, writable_arena(daemon) as fd:
            watcher.send_call("Watch", more=True)
            os.ftruncate(fd, 4 * MIB)
            self.events_until(watcher, "misaligned")
            self.assertEqual(daemon.wait_sample()["driftBytes"], -4 * MIB)


class HugePages(MemoryTestCase):
    def test_transparent(self):
        allow_huge_pages(self)
        capacity = 32 * MIB
        daemon = self.start(capacity=capacity, huge_pages="auto", commit="boot")
        if daemon.stats()["arena"]["backing"] != "transparent-huge-pages":
            self.skipTest("this machine gives no transparent huge pages")
        self.assertLessEqual(abs(daemon.status()["RssShmem"] - capacity), HUGE)
        self.assertEqual(daemon.stats()["arena"]["pageBytes"], PAGE)
        self.assertAligned(daemon)
        daemon = self.start(capacity=capacity, huge_pages="auto", commit="load", policy="lru")
        for i in range(10):
            daemon.call("LoadModel", definition=sized_model("m%d" % i, 5 * MIB + i))
            mark = daemon.stats()["arena"]["highWaterBytes"]
            self.assertLessEqual(mark, capacity)
            status = daemon.status()
            self.assertLessEqual(abs(status["RssShmem"] - mark), HUGE)
            self.assertLessEqual(status["RssShmem"], capacity)
            self.assertTrue(daemon.wait_sample()["aligned"])

    def test_transparent_not_to_be_had(self):
        """The reply reports the pages that the arena has, not those that were requested."""
        writable_setting(self, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", "never")
        daemon = self.start(capacity="8M", huge_pages="auto")
        self.assertEqual(daemon.stats()["arena"]["backing"], "plain-pages")
        self.assertArenaRss(daemon, 8 * MIB)

    def test_transparent_never_above_the_cap(self):
        """A capacity that is no multiple of a huge page is not exceeded either."""
        capacity = 5 * MIB
        for commit in ("boot", "load"):
            daemon = self.start(capacity=capacity, huge_pages="auto", commit=commit)
            daemon.call("LoadModel", definition=sized_model("m", capacity))
            self.assertLessEqual(daemon.status()["RssShmem"], capacity)
            self.assertLessEqual(os.stat(daemon.arena_path()).st_blocks * 512, capacity)

    def reserve(self, n_pages):
        setting = pathlib.Path("/proc/sys/vm/nr_hugepages")
        if "Hugepagesize:       2048 kB" not in pathlib.Path("/proc/meminfo").read_text():
            self.skipTest("needs 2 MiB huge pages")
        writable_setting(self, setting, str(int(setting.read_text()) + n_pages))
        free = [line.split()[1] for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
                if line.startswith("HugePages_Free:")]
        if int(free[0]) < n_pages:
            self.skipTest("this machine has no %d huge pages to reserve" % n_pages)

    def test_reserved(self):
        self.reserve(4)
        capacity = 4 * HUGE
        for commit in ("boot", "load"):
            daemon = self.start(capacity=capacity + 5, huge_pages="reserved", commit=commit)
            if commit == "boot":
                self.assertEqual(daemon.status()["HugetlbPages"], capacity)
            arena = daemon.stats()["arena"]
            self.assertEqual((arena["backing"], arena["pageBytes"], arena["capacityBytes"]),
                             ("reserved-huge-pages", HUGE, capacity))
            daemon.call("LoadModel", definition=sized_model("m", 1, HUGE + 1))
            mark = daemon.stats()["arena"]["highWaterBytes"]
            self.assertEqual(mark, 3 * HUGE)
            committed = capacity if commit == "boot" else mark
            self.assertEqual(daemon.status()["HugetlbPages"], committed)
            monitor = self.assertAligned(daemon)
            self.assertEqual(monitor["hugetlbBytes"], committed)
            status = daemon.status()
            self.assertLess(monitor["overheadBytes"], status["VmRSS"] + 64 * PAGE)
            self.assertGreaterEqual(monitor["rssBytes"], monitor["hugetlbBytes"])
            daemon.stop()

    def test_reserved_pool_too_small(self):
        if int(pathlib.Path("/proc/sys/vm/nr_hugepages").read_text()) >= 32:
            self.skipTest("the pool is large enough")
        result = self.start_refused(capacity="64M", huge_pages="reserved")
        self.assertRegex(result.err, "huge")


if __name__ == "__main__":
    unittest.main()
