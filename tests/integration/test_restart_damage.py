"""Damage to the ledger, to the arena's file and to the store: the start is cold and reports the
reason, or it is warm. There are never wrong bytes."""
import os
import random
import struct
import unittest

from harness import MIB, PAGE
from leasing import chosen_seed
from service_manager import ColdTestCase

# Offsets in the ledger's file: its version, and the bytes before the models.
VERSION_OFFSET, STEPS_OFFSET, EPOCH_OFFSET, MODELS_OFFSET = 8, 128, 384, 4096


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
            path = self.directory(parent) / "theirs"
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


if __name__ == "__main__":
    unittest.main()
