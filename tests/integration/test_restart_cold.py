"""The old arena does not fit, or a check fails: then the start is cold and reports the reason,
without memory for two arenas, or it is refused. There are never wrong bytes."""
import os
import pathlib
import random
import shutil
import signal
import struct
import tempfile
import threading
import unittest

from harness import MIB, PAGE, needs_root, proc_status, sized_model, writable_setting
from leasing import chosen_seed
from service_manager import Reader, RestartTestCase
from test_capacity import Cgroup

HUGE_POOL = "/proc/sys/vm/nr_hugepages"
# Offsets in the ledger's file: its version, and the bytes before the models.
VERSION_OFFSET, STEPS_OFFSET, EPOCH_OFFSET, MODELS_OFFSET = 8, 128, 384, 4096


class ColdTestCase(RestartTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="4M", policy="lru")
        self.layers = self.load_weights("m", [700_000, MIB, 5, 400_000], seed=1)
        self.daemon.settle()

    def stored(self, name):
        return self.daemon.store.fd(name)

    def put(self, name, fd):
        """Puts a descriptor into the store, last."""
        with self.daemon.store.lock:
            self.daemon.store.add(name, fd)

    def put_memory(self, name, data, size=None):
        fd = os.memfd_create(name)
        os.write(fd, data)
        if size is not None:
            os.truncate(fd, size)
        self.put(name, fd)
        return fd

    def forget(self, name):
        with self.daemon.store.lock:
            self.daemon.store.drop(name)


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


