"""Makes every N-th allocation of the daemon fail, in every part of its life.

    tests/faults/faults.py BUILD [STEP]

The daemon is BUILD/faults/edgemindd, whose allocator fails on request. Each case of the scenario
(start, a method, stop) is repeated: first its first allocation fails, then its second, and so on, until
the case makes no more allocations. Each allocation fails in two ways: alone, and together with all that
follow until the reply. With STEP only every STEP-th allocation is tried; the first one differs between
cases. After each try these conditions are checked:

- the daemon runs, or (at start) has ended with an exit status and a message;
- the reply agrees with the interface: it is a complete reply, or an error that says that memory is
  missing, or, if there is no memory for a reply, the connection ends;
- a complete reply is the same as without a fault;
- the same call on a new connection works;
- every resident layer has the bytes of its file, and the daemon's own figures agree.

Prints one line per case; exits 1 if a condition does not hold.
"""
import mmap
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "integration")]
os.environ["BUILD"] = sys.argv[1]

import harness  # noqa: E402
import wire  # noqa: E402
from cases import PATIENCE, Cases, plain  # noqa: E402

harness.EDGEMINDD = harness.BUILD / "faults" / "edgemindd"
STEP = int(sys.argv[2]) if len(sys.argv) > 2 else 1
NEVER = (1 << 64) - 1
CAPACITY = 3 << 20
LACK = {"IOFailed", "LimitExceeded"}  # errors that may say that memory was missing
REPORTED = 5  # maximum findings that are printed for one case


