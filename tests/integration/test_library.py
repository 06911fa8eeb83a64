"""libedgemind with the real daemon, through a program such as its users write."""
import errno
import os
import pathlib
import re
import signal
import subprocess
import unittest

from harness import (BUILD, MIB, PAGE, TIMEOUT, clean_environment, needs_preloading, sized_model,
                     wait_until)
from leasing import POLICIES, generate, write_model
from library_program import LibraryTestCase
from machine import limit_addresses, needs_root, writable_setting
from weight_files import file_bytes

HUGE = 2 * MIB


class Forks(LibraryTestCase):
    """A child of the program has copies of its handles, but must not use them."""
    options = {"capacity": "8M"}

    def setUp(self):
        super().setUp()
        path = self.directory() / "m"
        self.layers = write_model(path, [MIB])
        self.load(path, "m")

    def load(self, path, name):
        with self.client() as client:
            client.load_model(path, name=name)

    def assertHeld(self):
        return self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m",
                                       layer="b.0")

    def test_the_parents_stand(self):
        program = self.program()
        program.acquire(0, "m", "b.0")
        *answers, byte, released, _ = map(int, program.fork(0))
        self.assertEqual({*answers, released}, {-errno.ECHILD})
        self.assertEqual(byte, self.layers["b.0"][0])
        self.assertHeld()
        program.check()
        self.assertEqual(program.bytes(0), self.layers["b.0"])
        self.give_back(program, 0)
        self.daemon.call("UnloadLayer", model="m", layer="b.0")

    def test_a_lease_ends_with_the_parent(self):
        before = self.daemon.stats()["control"]["connections"]
        program = self.program()
        program.acquire(0, "m", "b.0")
        child = int(program.fork(0, "stay")[-1])
        self.addCleanup(os.kill, child, signal.SIGKILL)
        self.assertHeld()
        os.kill(program.pid, signal.SIGKILL)
        program.process.wait(TIMEOUT)
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == before, "its end")
        self.daemon.call("UnloadLayer", model="m", layer="b.0")


