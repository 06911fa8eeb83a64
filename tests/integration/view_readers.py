"""The base of the tests of views: programs that only map files, with libedgemind-view.so
preloaded."""
import ctypes
import os
import pathlib
import platform
import signal
import subprocess

from harness import BUILD, MIB, clean_environment, needs_preloading, wait_until
from leasing import write_model
from service_manager import RestartTestCase

PROGRAMS = BUILD / "tests" / "integration"
TOLD = {"cut", "hold", "spin", "stop"}  # the modes of view_told
LIBRARY = BUILD / "libedgemind-view.so"
SIZES = [MIB + 4096 * i + 17 for i in range(10)]


USERFAULTFD = {"x86_64": 323}.get(platform.machine(), 282)
USER_MODE_ONLY = 1


def has_userfaultfd():
    fd = ctypes.CDLL(None).syscall(USERFAULTFD, os.O_CLOEXEC | USER_MODE_ONLY)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def stop(process):
    """Returns when none of its threads runs any more."""
    process.send_signal(signal.SIGSTOP)
    tasks = pathlib.Path("/proc/%d/task" % process.pid)
    wait_until(lambda: all((task / "stat").read_text().rsplit(") ", 1)[1][0] == "T"
                           for task in tasks.iterdir()), "the process to stop")


@needs_preloading
class ViewTestCase(RestartTestCase):
    faults = "uffd"
    preloaded = ()

    def setUp(self):
        super().setUp()
        if self.faults != "sigsegv" and not has_userfaultfd():
            self.skipTest("needs userfaultfd")

    def serve(self, capacity="4M", restarts=False, **more):
        options = {"capacity": capacity, "policy": "lru", "log_level": "info", **more}
        if self.preloaded:
            options["environment"] = {"LD_PRELOAD": ":".join(self.preloaded)}
        self.daemon = self.service(**options) if restarts else self.start(**options)
        self.daemon.socket = more.get("socket", self.daemon.socket)
        self.path = self.directory() / "model"
        write_model(self.path, SIZES, seed=3)
        self.client().load_model(self.path, name="m")
        self.fills = self.daemon.stats()["scheduler"]["bytesLoaded"]

    def reader(self, mode, *words, path=None, prefix=(), **environment):
        process = subprocess.Popen(
            [*prefix, PROGRAMS / ("view_told" if mode in TOLD else "view_reader"), mode, path or self.path, *map(str, words)], stderr=subprocess.PIPE,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=clean_environment(LD_PRELOAD=":".join([str(LIBRARY), *self.preloaded]),
                                  EDGEMIND_SOCKET=self.daemon.socket,
                                  EDGEMIND_VIEW_FAULTS=self.faults, **environment))
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assertRight(self, process, said=b""):
        """`said`: a part of its only line on standard error."""
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            self.fail("the reader hangs")
        err = process.stderr.read()
        self.assertEqual((process.returncode, err.count(b"\n")), (0, bool(said)), err)
        self.assertIn(said, err)

    def assertServed(self):
        """Checks that the daemon has loaded bytes for the reader, and that nothing of the reader
        remains."""
        self.assertGreater(self.daemon.stats()["scheduler"]["bytesLoaded"], self.fills)
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "leases to end")
        self.assertUnharmed()
