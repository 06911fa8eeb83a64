"""The old arena does not fit: then the start is cold and reports the reason, without memory for two
arenas, or it is refused. There are never wrong bytes."""
import os
import signal
import threading
import unittest

from harness import MIB, PAGE, sized_model
from machine import needs_root, proc_status, writable_setting
from service_manager import ColdTestCase, Reader, RestartTestCase
from test_capacity import Cgroup

HUGE_POOL = "/proc/sys/vm/nr_hugepages"

class Configuration(ColdTestCase):
    def check(self, why, **changed):
        kept = os.dup(self.stored("arena"))
        self.addCleanup(os.close, kept)
        self.daemon.restart(**changed)
        self.assertEqual(os.fstat(kept).st_size, 0)  # its memory is free, even if a process still has it
        self.assertCold(self.daemon, why)

    def test_more_capacity(self):
        self.check("4.0 MiB, not 8.0 MiB", capacity="8M")

    def test_less_capacity(self):
        self.check("4.0 MiB, not 2.0 MiB", capacity="2M")

    def test_one_page_more(self):
        self.check("capacity|has 4.0 MiB", capacity=4 * MIB + PAGE)

    def test_commit(self):
        self.check("backing|has", commit="load")
        self.daemon.restart(commit="boot")
        self.assertCold(self.daemon, "backing|has")

    def test_less_than_a_page_more_is_no_change(self):
        self.daemon.restart(capacity=4 * MIB + 1)
        self.assertWarm(self.daemon)
        self.assertBytes(self.daemon, "m", self.layers)

    @needs_root
    def test_reserved_huge_pages(self):
        writable_setting(self, HUGE_POOL, "8")
        with open("/proc/meminfo") as file:
            if "HugePages_Free:        8\n" not in file.read():
                self.skipTest("needs huge pages that nobody else takes")
        self.check("pages of another kind", huge_pages="reserved")
        self.daemon.restart(huge_pages="never")
        self.assertCold(self.daemon, "pages of another kind")

    def test_transparent_huge_pages(self):
        """The file is of the same kind, so the bytes stay, whatever the kind of its pages."""
        for huge_pages in ("auto", "never"):
            self.daemon.restart(huge_pages=huge_pages)
            self.assertBytes(self.daemon, "m", self.layers)
            self.assertUnharmed()

    def test_what_takes_no_cold_start(self):
        for changed in ({"policy": "next-use"}, {"io": "buffered"}, {"loaders": 1},
                        {"lease_grace": "5s"}, {"on_full": "ask"}, {"monitor_interval": "100ms"}):
            self.daemon.restart(**changed)
            self.assertWarm(self.daemon)
        self.assertBytes(self.daemon, "m", self.layers)

    def test_a_refused_start(self):
        """Then nothing remains of the arena, and the next start is cold."""
        kept = os.dup(self.stored("arena"))
        self.addCleanup(os.close, kept)
        self.daemon.end()
        self.daemon.start_again(ready=False, capacity="100T")
        self.assertEqual(self.daemon.process.wait(), 2)
        log = self.daemon.read_log()
        self.assertIn("a cold start", log)
        self.assertIn("there can never be more", log)
        self.assertEqual(os.fstat(kept).st_blocks, 0)
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), [])
        self.daemon.start_again(capacity="4M")
        self.assertEqual(self.daemon.call("List")["models"], [])

    def test_a_reader_of_the_old_arena(self):
        """The client learns that its lease has ended and that its mapping has no more bytes."""
        client = Reader(self.daemon)
        self.addCleanup(client.close)
        reply = client.lease(model="m", layer="b.1")
        self.assertTrue(client.read(reply) == self.layers["b.1"])
        self.daemon.restart(capacity="5M")
        self.assertEqual(client.read(reply), b"")
        self.assertRaises((EOFError, OSError), client.call, "Release", lease=reply["lease"])
        self.assertCold(self.daemon, "has 4.0 MiB")


class Memory(RestartTestCase):
    """There is never memory for two arenas."""

    def test_the_old_arena_goes_first(self):
        """The kernel's figures are read from outside all the time."""
        old, new = 192 * MIB, 224 * MIB
        service = self.service(capacity=old)
        service.call("LoadModel", definition=sized_model("m", old))
        kept = os.dup(service.store.fd("arena"))
        self.addCleanup(os.close, kept)
        service.end()
        self.assertEqual(os.fstat(kept).st_blocks * 512, old)
        most, over = [0], threading.Event()

        def sample():
            while not over.is_set():
                before = os.fstat(kept).st_blocks * 512
                try:
                    mapped = proc_status(service.pid).get("RssShmem", 0)
                except (FileNotFoundError, ProcessLookupError):
                    mapped = 0
                # Read in between: a layer that is gone by then was not there at the same time.
                most[0] = max(most[0], min(before, os.fstat(kept).st_blocks * 512) + mapped)
        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            service.start_again(capacity=new)
        finally:
            over.set()
            sampler.join()
        self.assertIn("a cold start", service.read_log())
        self.assertEqual(os.fstat(kept).st_blocks, 0)
        self.assertLessEqual(most[0], new + 64 * PAGE * 16)

    @needs_root
    def test_within_a_limit_for_one(self):
        """Two arenas would be refused, or killed."""
        cgroup = Cgroup(256 * MIB)
        self.addCleanup(cgroup.remove)
        service = self.service(capacity="160M", process={"preexec_fn": cgroup.enter})
        service.call("LoadModel", definition=sized_model("m", 150 * MIB))
        for capacity, is_warm in (("160M", True), ("170M", False), ("170M", True), ("150M", False)):
            service.restart(capacity=capacity)
            self.assertEqual(service.is_warm(), is_warm, service.read_log())
        service.end(signal.SIGTERM)
        service.store.drop()
        service.start_again()


if __name__ == "__main__":
    unittest.main()
