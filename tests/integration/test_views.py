"""Programs that only map files, with libedgemind-view.so preloaded: they read the file's bytes from
an arena that is smaller than the file."""
import os
import signal
import time
import unittest

import wire
from harness import MIB, wait_until
from leasing import write_model
from machine import needs_root
from view_readers import PROGRAMS, SIZES, ViewTestCase, stop


class Views(ViewTestCase):
    pass


def test_of(mode):
    def test(self):
        self.serve()
        self.assertRight(self.reader(mode))
        self.assertServed()
    return test


for word in ("all", "random", "unmap", "fork", "close", "twice", "block", "handler", "write",
             "change", "raw-close", "allocate"):
    setattr(Views, "test_" + word.replace("-", "_"), test_of(word))


class Several(Views):
    def test_no_model(self):
        """A file that belongs to no model is mapped as usual."""
        self.serve()
        other = self.directory() / "other"
        write_model(other, SIZES, seed=4)
        for mode in ("all", "twice"):
            self.assertRight(self.reader(mode, path=other))
        self.assertRight(self.reader("all", path=other, EDGEMIND_VIEW_VERBOSE=1),
                         b"%s is mapped directly: it belongs to no registered model" %
                         bytes(other))
        self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], self.fills)

    def test_few_addresses(self):
        """A file that can be mapped once, but not twice, is mapped as usual. Where it fits twice, the
        64 MiB that malloc may reserve for a thread are not in the way."""
        self.serve()
        large = self.directory() / "large"
        write_model(large, [MIB] * 64, seed=5)
        self.client().load_model(large, name="large")
        for addresses, said in (128 * MIB, (b"is mapped directly: a view takes twice the addresses for "
                                            b"64.0 MiB, and this process has them for ")), (192 * MIB, b""):
            with self.subTest(addresses=addresses):
                self.fills = self.daemon.stats()["scheduler"]["bytesLoaded"]
                self.assertRight(self.reader("all", path=large, prefix=["prlimit", f"--as={addresses}"]), said)
        self.assertServed()

    @needs_root  # to lock that much
    def test_locked(self):
        """A program locks all its memory, what it maps later, too. The kernel would fill holes with zeros."""
        self.serve()
        self.assertRight(self.reader("lock"))
        self.assertServed()

    def test_no_daemon(self):
        self.serve()
        self.daemon.stop()
        for mode in ("all", "twice"):
            self.assertRight(self.reader(mode), b"there is no daemon")

    def test_changed(self):
        """A file that has changed since its registration is mapped as usual. A file that changes
        while it is read raises SIGBUS, as a truncated file does."""
        self.serve()
        process = self.reader("random", 20_000)
        wait_until(lambda: self.daemon.stats()["scheduler"]["bytesLoaded"] > self.fills, "a fault")
        with open(self.path, "r+b") as file:
            file.seek(self.path.stat().st_size - 1)
            file.write(b"x")
        process.wait(60)
        self.assertEqual(process.returncode, -signal.SIGBUS)
        self.assertRight(self.reader("all"), b"it has changed since it was registered")

    def test_many_readers(self):
        """More readers than there is room for, some of them killed or stopped: there is no
        deadlock."""
        self.serve()
        readers = [self.reader("random", 6000) for _ in range(6)]
        for process in readers[:2]:
            time.sleep(0.2)
            process.kill()
        stop(readers[2])
        time.sleep(0.3)
        readers[2].send_signal(signal.SIGCONT)
        for process in readers[2:]:
            self.assertRight(process)
        self.assertServed()

    def test_copied(self):
        """If a program copies the weights, the library reports once that the cap does not limit the
        copies."""
        self.serve(capacity="20M")
        self.assertRight(self.reader("copy"), b"%s is copied by the program into its own memory" %
                         bytes(self.path))

    def test_declared(self):
        """The library declares a view before anything is read, and again after a restart, and
        declares its end."""
        self.serve(restarts=True)
        view = {"model": "m", "program": "view_told", "faults": 0, "heldBytes": 0}

        def views():
            return [{key: row[key] for key in view} for row in self.daemon.call("Views")["views"]]
        process = self.reader("stop")
        wait_until(lambda: views() == [view], "the view")
        self.daemon.restart(signal.SIGKILL)
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: [row for row in views() if row["faults"]], "a fault")
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: views() == [], "the view to end with its mapping")
        process.stdin.close()
        self.assertRight(process)

    def test_model_replaced(self):
        """Another file with the same model's name and layout gives no bytes to a view."""
        self.serve(restarts=True)
        other = self.directory() / "other"
        write_model(other, SIZES, seed=4)
        for restart in (False, True):
            with self.subTest(restart=restart):
                process = self.reader("stop")
                wait_until(lambda: self.daemon.call("Views")["views"], "the view")
                if restart:
                    self.daemon.restart(signal.SIGKILL)
                client = self.client()
                client.call("UnloadModel", model="m")
                client.load_model(other, name="m")
                process.communicate(b"\n\n", timeout=60)
                self.assertEqual(process.returncode, 0)
                client.call("UnloadModel", model="m")
                client.load_model(self.path, name="m")

    def holder(self, mode="hold"):
        """A reader that has a quarter of the model mapped, and reads it again when told, or, with
        "spin", all the time."""
        process = self.reader(mode)
        self.assertEqual(process.stdout.read(1), b"r")
        return process

    def read_again(self, process):
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(1), b"r", process.poll())

    def register(self, path, name):
        """Registers a model and loads what there is room for."""
        try:
            self.client().load_model(path, name=name)
        except wire.VarlinkError as refused:
            self.assertEqual(refused.error, "Busy")

    def overwrite(self):
        """Fills what is free of the arena with another model."""
        other = self.directory() / "other"
        write_model(other, SIZES, seed=4)
        self.register(other, "other")

    def test_stopped_during_restart(self):
        """A reader that was stopped until lease-grace was over still reads its own layers."""
        self.serve(restarts=True)
        process = self.holder()
        stop(process)
        self.daemon.restart(signal.SIGKILL, lease_grace="100ms")
        self.assertTrue(self.daemon.is_warm())
        time.sleep(0.3)
        self.overwrite()
        process.stdin.write(b"\n" * 1000)
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        self.assertEqual(process.stdout.read(), b"r" * 1000)
        self.assertRight(process)
        self.assertServed()
        wait_until(self.leaves_arena, "the arena to be free")

    def leaves_arena(self):
        try:
            self.client().call("UnloadModel", model="m")
        except wire.VarlinkError as refused:
            return refused.error == "NotFound"
        return True

    def test_cold_restart(self):
        """A daemon that starts cold empties the arena only when readers have unmapped it. Later
        they read the new daemon's arena."""
        self.serve(restarts=True)
        holder, busy = self.holder(), self.holder("spin")
        for capacity in ("5M", "4M"):
            self.daemon.restart(signal.SIGKILL, capacity=capacity)
            self.assertFalse(self.daemon.is_warm())
            self.register(self.path, "m")
            self.overwrite()
            self.read_again(holder)
            self.read_again(busy)
        holder.stdin.close()
        busy.stdin.close()
        self.assertRight(holder)
        self.assertRight(busy)
        self.assertFalse(self.daemon.said("still has the stored arena mapped"))

    def test_stopped_during_cold_restart(self):
        """A stopped reader cannot unmap the arena, and gets SIGBUS, not zeros."""
        self.serve(restarts=True)
        process = self.holder()
        stop(process)
        self.daemon.restart(signal.SIGKILL, capacity="5M")
        self.assertTrue(self.daemon.said("still has the stored arena mapped"))
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        self.assertIn(process.stdout.read(1), (b"", b"r"))  # the library may be first
        process.stdin.close()
        self.assertIn(process.wait(60), (-signal.SIGBUS, 0))

    def test_daemon_ends(self):
        """A daemon that leaves its arena to nobody hurts no reader."""
        options = {"capacity": "4M", "policy": "lru", "socket": self.directory() / "socket"}
        self.serve(socket=options["socket"])
        holder, busy = self.holder(), self.holder("spin")
        self.daemon.stop()
        self.daemon = self.start(**options)
        self.daemon.socket = options["socket"]
        self.register(self.path, "m")
        for process in holder, busy:
            self.read_again(process)
            process.stdin.close()
            self.assertRight(process)

    def test_outside(self):
        """Units that become mappings of the file count as outside of the arena."""
        self.serve()
        process = self.reader("cut")

        def outside():
            (view,) = self.daemon.call("Views")["views"]
            return view["outsideBytes"]
        self.assertEqual(process.stdout.read(1), b"r")
        before = outside()
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.read(1), b"r")
        wait_until(lambda: outside() > before, "the first layer to be outside")
        self.assertLess(abs(outside() - before - SIZES[0]), 2 * 4096)
        process.stdin.close()
        self.assertRight(process)

    def test_daemon_gone(self):
        """After the grace time the plain file is mapped."""
        self.serve(restarts=True)
        process = self.reader("stop", EDGEMIND_VIEW_GRACE="300ms")
        wait_until(lambda: self.daemon.call("Views")["views"], "the view")
        self.daemon.end(signal.SIGKILL)
        process.stdin.write(b"\n\n")
        process.stdin.close()
        self.assertRight(process, b"no daemon has come back: the weight files are mapped directly")
        self.daemon.start_again()

    def test_daemon_killed(self):
        """Again and again, in the middle of faults."""
        self.serve(restarts=True)
        process = self.reader("random", 3000)
        for _ in range(8):
            time.sleep(0.25)
            self.daemon.restart(signal.SIGKILL)
        self.assertRight(process)

    def test_capacity(self):
        """The weights take only the arena's memory, which is sampled while readers stream through
        it."""
        self.serve()
        readers = [self.reader("random", 1000) for _ in range(2)]
        arena, most = os.open(self.daemon.arena_path(), os.O_RDONLY), 0
        self.addCleanup(os.close, arena)
        while any(process.poll() is None for process in readers):
            most = max(most, os.fstat(arena).st_blocks * 512)
            time.sleep(0.001)
        for process in readers:
            self.assertRight(process)
        self.assertLessEqual(most, 4 * MIB)