class Damage(ColdTestCase):
    """Damage to the ledger, to the arena's file and to the store."""

    def check(self, why, models=0):
        self.daemon.start_again()
        self.assertCold(self.daemon, why, models)

    def test_a_ledger_cut_short(self):
        for size in (0, 1, 55, 56, STEPS_OFFSET, EPOCH_OFFSET + 64, MODELS_OFFSET + 64, 69632,
                     80_000):
            with self.subTest(size=size):
                self.daemon.end()
                os.truncate(self.stored("ledger"), size)
                self.check("ledger")

    def test_a_ledger_cut_short_in_a_model(self):
        self.daemon.end()
        fd = self.stored("ledger")
        os.truncate(fd, os.fstat(fd).st_size - 1)
        self.check("ledger")

    def test_another_version(self):
        for version in (0, 1, 2, 4, 1 << 31):
            with self.subTest(version=version):
                self.daemon.end()
                os.pwrite(self.stored("ledger"), struct.pack("=I", version), VERSION_OFFSET)
                self.check("the ledger has format %d" % version)

    def test_a_bit_flipped(self):
        """A wrong bit anywhere leads to a cold start, or to a warm one with the right state. A few
        bits have no effect, such as those in the record of an older step."""
        rng = random.Random(chosen_seed())
        n_cold = 0
        for _ in range(40):
            fd = self.stored("ledger")
            self.daemon.end()
            places = [i for i, byte in enumerate(os.pread(fd, os.fstat(fd).st_size, 0)) if byte]
            place = rng.choice(places)
            byte = os.pread(fd, 1, place)[0]
            os.pwrite(fd, bytes([byte ^ 1 << rng.randrange(8)]), place)
            self.daemon.start_again()
            if self.daemon.is_warm():
                self.assertBytes(self.daemon, "m", self.layers)
                continue
            n_cold += 1
            self.assertRegex(self.daemon.read_log(), "a cold start: .*ledger", place)
            self.assertEqual(self.daemon.call("List")["models"], [])
            self.layers = self.load_weights("m", [rng.randrange(1, MIB) for _ in range(5)],
                                            seed=rng.randrange(1 << 30))
        self.assertGreater(n_cold, 5)

    def test_an_arena_of_another_size(self):
        for size in (0, 1, PAGE, 4 * MIB - PAGE, 4 * MIB - 1, 4 * MIB + 1, 4 * MIB + PAGE,
                     64 * MIB):
            with self.subTest(size=size):
                self.daemon.end()
                os.truncate(self.stored("arena"), size)
                self.check("the stored arena")

    def test_another_arena(self):
        self.daemon.end()
        self.forget("arena")
        fd = self.put_memory("arena", b"x" * 100, 4 * MIB)
        self.check("another arena")
        self.assertEqual(os.fstat(fd).st_size, 0)
        os.close(fd)

    def test_another_arenas_ledger(self):
        other = self.service(capacity="4M")
        other.settle()
        self.daemon.end()
        self.forget("ledger")
        self.put("ledger", other.store.fd("ledger"))
        self.check("another arena")
        self.assertUnharmed(other)

    def test_interchanged(self):
        self.daemon.end()
        arena, ledger = (os.dup(self.stored(name)) for name in ("arena", "ledger"))
        self.forget("arena")
        self.forget("ledger")
        self.put("arena", ledger)
        self.put("ledger", arena)
        self.check("")
        os.close(ledger)
        os.close(arena)

    def test_one_without_the_other(self):
        for name in ("arena", "ledger"):
            with self.subTest(missing=name):
                other = "ledger" if name == "arena" else "arena"
                kept = os.dup(self.stored(other))
                self.daemon.end()
                self.forget(name)
                self.check("one arena and one ledger")
                if other == "arena":
                    self.assertEqual(os.fstat(kept).st_blocks, 0)
                os.close(kept)

    def test_two_of_a_name(self):
        for name in ("arena", "ledger"):
            with self.subTest(name=name):
                self.daemon.end()
                fd = self.put_memory(name, b"x" * 100, 4 * MIB)
                self.check("one arena and one ledger")
                os.close(fd)

    def test_two_arenas_hold_no_memory(self):
        """The new daemon takes neither of them."""
        self.daemon.end()
        fds = [os.dup(self.stored("arena")), self.put_memory("arena", b"x" * 4 * MIB)]
        self.daemon.start_again()
        for fd in fds:
            self.assertEqual(os.fstat(fd).st_blocks, 0)
            os.close(fd)

    def test_three_of_each(self):
        self.daemon.end()
        for name in ("arena", "ledger") * 2:
            os.close(self.put_memory(name, b"x" * 100, 4 * MIB))
        self.check("one arena and one ledger")

    def test_a_file_of_somebody_else_as_the_arena(self):
        """The daemon does not change a foreign file, even if it is a memfd."""
        data = os.urandom(4 * MIB)
        for parent in ("/var/tmp", "/dev/shm"):
            directory = pathlib.Path(tempfile.mkdtemp(prefix="em-", dir=parent))
            self.addCleanup(shutil.rmtree, directory)
            path = directory / "theirs"
            path.write_bytes(data)
            os.chmod(path, 0o644)
            for flags in (os.O_RDWR, os.O_RDONLY):
                with self.subTest(path=path, flags=flags):
                    self.daemon.end()
                    self.forget("arena")
                    fd = os.open(path, flags)
                    self.put("arena", fd)
                    os.close(fd)
                    self.check("")
                    self.assertTrue(path.read_bytes() == data, "%d bytes" % path.stat().st_size)
                    self.assertEqual(path.stat().st_mode & 0o777, 0o644)

    def test_a_file_of_somebody_else_as_the_ledger(self):
        data = b"EMLedger" + os.urandom(100_000)
        path = self.directory() / "theirs"
        path.write_bytes(data)
        self.daemon.end()
        self.forget("ledger")
        with open(path, "r+b") as file:
            self.put("ledger", file.fileno())
        self.check("ledger")
        self.assertEqual(path.read_bytes(), data)

    def test_a_ledger_that_cannot_be_written(self):
        self.daemon.end()
        fd = os.open("/proc/self/fd/%d" % self.stored("ledger"), os.O_RDONLY)
        self.forget("ledger")
        self.put("ledger", fd)
        os.close(fd)
        self.daemon.start_again()
        self.assertUnharmed()
        self.load_weights("n", [5, 50_000], seed=3)
        self.daemon.restart()
        self.assertUnharmed()

    def test_an_arena_that_cannot_be_written(self):
        self.daemon.end()
        fd = os.open("/proc/self/fd/%d" % self.stored("arena"), os.O_RDONLY)
        self.forget("arena")
        self.put("arena", fd)
        os.close(fd)
        self.check("arena|map")

    def test_names_that_nobody_knows(self):
        """A message in the journal, and no harm."""
        self.daemon.end()
        names = ("", "foo", "Arena", "source-", "source-x", "source-9-9", "source--1-1",
                 "source-1-18446744073709551616", "stored")
        for name in names:
            os.close(self.put_memory(name, b"x" * 10_000))
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertIn("foo", self.daemon.read_log())
        self.assertBytes(self.daemon, "m", self.layers)
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "m", self.layers)
        self.daemon.call("UnloadModel", model="m")
        self.daemon.settle()
        kept = [name for name in self.daemon.store.names() if name not in ("arena", "ledger")]
        self.daemon.restart()
        self.assertWarm(self.daemon)
        # They may stay, but there are not more of them.
        self.daemon.settle()
        self.assertLessEqual(set(self.daemon.store.names()), {"arena", "ledger", *kept})

    def test_what_is_no_file(self):
        self.daemon.end()
        ends = os.pipe()
        folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        for fd in (*ends, folder):
            self.put("foo", fd)
            os.close(fd)
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertBytes(self.daemon, "m", self.layers)


