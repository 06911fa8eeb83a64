"""What may happen to a program that reads views, and to the file and the daemon below it: it reads the
file's bytes, or gets SIGBUS where the file has none, and nobody else is hurt. The programs are Python's
own mmap, one byte at a time."""
import contextlib
import ctypes
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import unittest

import wire
from harness import TIMEOUT, clean_environment, wait_until
from leasing import write_model
from service_manager import ENDS
from view_readers import LIBRARY, SIZES, USERFAULTFD, ViewTestCase, stop

# Prints the byte at each place that a line of its standard input names. "exec" starts it anew.
READER = """
import mmap, os, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
while True:
    word = b""
    while byte := os.read(0, 1).strip():  # reads no further than the line
        word += byte
    if word == b"exec":
        os.execv(sys.executable, [sys.executable, "-S", "-c", os.environ["READER"], sys.argv[1]])
    if not word:
        break
    print(mapped[int(word)], flush=True)
"""
IOCTL = {"x86_64": 16}.get(os.uname().machine, 29)
USERFAULTFD_IOC_NEW = 0xaa00
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_EPERM = 0x7fff0000, 0x00050000 | 1


def filter_of(*statements):
    """A struct sock_fprog of (code, jump if true, jump if false, k)."""
    data = b"".join(struct.pack("HBBI", *statement) for statement in statements)
    buffer = ctypes.create_string_buffer(data, len(data))
    return struct.pack("HxxxxxxP", len(statements), ctypes.addressof(buffer)), buffer


def forbid_userfaultfd():
    """Makes both ways to a userfaultfd fail with EPERM, as a container's filter does."""
    load_number, load_request = (0x20, 0, 0, 0), (0x20, 0, 0, 24)
    program, kept = filter_of(
        load_number, (0x15, 3, 0, USERFAULTFD), (0x15, 0, 3, IOCTL), load_request,
        (0x15, 0, 1, USERFAULTFD_IOC_NEW), (0x06, 0, 0, SECCOMP_RET_EPERM),
        (0x06, 0, 0, SECCOMP_RET_ALLOW))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0, kept