class Faults:
    """The numbers that the daemon's allocator reads."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.file.truncate(mmap.PAGESIZE)
        self.map = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)
        self.disarm()

    def count(self):
        return struct.unpack_from("Q", self.map, 0)[0]

    def arm(self, first, n):
        """Makes `n` allocations fail, beginning with the `first`-th from now on (from 0)."""
        begin = self.count() + first
        struct.pack_into("QQ", self.map, 8, begin, min(begin + n, NEVER))
        self.first = begin

    def disarm(self):
        """Whether an allocation has failed since `arm`."""
        struct.pack_into("QQ", self.map, 8, NEVER, NEVER)
        return self.count() > getattr(self, "first", NEVER)

    def restart(self, first, n):
        """For a process that is yet to begin."""
        struct.pack_into("QQQ", self.map, 0, 0, first, min(first + n, NEVER))
        self.first = first


class Scenario(Cases):
    def __init__(self, directory):
        super().__init__(directory)
        self.faults = Faults()
        self.failures = 0

    def start(self, **options):
        return harness.Daemon(capacity=CAPACITY, environment={"EDGEMIND_FAULTS": self.faults.file.name},
                              log_level="error", monitor_interval="1h", metrics_listen=self.metrics,
                              **options)

    def verify(self):
        """Checks bytes and figures, without faults."""
        with self.connected() as connection:
            harness.wait_until(  # layers that a run was reading ahead when it ended
                lambda: connection.call("Stats")["scheduler"]["layersLoading"] == 0, "loads to end")
            stats = connection.call("Stats")
            arena = stats["arena"]
            assert arena["usedBytes"] + arena["freeBytes"] == arena["capacityBytes"], arena
            models = connection.call("List")["models"]
            resident = sum(model["residentLayers"] for model in models)
            assert resident == stats["scheduler"]["layersLoaded"], (models, stats["scheduler"])
            for model in models:
                for layer in connection.call("List", model=model["name"])["layers"]:
                    if layer["state"] != "resident":
                        continue
                    reply = connection.lease(model=model["name"], layer=layer["name"])
                    digest = connection.digest(reply)
                    connection.release(reply)
                    key = (model["name"], layer["name"])
                    assert self.models.digests.setdefault(key, digest) == digest, "bytes of %s/%s" % key

    def attempt(self, case, first, n, expected):
        """Makes one try. Returns how the case ended."""
        case.prepare()
        self.faults.arm(first, n)
        try:
            with self.connected() as connection:
                try:
                    found = plain(case.act(connection), case.fixed)
                    assert expected is None or found == expected, "%r instead of %r" % (found, expected)
                    ended = "whole"
                except wire.VarlinkError as error:
                    ended = error.error
                    assert ended in LACK, error
                except (EOFError, BrokenPipeError, ConnectionResetError):
                    ended = "hung up"
        finally:
            self.reached = self.faults.disarm()
        assert self.daemon.process.poll() is None, "the daemon ended"
        return ended

    def repeat(self, case):
        """A case with all its faults."""
        begin, endings, tried, found = time.monotonic(), {}, 0, 0
        case.prepare()
        with self.connected() as connection:
            expected = plain(case.act(connection), case.fixed)
        for n in 1, NEVER:
            first, self.reached = len(case.name) % STEP, True
            while self.reached:
                try:
                    ended = self.attempt(case, first, n, expected)
                    self.verify()
                    endings[ended] = endings.get(ended, 0) + 1
                    tried += 1
                except Exception as problem:  # any exception here is the daemon's fault
                    found += 1
                    if found <= REPORTED:
                        print("        allocation %d%s: %s: %s" % (
                            first, " and all after it" if n > 1 else "", type(problem).__name__,
                            str(problem)[:300]))
                    self.faults.disarm()
                    self.revive()
                first += STEP
        self.report(case.name, tried, found, begin, endings)

    def report(self, name, tried, found, begin, endings):
        self.failures += found
        print("%-7s %-24s %5d faults, %4.1f s: %s" % (
            "ok" if not found else "FAILED", name, tried, time.monotonic() - begin,
            ", ".join("%d %s" % (number, ended) for ended, number in sorted(endings.items()))), flush=True)

    def revive(self):
        """Replaces a daemon that may be damaged by a new one."""
        code = self.daemon.process.poll()
        if code is not None:
            print("        the daemon ended with %s: %s" % (code, self.daemon.read_log()[-300:]))
        self.daemon.discard()
        self.daemon = self.start()
        self.settle()

    @staticmethod
    def served(daemon):
        """Whether it has ended, has reported that it is ready, or serves although it could not
        report it."""
        if daemon.process.poll() is not None or daemon.notifications.wait("READY=1", 0.001):
            return True
        try:
            return bool(daemon.call("Stats"))
        except (OSError, EOFError, wire.VarlinkError):
            return False

    def starts(self):
        """Faults from the first allocation of main to READY. The daemon starts, or ends with a
        message."""
        begin, endings, tried, found, first = time.monotonic(), {}, 0, 0, 3 % STEP
        self.faults.restart(NEVER, 1)
        with self.start():
            total = self.faults.count()
        for first in range(3 % STEP, total, STEP):
            for n in 1, NEVER:
                self.faults.restart(first, n)
                daemon = self.start(ready=False)
                try:
                    # Without any memory it may stay in between, but not when there is memory again.
                    deadline = time.monotonic() + 0.5
                    harness.wait_until(lambda: self.served(daemon) or time.monotonic() > deadline, "")
                    self.faults.disarm()
                    harness.wait_until(lambda: self.served(daemon), "a start or an end")
                    code = daemon.process.poll()
                    if code is None:
                        daemon.call("Stats")
                        daemon.stop()
                        ended = "ready"
                    else:
                        assert code > 0, "ended with %d: %s" % (code, daemon.read_log())
                        assert daemon.read_log(), "ended with %d without a word" % code
                        ended = "refused"
                    endings[ended] = endings.get(ended, 0) + 1
                    tried += 1
                except AssertionError as problem:
                    found += 1
                    if found <= REPORTED:
                        print("        allocation %d of the start%s: %s" % (
                            first, " and all after it" if n > 1 else "", str(problem)[:300]))
                finally:
                    daemon.discard()
        self.report("start", tried, found, begin, endings)

    def stops(self):
        """Faults from SIGTERM to the end, with leases and a run in progress."""
        begin, endings, tried, found, first, reached = time.monotonic(), {}, 0, 0, 0, True
        while reached:
            for n in 1, NEVER:
                self.faults.restart(NEVER, 1)
                self.daemon = self.start()
                try:
                    with self.connected() as connection:
                        self.models.load(connection, "st")
                        connection.lease(model="st", layer=self.layer())
                        connection.lease("Next", run=connection.call("BeginRun", model="st")["run"])
                        self.faults.arm(first, n)
                        self.daemon.process.send_signal(signal.SIGTERM)
                        code = self.daemon.process.wait(PATIENCE)
                        reached = self.faults.disarm()
                        assert code == 0, "ended with %d: %s" % (code, self.daemon.read_log())
                        endings["clean"] = endings.get("clean", 0) + 1
                        tried += 1
                except (AssertionError, subprocess.TimeoutExpired) as problem:
                    found += 1
                    if found <= REPORTED:
                        print("        allocation %d of the stop: %s" % (first, str(problem)[:300]))
                finally:
                    self.daemon.discard()
            first += STEP
        self.report("stop", tried, found, begin, endings)

    def all(self):
        self.faults.restart(NEVER, 1)
        self.daemon = self.start()
        self.settle()
        for kind in self.models.paths:
            with self.connected() as connection:
                connection.call("Reset")
                for layer in connection.call("List", model=kind)["layers"]:
                    connection.call("LoadLayer", model=kind, layer=layer["name"])
            self.verify()
        for case in self.cases():
            self.repeat(case)
        self.daemon.stop()
        self.starts()
        self.stops()


def main():
    with tempfile.TemporaryDirectory() as directory:
        scenario = Scenario(pathlib.Path(directory))
        scenario.all()
    return 1 if scenario.failures else 0


if __name__ == "__main__":
    sys.exit(main())