class Layers(LibraryTestCase):
    options = {"capacity": "8M"}

    def test_every_format(self):
        directory = self.directory()
        single = generate.write_safetensors(str(directory / "one.safetensors"),
                                            generate.model("safetensors", blocks=2))
        gguf = generate.write_gguf(str(directory / "two.gguf"), generate.model("gguf", blocks=2))
        sharded = generate.write_sharded(str(directory / "three"), generate.model("safetensors", blocks=2))
        index = next(path for path in (directory / "three").iterdir() if path.suffix == ".json")
        program = self.program()
        for path, name, placed in ((directory / "one.safetensors", "one", single),
                                   (directory / "two.gguf", "two", gguf), (index, "three", sharded)):
            self.assertEqual(program.load(path), [name])
            layers = {}
            for tensor in placed:
                layers.setdefault(tensor.name.rpartition(".")[0], []).append(tensor)
            seen = 0
            for layer in self.daemon.call("List", model=name)["layers"]:
                program.acquire(0, name, layer["name"])
                found, words = program.bytes(0), program.tensors(0)
                described = {words[i]: words[i + 1:i + 5] for i in range(0, len(words), 5)}
                for tensor in placed:
                    if tensor.name not in described:
                        continue
                    seen += 1
                    dtype, offset, size, shape = described[tensor.name]
                    self.assertEqual((dtype, shape), (tensor.dtype, ",".join(map(str, tensor.shape))))
                    self.assertEqual(found[int(offset):][:int(size)], file_bytes(tensor), tensor)
                self.give_back(program, 0)
            self.assertEqual(seen, len(placed))
            self.daemon.call("UnloadModel", model=name)
        self.assertEqual(program.load(directory / "one.safetensors", "other"), ["other"])
        failure = self.assertFails("AlreadyLoaded", program.load, directory / "one.safetensors", "other")
        self.assertEqual(failure.text, "model other is known already")

    def test_one_mapping(self):
        layers = self.load_weights("m", [MIB, 3 * MIB + 5, 7])
        at_rest = self.daemon.n_fds_at_rest()
        program = self.program()
        before = program.n_fds()
        for slot, (layer, data) in enumerate(layers.items()):
            program.acquire(slot, "m", layer)
            self.assertEqual(program.bytes(slot), data)
        self.assertEqual(program.mappings(), ["r--s"])
        self.assertEqual(program.n_fds(), before + 1)
        program.free()
        self.assertEqual(program.mappings(), [])
        self.assertEqual(program.n_fds(), before - 1)
        self.assertNothingLeft(at_rest)

    @needs_preloading  # an emulated program's limit is the emulator's
    def test_few_addresses(self):
        """As in a process of 32 bits, which can map less than the arena may have."""
        self.daemon = self.start(capacity="256M", commit="load")
        layers = self.load_weights("m", [MIB])
        program = self.program()
        limit_addresses(program.pid, 64 * MIB)
        failure = self.assertFails("ENOMEM", program.acquire, 0, "m", "b.0")
        self.assertRegex(failure.text, r"^cannot map the arena of 256\.0 MiB: this process has "
                                       r"addresses for [56]\d\.0 MiB in one piece$")
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "the lease to end")
        limit_addresses(program.pid, 512 * MIB)
        program.acquire(0, "m", "b.0")
        self.assertEqual(program.bytes(0), layers["b.0"])

    def test_several_extents(self):
        data = self.scatter()
        program = self.program()
        _, size, first = program.acquire(0, "big", "b.0")
        self.assertEqual(int(size), len(data))
        self.assertEqual(program.bytes(0), data)
        mappings = program.mappings()
        self.assertGreater(len(mappings), 2)
        self.assertEqual(set(mappings), {"r--s"})
        # The same placement again: no mapping, and no page fault.
        program.release(0)
        self.assertEqual(program.acquire(0, "big", "b.0")[2], first)
        self.assertEqual(program.touch(0), ["0"])
        self.assertEqual(program.mappings(), mappings)
        self.assertEqual(program.bytes(0), data)
        # Another placement is another mapping, with the right bytes.
        self.give_back(program, 0)
        self.daemon.call("UnloadLayer", model="big", layer="b.0")
        self.daemon.call("UnloadLayer", model="small", layer="l1")
        program.acquire(0, "big", "b.0")
        self.assertEqual(program.bytes(0), data)

    def test_repeated_without_page_faults(self):
        self.load_weights("m", [2 * MIB])
        program = self.program()
        _, _, first = program.acquire(0, "m", "b.0")
        self.assertNotEqual(program.touch(0), ["0"])
        program.release(0)
        self.assertEqual(program.acquire(0, "m", "b.0")[2], first)
        self.assertEqual(program.touch(0), ["0"])

    def test_read_only(self):
        self.load_weights("m", [PAGE])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.assertFails("EOF", program.scribble, 0)
        self.assertEqual(program.process.wait(TIMEOUT), -signal.SIGSEGV)

    def test_refusals(self):
        layers = self.load_weights("m", [5 * MIB, 4 * MIB])
        program, other = self.program(), self.program()
        self.assertEqual(self.assertFails("NotFound", program.acquire, 0, "m", "b.9").text,
                         "model m has no layer b.9")
        self.assertEqual(self.assertFails("NotFound", program.acquire, 0, "n", "b.0").errno, "ENOENT")
        other.acquire(0, "m", "b.0")
        failure = self.assertFails("Busy", program.acquire, 0, "m", "b.1")
        self.assertEqual(failure.errno, "EBUSY")
        self.assertRegex(failure.text, r"^busy: layer m/b\.0 is held by \S+ \(pid %d\)$" % other.pid)
        self.assertFails("Busy", program.acquire, 0, "m", "b.1", 1000)
        self.assertFails("EINVAL", program.acquire, 0, "m", "b.1", 60_000_001)
        # It waits, and gets the layer when the other client has released its own.
        program.say("acquire", 0, "m", "b.1", 60_000_000)
        self.wait_for_waiting(1)
        other.release(0)
        program.hear()
        self.assertEqual(program.bytes(0), layers["b.1"])

    def test_no_daemon(self):
        program = self.program(connected=False)
        for name, error in (("/nowhere/at/all", "ENOENT"), (self.daemon.config, "ECONNREFUSED")):
            self.assertIn(str(name), self.assertFails(error, program.connect, name).text)
            self.assertFails("ENOTCONN", program.acquire, 0, "m", "b.0")
        program.connect()