@contextlib.contextmanager
def reads_that_fail(pid, path, error, log):
    """A tracer makes the process's reads of the file fail."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), "-P", str(path), "-o", str(log), "-e", "trace=pread64",
         "-e", "inject=pread64:error=" + error], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        said = b""
        while b" attached" not in said:
            line = tracer.stderr.readline()
            if not line:
                raise unittest.SkipTest("cannot trace: " + said.decode().strip())
            said += line
        yield
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.wait()
        tracer.stderr.close()


class Reader:
    """One such program."""

    def __init__(self, test, path, **options):
        environment = {"EDGEMIND_VIEW_FAULTS": test.faults, **options.pop("environment", {})}
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", READER, path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment(LD_PRELOAD=LIBRARY, READER=READER,
                                  EDGEMIND_SOCKET=test.daemon.socket,
                                  **{k: v for k, v in environment.items() if v}), **options)
        self.pid = self.process.pid
        for close in (self.process.stderr.close, self.process.stdout.close,
                      self.process.stdin.close, self.process.wait,
                      self.process.kill):
            test.addCleanup(close)

    def say(self, word):
        self.process.stdin.write(b"%s\n" % str(word).encode())
        self.process.stdin.flush()

    def hear(self):
        if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
            raise AssertionError("the reader hangs")
        return int(self.process.stdout.readline())

    def read(self, place):
        self.say(place)
        return self.hear()

    def end(self):
        """Its exit status and what it wrote on standard error."""
        self.process.stdin.close()
        status = self.process.wait(60)
        return status, self.process.stderr.read()


class Harm(ViewTestCase):
    """Three of the layers fit the arena."""

    def serve(self, **options):
        super().serve(**options)
        self.bytes = self.path.read_bytes()

    def place(self, layer):
        """In the middle of layer b.N, whose bytes come one after the other."""
        return len(self.bytes) - sum(SIZES[layer:]) + SIZES[layer] // 2

    def run_reader(self, **options):
        return Reader(self, self.path, **options)

    def assertReads(self, reader, *layers):
        for layer in layers:
            place = self.place(layer)
            self.assertEqual(reader.read(place), self.bytes[place])

    def assertEnds(self, reader, said=b""):
        status, err = reader.end()
        self.assertEqual((status, err.count(b"\n")), (0, bool(said)), err)
        self.assertIn(said, err)

    def assertKilled(self, reader, layer):
        """Reading the layer raises SIGBUS, without a word."""
        reader.say(self.place(layer))
        self.assertEqual(reader.process.wait(60), -signal.SIGBUS)
        self.assertEqual((reader.process.stdout.read(), reader.process.stderr.read()), (b"", b""))

    def test_shrunk(self):
        """A file that becomes shorter raises SIGBUS in the reader that needs it. Who has the layer
        already reads on."""
        self.serve()
        victim, other = self.run_reader(), self.run_reader()
        self.assertReads(other, 0)
        self.assertReads(victim, 0, 1)
        os.truncate(self.path, self.place(5))
        self.assertKilled(victim, 5)
        self.assertReads(other, 0)
        self.assertNamed(victim, "the file has changed since it was registered")
        self.assertEnds(other)
        self.assertUnharmed()

    def assertNamed(self, reader, why):
        """Checks that the log names the reader and the file. Here the file's name is the model's."""
        line = "python3 (pid %d) cannot read b.5 of m any more: m: %s" % (reader.pid, why)
        wait_until(lambda: line in self.daemon.read_log(), "the log")

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_read_error(self):
        """A disk that fails raises SIGBUS in the reader that needs it. When it works again, others read
        what it has."""
        self.serve(io="direct")
        victim, other = self.run_reader(), self.run_reader()
        self.assertReads(other, 0)
        self.assertReads(victim, 1)
        with reads_that_fail(self.daemon.pid, self.path, "EIO", self.directory() / "strace"):
            self.assertKilled(victim, 5)
        self.assertNamed(victim, "Input/output error")
        self.assertReads(other, 5, 0, 1)
        self.assertEnds(other)
        self.assertUnharmed()

    def test_stopped(self):
        """A stopped reader keeps its layers; others wait for the rest, and a lease that needs them is
        refused with its name."""
        self.serve()
        stopped, other = self.run_reader(), self.run_reader()
        self.assertReads(stopped, 0, 1)
        stop(stopped.process)
        for layer in (5, 0, 6, 1, 7):
            self.assertReads(other, layer)
        client = self.client()
        found = None
        for layer in range(2, 9):
            try:
                client.lease(model="m", layer="b.%d" % layer)
            except wire.VarlinkError as refused:
                found = refused
                break
        self.assertEqual(found.error, "Busy")
        self.assertIn(stopped.pid, [lease["pid"] for lease in found.parameters["leases"]])
        client.close()
        stopped.process.send_signal(signal.SIGCONT)
        self.assertReads(stopped, 9, 0, 5)
        self.assertEnds(other)
        self.assertEnds(stopped)
        self.assertUnharmed()

    def test_exec(self):
        """A reader that becomes another program: that makes its own view, and leaves no lease."""
        self.serve()
        reader = self.run_reader()
        self.assertReads(reader, 0, 5)
        reader.say("exec")
        self.assertReads(reader, 5, 6, 0)
        self.assertEqual(len(self.daemon.call("Views")["views"]), 1)
        self.assertEnds(reader)
        self.assertServed()

    def test_two_models(self):
        """Views of two models, each larger than the arena, take turns in it."""
        self.serve()
        path, data = self.directory() / "n", self.bytes
        write_model(path, SIZES, seed=4)
        self.client().load_model(path, name="n")
        others = path.read_bytes()
        readers = [self.run_reader(), Reader(self, path)]
        for layer in (0, 5, 9, 1, 5, 2):
            place = self.place(layer)
            for reader in readers:
                reader.say(place)
            self.assertEqual([reader.hear() for reader in readers], [data[place], others[place]])
        for reader in readers:
            self.assertEnds(reader)
        self.assertServed()

    def test_gone(self):
        """If the daemon does not come back, the plain file is mapped, and the library says so once."""
        self.serve(restarts=True)
        for with_signal in ENDS:
            with self.subTest(with_signal):
                reader = self.run_reader(environment={"EDGEMIND_VIEW_GRACE": "1s"})
                self.assertReads(reader, 0, 1)
                self.daemon.end(with_signal)
                self.assertReads(reader, 0, 5, 9)
                self.assertEnds(reader, b"no daemon has come back")
                self.daemon.start_again()

    def test_forbidden(self):
        """Where the kernel, or a container's filter of system calls, refuses userfaultfd, the library
        uses the signal."""
        self.serve()
        reader = self.run_reader(environment={"EDGEMIND_VIEW_FAULTS": ""},
                                 preexec_fn=forbid_userfaultfd)
        self.assertReads(reader, 9, 5, 0, 5)
        self.assertEqual([fd for fd in os.listdir("/proc/%d/fd" % reader.pid) if "userfaultfd" in
                          os.readlink("/proc/%d/fd/%s" % (reader.pid, fd))], [])
        self.assertGreater(self.daemon.call("Views")["views"][0]["faults"], 0)
        self.assertEnds(reader)
        self.assertServed()


class BySignal(Harm):
    faults = "sigsegv"


if __name__ == "__main__":
    unittest.main()