class BySignal(Several):
    faults = "sigsegv"


class LargePages(Views):
    """With pages of 16 KiB, as daemon and library believe."""
    preloaded = (str(PROGRAMS / "large_pages"),)

    def serve(self, *words, **more):
        super().serve(*words, **more)
        self.assertEqual(self.daemon.stats()["arena"]["pageBytes"], 16384)


    def test_from_the_arena(self):
        """Only pages that two layers share are mapped from the file."""
        self.serve()
        process = self.reader("cut")
        self.assertEqual(process.stdout.read(1), b"r")
        (view,) = self.daemon.call("Views")["views"]
        self.assertLess(view["outsideBytes"], 16384 * (len(SIZES) + 2))
        process.stdin.write(b"\n")
        process.stdin.close()
        self.assertRight(process)


class LargePagesBySignal(LargePages):
    faults = "sigsegv"


@unittest.skipUnless(os.access("/dev/userfaultfd", os.R_OK | os.W_OK), "needs /dev/userfaultfd")
class ByDevice(Views):
    """For users of /dev/userfaultfd, system calls can read unmapped parts of a view, too."""
    faults = "device"
    test_gather = test_of("gather")
    test_lock = needs_root(test_of("lock"))


del Views  # its tests are Several's

if __name__ == "__main__":
    unittest.main()
