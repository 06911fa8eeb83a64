"""A program that uses libedgemind, and what its tests share."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from harness import BUILD, MIB, TIMEOUT, clean_environment, sized_model
from leasing import LeaseTestCase, write_model

CHECK = BUILD / "tests" / "integration" / "library_check"


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
        """The layer's bytes, as the program reads them in its memory."""
        path = self.directory / "bytes"
        self.save(slot, path)
        return path.read_bytes()

    def mappings(self):
        """How many mappings of the arena it has, and their permissions."""
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
        """Returns the failure, which must have this errno's or this error's name."""
        with self.assertRaises(Failure) as caught:
            function(*words)
        self.assertIn(name, (caught.exception.errno, caught.exception.name), caught.exception)
        return caught.exception

    def program(self, **options):
        return Program(self, **options)

    def give_back(self, program, slot):
        """Waits until the daemon has processed it, by a later call that it answers."""
        program.release(slot)
        self.assertFails("NotFound", program.acquire, slot, "none", "b.0")

    def scatter(self, daemon=None, unit=MIB):
        """Leaves only free runs of one `unit` in an arena of 8 units, so that the model `big` of
        `unit` * 7/2 needs several runs. Returns the bytes of its layer."""
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