class SourceDescriptors(ColdTestCase):
    """The descriptors of the weight files have changed."""

    def setUp(self):
        super().setUp()
        self.name = next(name for name in self.daemon.store.names() if name.startswith("source-"))

    def check_without(self):
        """The start is warm, and resident layers are there; loads of other layers fail."""
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertIn("not kept", self.daemon.read_log())
        self.assertBytes(self.daemon, "m", self.layers)
        self.assertEqual(self.daemon.stats()["scheduler"]["misses"], 0)
        self.daemon.call("Reset")
        for layer in self.layers:
            self.assertVarlinkError("IOFailed", self.daemon.call, "LoadLayer", model="m",
                                    layer=layer)
        self.assertUnharmed()
        self.daemon.restart()
        self.assertWarm(self.daemon)
        self.assertEqual(self.resident("m"), set())
        self.daemon.call("UnloadModel", model="m")
        self.assertBytes(self.daemon, "m", self.load_weights("m", [9, 99_999], seed=5))

    def replace(self, fd):
        self.daemon.end()
        self.forget(self.name)
        self.put(self.name, fd)
        os.close(fd)

    def test_missing(self):
        self.daemon.end()
        self.forget(self.name)
        self.check_without()

    def test_another_file(self):
        self.replace(os.memfd_create("other"))
        self.check_without()

    def test_cannot_be_read(self):
        path = "/proc/self/fd/%d" % self.stored(self.name)
        self.replace(os.open(path, os.O_WRONLY))
        self.check_without()

    def test_a_path_only(self):
        path = "/proc/self/fd/%d" % self.stored(self.name)
        self.replace(os.open(path, os.O_PATH))
        self.check_without()

    def test_under_another_files_name(self):
        """It is checked like any other."""
        fd = os.dup(self.stored(self.name))
        self.daemon.end()
        self.forget(self.name)
        self.put("source-7-7", fd)
        os.close(fd)
        self.check_without()

    def test_twice(self):
        fd = os.open("/proc/self/fd/%d" % self.stored(self.name), os.O_RDONLY)
        n_fds = self.daemon.n_fds_at_rest()
        self.daemon.end()
        self.put(self.name, fd)
        os.close(fd)
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertEqual(self.daemon.n_fds_at_rest(), n_fds)
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "m", self.layers)
        self.daemon.call("UnloadModel", model="m")
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])

    def test_opened_for_writing_too(self):
        path = os.readlink("/proc/self/fd/%d" % self.stored(self.name))
        self.replace(os.open(path, os.O_RDWR))
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "m", self.layers)


if __name__ == "__main__":
    unittest.main()