class Arenas(LibraryTestCase):
    """Arenas of every kind."""

    def test_growing(self):
        self.daemon = self.start(capacity="8M", commit="load")
        layers = self.load_weights("m", [PAGE])
        program = self.program()
        program.acquire(0, "m", "b.0")
        for i in range(1, 4):
            more = self.load_weights("m%d" % i, [2 * MIB], seed=i)
            program.acquire(i, "m%d" % i, "b.0")
            self.assertEqual(program.bytes(i), more["b.0"])
        self.assertEqual(program.bytes(0), layers["b.0"])
        self.assertEqual(program.mappings(), ["r--s"])
        monitor = self.daemon.wait_sample()
        self.assertTrue(monitor["aligned"], monitor)  # nothing was committed by looking at it

    def test_several_extents_of_a_growing_one(self):
        self.daemon = self.start(capacity="8M", commit="load")
        data = self.scatter()
        program = self.program()
        program.acquire(0, "big", "b.0")
        self.assertEqual(program.bytes(0), data)

    @needs_root
    def test_reserved_huge_pages(self):
        setting = pathlib.Path("/proc/sys/vm/nr_hugepages")
        information = pathlib.Path("/proc/meminfo").read_text()
        if "Hugepagesize:       2048 kB" not in information:
            self.skipTest("needs 2 MiB huge pages")
        writable_setting(self, setting, str(int(setting.read_text()) + 8))
        if int(re.search(r"HugePages_Free: +(\d+)", setting.parents[2].joinpath("meminfo").read_text())
               .group(1)) < 8:
            self.skipTest("this machine has no 8 huge pages to reserve")
        for commit in ("boot", "load"):
            self.daemon = self.start(capacity=8 * HUGE, huge_pages="reserved", commit=commit)
            data = self.scatter(unit=HUGE)
            program = self.program()
            program.acquire(0, "big", "b.0")
            self.assertEqual(program.bytes(0), data)
            self.assertGreater(len(program.mappings()), 2)
            program.quit()
            self.daemon.stop()

    def test_transparent_huge_pages(self):
        self.daemon = self.start(capacity="16M", huge_pages="auto")
        data = self.scatter(unit=HUGE)
        program = self.program()
        program.acquire(0, "big", "b.0")
        self.assertEqual(program.bytes(0), data)

    def test_simulated(self):
        self.daemon = self.start(capacity="8M", simulate=True)
        self.daemon.call("LoadModel", definition=sized_model("m", PAGE))
        program = self.program()
        self.assertIn("simulates", self.assertFails("EOPNOTSUPP", program.acquire, 0, "m", "l0").text)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    @needs_root
    def test_cut_short_under_emctl(self):
        """emctl writes mapped bytes, but if the arena is truncated it reports an error and gets no
        signal."""
        self.daemon = self.start(capacity="8M")
        self.load_weights("m", [4 * MIB])
        process = subprocess.Popen([str(BUILD / "emctl"), "cat", "m", "b.0"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE,
                                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))
        first = os.read(process.stdout.fileno(), 1)  # now it has the lease, and the pipe is full
        arena = os.open(self.daemon.arena_path(), os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(arena, 2 * MIB)
        out, err = process.communicate(timeout=TIMEOUT)
        os.ftruncate(arena, 8 * MIB)
        os.close(arena)
        self.assertEqual(process.returncode, 1)
        self.assertLess(len(first + out), 4 * MIB)
        self.assertEqual(err, b"emctl: cannot read the arena: its daemon has gone.\n")


class Runs(LibraryTestCase):
    def test_larger_than_the_arena(self):
        sizes = [MIB + 5, 2 * MIB, MIB, 3 * MIB, 512 << 10, MIB]
        for policy in POLICIES:
            self.daemon = self.start(capacity="5M", policy=policy)
            layers = self.load_weights("m", sizes)
            program = self.program()
            self.assertEqual(program.begin(0, "m"), [str(len(sizes))])
            for step in range(3 * len(sizes)):
                layer, index, passed, _ = program.next(0)
                self.assertEqual((int(index), int(passed)), (step % len(sizes), step // len(sizes)))
                self.assertEqual(layer, "b.%d" % (step % len(sizes)))
                self.assertEqual(program.bytes(0), layers[layer])
            program.end(0)
            stats = self.daemon.stats()
            self.assertEqual((stats["arena"]["leasedBytes"], stats["scheduler"]["runs"]), (0, 0))
            program.quit()
            self.daemon.stop()

    def test_hits(self):
        self.daemon = self.start(capacity="8M")
        self.load_weights("m", [MIB, MIB])
        program = self.program()
        program.begin(0, "m")
        self.assertEqual([program.next(0)[3] for _ in range(4)], ["1"] * 4)
        self.daemon.call("UnloadLayer", model="m", layer="b.0")
        self.assertEqual(program.next(0)[3], "0")

    def test_refused_step(self):
        """The run keeps its place, and releases its layer."""
        self.daemon = self.start(capacity="8M")
        layers = self.load_weights("m", [2 * MIB, 6 * MIB])
        self.load_weights("n", [3 * MIB])
        program, other = self.program(), self.program()
        program.begin(0, "m")
        program.next(0)
        other.acquire(0, "n", "b.0")
        self.assertFails("Busy", program.next, 0)
        self.assertFails("Busy", program.next, 0, 1000)
        self.give_back(other, 0)
        self.assertEqual(program.next(0)[:2], ["b.1", "1"])
        self.assertEqual(program.bytes(0), layers["b.1"])
        self.assertFails("NotFound", program.begin, 1, "nowhere")


if __name__ == "__main__":
    unittest.main()
