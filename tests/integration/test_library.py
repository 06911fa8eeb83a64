"""libedgemind against the real daemon, through a program that its users could have written."""
import _ctypes
import ctypes
import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import (BUILD, MIB, PAGE, ROOT, TIMEOUT, TestCase, clean_environment, needs_root, run,
                     sized_model, wait_until, writable_setting)
from leasing import POLICIES, LeaseTestCase, generate, write_model
from test_weights import file_bytes

CHECK = BUILD / "tests" / "integration" / "library_check"
HEADER = ROOT / "client" / "library" / "edgemind.h"
LIBRARY = BUILD / "libedgemind.so"
HUGE = 2 * MIB


class Failure(Exception):
    """errno's name, the error's name without the interface or None, the text."""

    def __init__(self, answer):
        self.errno, name, self.text = answer.split(" ", 2)
        self.name = None if name == "-" else name.rpartition(".")[2]
        super().__init__(answer)


class Program:
    """A running library_check. Its commands are methods; each returns the words of the answer."""

    def __init__(self, test, connected=True):
        environment = clean_environment(EDGEMIND_SOCKET=test.daemon.socket) if test.daemon else None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="em-"))
        self.process = subprocess.Popen([str(CHECK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment)
        self.pid = self.process.pid
        test.addCleanup(self.quit)
        if connected:
            self.connect()

    def __getattr__(self, command):
        return lambda *words: self.hear(self.say(command, *words))

    def say(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def hear(self, _=None):
        answer = self.process.stdout.readline().rstrip("\n")
        if not re.match("ok( |$)", answer):
            raise Failure(answer or "EOF - the program ended")
        return answer.split()[1:]

    def bytes(self, slot):
        """The layer's, as the program sees them in its memory."""
        path = self.directory / "bytes"
        self.save(slot, path)
        return path.read_bytes()

    def mappings(self):
        """How many mappings of the arena it has, and what they may do."""
        lines = pathlib.Path("/proc/%d/maps" % self.pid).read_text().splitlines()
        return [line.split()[1] for line in lines if "edgemind-arena" in line]

    def n_fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def quit(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(TIMEOUT)
        shutil.rmtree(self.directory, ignore_errors=True)


class LibraryTestCase(LeaseTestCase):
    def setUp(self):
        if not CHECK.exists():
            self.skipTest("%s is not built" % CHECK)
        super().setUp()

    def assertFails(self, name, function, *words):
        """The failure, which has this errno's or this error's name."""
        with self.assertRaises(Failure) as caught:
            function(*words)
        self.assertIn(name, (caught.exception.errno, caught.exception.name), caught.exception)
        return caught.exception

    def program(self, **options):
        return Program(self, **options)

    def give_back(self, program, slot):
        """Returns when the daemon has it: it answers what comes after."""
        program.release(slot)
        self.assertFails("NotFound", program.acquire, slot, "none", "b.0")

    def scatter(self, daemon=None, unit=MIB):
        """Leaves free runs of pages of one `unit` only, in an arena of 8; then the model `big` of
        `unit` * 7/2 has to lie in several. The bytes of its layer."""
        daemon = daemon or self.daemon
        daemon.call("LoadModel", definition=sized_model("small", *[unit] * 8))
        for i in (0, 2, 5, 7):
            daemon.call("UnloadLayer", model="small", layer="l%d" % i)
        path = self.directory() / "big"
        layers = write_model(path, [unit * 7 // 2])
        with self.client(daemon) as client:
            client.load_model(path, name="big")
        (layer,) = daemon.call("List", model="big")["layers"]
        self.assertGreater(layer["extents"], 1)
        return layers["b.0"]


class Forks(LibraryTestCase):
    """A child of the program has copies of its handles, and may not use them."""
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

    def test_several_extents(self):
        data = self.scatter()
        program = self.program()
        _, size, first = program.acquire(0, "big", "b.0")
        self.assertEqual(int(size), len(data))
        self.assertEqual(program.bytes(0), data)
        mappings = program.mappings()
        self.assertGreater(len(mappings), 2)
        self.assertEqual(set(mappings), {"r--s"})
        # The same placement again: no mapping, and not a page fault.
        program.release(0)
        self.assertEqual(program.acquire(0, "big", "b.0")[2], first)
        self.assertEqual(program.touch(0), ["0"])
        self.assertEqual(program.mappings(), mappings)
        self.assertEqual(program.bytes(0), data)
        # Another one is another mapping, and right.
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
        # It waits, and has the layer when the other has given its own back.
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
        """What emctl writes is mapped, and yet its end is an error, not a signal."""
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
        """The run stays where it is, and gives its layer back."""
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


class Reconnecting(LibraryTestCase):
    """To a daemon that knows nothing of the one before."""

    def setUp(self):
        super().setUp()
        self.path = self.directory() / "socket"
        self.begin()

    def begin(self):
        self.daemon = self.start(capacity="8M", socket=self.path)
        self.daemon.socket = self.path

    def test_while_all_is_well(self):
        layers = self.load_weights("m", [MIB, 2 * MIB])
        program = self.program()
        places = [program.acquire(i, "m", "b.%d" % i) for i in range(2)]
        program.begin(2, "m")
        program.next(2)
        n_fds = program.n_fds()
        hits = self.daemon.stats()["scheduler"]["hits"]
        program.check()
        program.reconnect()
        program.check()
        self.assertEqual([program.show(i) for i in range(2)], places)
        self.assertEqual(self.daemon.stats()["scheduler"]["hits"], hits + 3)
        self.assertEqual(program.mappings(), ["r--s"])
        self.assertEqual(program.n_fds(), n_fds)
        self.assertEqual(program.bytes(1), layers["b.1"])
        self.assertEqual(program.bytes(2), layers["b.0"])
        self.assertEqual(program.next(2)[:3], ["b.1", "1", "0"])
        program.end(2)
        for i in range(2):
            self.give_back(program, i)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertEqual(self.daemon.stats()["control"]["connections"], 2)

    def restart(self):
        """Another daemon on the same socket."""
        self.daemon.discard()
        self.begin()

    def test_to_another_daemon(self):
        data = self.scatter()
        program = self.program()
        program.acquire(0, "big", "b.0")
        program.begin(1, "small")
        program.next(1)
        self.restart()
        self.assertFails("ECONNRESET", program.check)
        failure = self.assertFails("ESTALE", program.acquire, 2, "big", "b.0")
        self.assertIn("layer b.0 of model big is lost: there is no model big", failure.text)
        self.assertFails("ESTALE", program.check)
        self.assertEqual(program.bytes(0), data)  # the old arena is mapped still
        self.assertFails("NotFound", program.reconnect)
        self.load_weights("other", [MIB], seed=8)
        layers = self.load_weights("big", [MIB * 7 // 2])
        self.assertEqual(layers["b.0"], data)
        self.assertFails("NotFound", program.reconnect)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)  # all or nothing
        self.assertFails("ESTALE", program.end, 1)
        program.reconnect()
        program.check()
        self.assertEqual(program.bytes(0), data)
        self.assertEqual(program.mappings(), ["r--s"])  # nothing is left of the old one
        self.give_back(program, 0)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    def test_to_another_model_of_that_name(self):
        data = self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.restart()
        self.load_weights("m", [MIB + 1])
        for call in (lambda: program.acquire(1, "m", "b.0"), program.reconnect):
            self.assertIsNone(self.assertFails("ESTALE", call).name)
        self.assertEqual(program.bytes(0), data["b.0"])
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertFails("ESTALE", program.release, 0)
        program.acquire(0, "m", "b.0")  # with nothing lost, a new connection is made

    def test_with_nothing_held(self):
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.release(0)
        self.restart()
        data = self.load_weights("m", [MIB], seed=5)
        program.acquire(0, "m", "b.0")
        self.assertEqual(program.bytes(0), data["b.0"])
        self.assertEqual(program.mappings(), ["r--s"])

    def test_without_a_daemon(self):
        program = self.program(connected=False)
        self.daemon.stop()
        self.assertFails("ENOENT", program.connect)
        self.assertFails("ENOENT", program.reconnect)
        self.begin()
        program.reconnect()
        self.assertEqual(self.daemon.stats()["control"]["connections"], 2)

    def test_no_daemon_comes_back(self):
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.timeout(10_000)
        self.daemon.stop()
        for _ in range(2):
            self.assertIn("no daemon at",
                          self.assertFails("ENOENT", program.acquire, 1, "m", "b.0").text)
        self.assertFails("ENOENT", program.release, 0)


class Linking(TestCase):
    """What others build against."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="em-"))
        self.addCleanup(shutil.rmtree, self.directory)
        if not LIBRARY.exists():
            self.skipTest("%s is not built" % LIBRARY)

    def done(self, *command, **options):
        result = run(*command, **options)
        self.assertEqual(result.code, 0, result)
        return result.out

    def test_exports(self):
        declared = set(re.findall(r"\b(edgemind_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(),
                                                                flags=re.S)))
        exported = {line.split()[-1] for line in
                    self.done("nm", "-D", "--defined-only", LIBRARY).splitlines()}
        self.assertEqual(exported - {"EDGEMIND_0"}, {name + "@@EDGEMIND_0" for name in declared})
        listed = self.done("nm", "--defined-only", "--extern-only", BUILD / "libedgemind.a")
        archived = {line.split()[-1] for line in listed.splitlines() if len(line.split()) == 3}
        self.assertEqual(archived, declared)
        self.assertIn("SONAME               libedgemind.so.0\n", self.done("objdump", "-p", LIBRARY))

    def test_it_stays_loaded(self):
        """Its handler for SIGBUS is still called."""
        _ctypes.dlclose(ctypes.CDLL(str(LIBRARY))._handle)
        self.assertIn("/libedgemind.so", pathlib.Path("/proc/self/maps").read_text())

    def test_manual_names_every_function(self):
        manual = (ROOT / "client" / "library" / "libedgemind.3").read_text()
        for name in re.findall(r"\b(edgemind_\w+)\(", HEADER.read_text()):
            self.assertIn(name, manual)

    def test_header_alone(self):
        header = self.directory / "edgemind.h"
        shutil.copy(HEADER, header)
        source = self.directory / "program"
        source.write_text("#include <edgemind.h>\nint main(void) { return edgemind_new() == 0; }\n")
        for compiler, language, standard in (("cc", "c", "c99"), ("c++", "c++", "c++11"),
                                             ("clang", "c++", "c++11")):
            if shutil.which(compiler):
                self.done(compiler, "-x", language, "-std=" + standard, "-Wall", "-Wextra", "-Werror",
                          "-pedantic", "-I", self.directory, "-fsyntax-only", source)

    @unittest.skipUnless(shutil.which("cc") and shutil.which("pkg-config"), "needs a compiler")
    def test_installed(self):
        root = self.directory / "root"
        environment = clean_environment()
        environment.pop("MAKEFLAGS", None)
        environment.pop("BUILD", None)
        prefix = (BUILD / "prefix").read_text().split()[0]  # another one would build anew
        words = ("BUILD=%s" % os.path.relpath(BUILD, ROOT), "DESTDIR=%s" % root, "PREFIX=%s" % prefix)
        self.done("make", "-s", "install", *words, cwd=ROOT, env=environment)
        installed = root / prefix.lstrip("/")
        library = installed / "lib"
        flags = self.done("pkg-config", "--cflags", "--libs", "edgemind", env=clean_environment(
            PKG_CONFIG_PATH=library / "pkgconfig", PKG_CONFIG_SYSROOT_DIR=root)).split()
        program = self.directory / "program"
        self.done("cc", "-o", program, "-x", "c", "-", *flags, stdin=self.source())
        self.assertEqual(run(program).code, 127)  # the loader does not find what is not installed
        self.done(program, env=clean_environment(LD_LIBRARY_PATH=library))
        static = self.done("pkg-config", "--libs", "jansson").split()
        self.done("cc", "-o", program, "-x", "c", "-", "-I", installed / "include", "-x", "none",
                  library / "libedgemind.a", *static, stdin=self.source())
        self.done(program)
        self.done("make", "-s", "uninstall", *words, cwd=ROOT, env=environment)
        left = [path for path in root.rglob("*") if not path.is_dir()]
        self.assertEqual(left, [root / "etc/edgemind/edgemindd.conf"])

    def source(self):
        """Has names of its own that the library uses inside."""
        path = self.directory / "program.c"
        path.write_text('#include <edgemind.h>\n'
                        'int varlink_connect(void); int varlink_connect(void) { return 3; }\n'
                        'const char *error_text(void); const char *error_text(void) { return ""; }\n'
                        'int main(void)\n{\n'
                        '    struct edgemind *em = edgemind_new();\n'
                        '    int r = edgemind_connect(em, "/nowhere/at/all");\n'
                        '    edgemind_free(em);\n'
                        '    return r != -%d || varlink_connect() != 3 || *error_text();\n}\n'
                        % errno.ENOENT)
        file = open(path)
        self.addCleanup(file.close)
        return file


if __name__ == "__main__":
    unittest.main()
