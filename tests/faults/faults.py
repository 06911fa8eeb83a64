"""Makes every N-th allocation and every N-th system call of the daemon fail, in every part of its life.

    tests/faults/faults.py BUILD [STEP [CASE]...]

The daemon is BUILD/faults/edgemindd, whose allocator and whose system calls fail on request; page.py
lists the system calls and how each may fail. Each case of the scenario (start, a method, an engine,
warm restart, stop) is repeated: first its first allocation fails, then its second, and so on, until the
case makes no more; then the same with each system call. An allocation fails in two ways: alone, and
together with all that follow until the reply. With STEP only a sample is tried: every STEP-th
allocation, and for each case every STEP-th kind of system call. After each try these conditions are
checked:

- the daemon runs, or (at start) has ended with an exit status and a message;
- the reply agrees with the interface: it is a complete reply, or an error that says what is missing, or,
  if there is no memory for a reply, the connection ends;
- a complete reply is the same as without a fault;
- the same call on a new connection works;
- every resident layer has the bytes of its file, the daemon's own figures agree, and the arena has
  exactly its capacity;
- after each case no descriptor is left, and when the daemon ends, no allocation.

Prints one line per case; exits 1 if a condition does not hold.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "integration")]
os.environ["BUILD"] = sys.argv[1]

import harness  # noqa: E402
import wire  # noqa: E402
from cases import PATIENCE, Cases, plain  # noqa: E402
from page import ALLOCATION_KINDS, CALL_KINDS, NEVER, SLOW_DISK, Faults  # noqa: E402
from service_manager import Service  # noqa: E402

harness.EDGEMINDD = harness.BUILD / "faults" / "edgemindd"
STEP = int(sys.argv[2]) if len(sys.argv) > 2 else 1
ONLY = sys.argv[3:]  # the names of cases
CAPACITY = 3 << 20
# Errors that may say what was missing. A file whose state cannot be read counts as changed.
LACK = {"IOFailed", "LimitExceeded", "SourceChanged"}
REPORTED = 5  # maximum findings that are printed for one case


class Tally:
    """What became of the tries of one case. Prints its line at the end."""

    failures = tried_in_all = 0

    def __init__(self, name):
        self.name, self.begin = name, time.monotonic()
        self.endings, self.tried, self.found = {}, 0, 0

    def count(self, ended):
        self.endings[ended] = self.endings.get(ended, 0) + 1
        self.tried += 1

    def find(self, kind, first, problem):
        self.found += 1
        if self.found <= REPORTED:
            print("        %s, number %d: %s: %s" % (
                kind.text, first, type(problem).__name__, str(problem)[:400]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        Tally.failures += self.found
        Tally.tried_in_all += self.tried
        print("%-7s %-24s %5d faults, %4.1f s: %s" % (
            "ok" if not self.found else "FAILED", self.name, self.tried,
            time.monotonic() - self.begin,
            ", ".join("%d %s" % (n, ended) for ended, n in sorted(self.endings.items()))), flush=True)


class Scenario(Cases):
    def __init__(self, directory):
        super().__init__(directory)
        self.faults = Faults()
        self.n_cases = 0

    def options(self, **options):
        return {"capacity": CAPACITY, "environment": {"EDGEMIND_FAULTS": self.faults.file.name},
                "log_level": "error", "monitor_interval": "1h", "metrics_listen": self.metrics,
                **options}

    def start(self, **options):
        return harness.Daemon(**self.options(**options))

    def kinds(self):
        """The kinds of faults that the next case tries."""
        self.n_cases += 1
        return ALLOCATION_KINDS + CALL_KINDS[self.n_cases % STEP::STEP]

    def verify(self, daemon=None):
        """Checks bytes and figures, without faults."""
        with self.connected(daemon) as connection:
            harness.wait_until(  # layers that a run was reading ahead when it ended
                lambda: connection.call("Stats")["scheduler"]["layersLoading"] == 0, "loads to end")
            stats = connection.call("Stats")
            arena = stats["arena"]
            assert arena["usedBytes"] + arena["freeBytes"] == arena["capacityBytes"], arena
            file = os.stat((daemon or self.daemon).arena_path())
            assert file.st_blocks * 512 == file.st_size == CAPACITY, file
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

    def attempt(self, case, kind, first, expected):
        """Makes one try. Returns how the case ended."""
        case.prepare()
        self.faults.arm(kind, first)
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

    def check_descriptors(self):
        n_fds = []  # closing takes a moment
        try:
            harness.wait_until(lambda: n_fds.append(self.daemon.n_fds_at_rest()) or
                               n_fds[-1] == self.n_fds, "closing")
        except AssertionError:
            raise AssertionError("%d descriptors instead of %d: %s" % (
                n_fds[-1], self.n_fds, self.daemon.fds())) from None

    def repeat(self, case):
        """A case with all its faults."""
        with Tally(case.name) as tally:
            case.prepare()
            with self.connected() as connection:
                expected = plain(case.act(connection), case.fixed)
            for kind in self.kinds():
                first = len(case.name) % STEP if kind.call is None else 0
                self.reached = True
                while self.reached:
                    try:
                        ended = self.attempt(case, kind, first, expected)
                        self.verify()
                        if self.reached:
                            tally.count(ended)
                    except Exception as problem:  # any exception here is the daemon's fault
                        tally.find(kind, first, problem)
                        self.faults.disarm()
                        self.revive()
                    first += STEP
            self.end(tally)

    def end(self, tally):
        """Ends the daemon and starts another one. Nothing may be left of the case."""
        try:
            self.settle()
            self.check_descriptors()
            self.daemon.stop()
            self.check_live()
        except AssertionError as problem:
            tally.find(ALLOCATION_KINDS[0], 0, problem)
        self.revive()

    def revive(self):
        """Replaces a daemon that may be damaged by a new one."""
        code = self.daemon.process.poll()
        if code:
            print("        the daemon ended with %s: %s" % (code, self.daemon.read_log()[-300:]))
        self.daemon.discard()
        self.faults.restart(ALLOCATION_KINDS[0], NEVER)
        self.daemon = self.start()
        self.settle()

    def served(self, daemon):
        """Whether it has ended, has reported that it is ready, or serves although it could not
        report it."""
        if daemon.process.poll() is not None or daemon.notifications.wait("READY=1", 0.001):
            return True
        try:
            with self.connected(daemon) as connection:
                connection.socket.settimeout(0.5)
                return bool(connection.call("Stats"))
        except (OSError, EOFError, wire.VarlinkError):
            return False

    def await_start(self, daemon):
        """Waits until the daemon serves or has ended with a message, and says which."""
        # With lasting faults it may stay in between, but not when they have ended.
        deadline = time.monotonic() + 0.5
        harness.wait_until(lambda: self.served(daemon) or time.monotonic() > deadline, "")
        reached = self.faults.disarm()
        harness.wait_until(lambda: self.served(daemon), "a start or an end")
        code = daemon.process.poll()
        if code is None:
            daemon.call("Stats")
            return "ready", reached
        assert code > 0, "ended with %d: %s" % (code, daemon.read_log())
        assert daemon.read_log(), "ended with %d without a word" % code
        return "refused", reached

    def starts(self):
        """Faults from the beginning of main to READY. The daemon starts, or ends with a message."""
        with Tally("start") as tally:
            for kind in self.kinds():
                first, reached = 3 % STEP if kind.call is None else 0, True
                while reached:
                    self.faults.restart(kind, first)
                    daemon = self.start(ready=False)
                    try:
                        ended, reached = self.await_start(daemon)
                        if ended == "ready":
                            daemon.stop()
                        self.check_live()
                        tally.count(ended)
                    except AssertionError as problem:
                        tally.find(kind, first, problem)
                    finally:
                        daemon.discard()
                    first += STEP

    def restarts(self):
        """Faults in the start of a process that follows a killed one. Whatever it keeps has the right
        bytes."""
        with Tally("warm restart") as tally:
            for kind in self.kinds():
                first, reached = 5 % STEP if kind.call is None else 0, True
                while reached:
                    self.faults.restart(ALLOCATION_KINDS[0], NEVER)
                    service = Service(listening=False, **self.options(lease_grace="0s"))
                    try:
                        with self.connected(service) as connection:
                            self.models.load(connection, "st")
                            self.models.load(connection, "sized")
                        service.end()
                        self.faults.restart(kind, first)
                        service.start_again(ready=False)
                        ended, reached = self.await_start(service)
                        if ended == "ready":
                            warm = bool(service.call("List")["models"])
                            self.verify(service)
                            service.stop()
                            ended = "warm" if warm else "cold"
                        tally.count(ended)
                    except AssertionError as problem:
                        tally.find(kind, first, problem)
                    finally:
                        service.discard()
                    first += STEP

    def stops(self):
        """Faults from SIGTERM to the end, with leases and a run in progress."""
        with Tally("stop") as tally:
            for kind in self.kinds():
                first, reached = 0, True
                while reached:
                    self.faults.restart(ALLOCATION_KINDS[0], NEVER)
                    self.daemon = self.start()
                    try:
                        with self.connected() as connection:
                            self.models.load(connection, "st")
                            connection.lease(model="st", layer=self.layer())
                            connection.lease("Next", run=connection.call("BeginRun", model="st")["run"])
                            self.faults.arm(kind, first)
                            self.daemon.process.send_signal(signal.SIGTERM)
                            code = self.daemon.process.wait(PATIENCE)
                            reached = self.faults.disarm()
                            assert code == 0, "ended with %d: %s" % (code, self.daemon.read_log())
                            self.check_live()
                            tally.count("clean")
                    except (AssertionError, subprocess.TimeoutExpired) as problem:
                        tally.find(kind, first, problem)
                    finally:
                        self.daemon.discard()
                    first += STEP

    def check_live(self):
        assert self.faults.live() <= self.at_rest, "%d allocations were not freed, %d at rest" % (
            self.faults.live(), self.at_rest)

    def prepare(self):
        """Does everything once, without faults: learns the layers' bytes, and how many allocations
        of libraries a daemon that has ended never frees."""
        self.faults.restart(ALLOCATION_KINDS[0], NEVER)
        self.daemon = self.start()
        self.settle()
        for kind in self.models.paths:
            with self.connected() as connection:
                connection.call("Reset")
                for layer in connection.call("List", model=kind)["layers"]:
                    connection.call("LoadLayer", model=kind, layer=layer["name"])
            self.verify()
        for case in self.cases():
            case.prepare()
            with self.connected() as connection:
                case.act(connection)
        self.daemon.stop()
        self.at_rest = self.faults.live()

    def slow_disk(self):
        """While a disk takes 10 s, the daemon serves everybody else; then the load is whole."""
        with Tally("a disk that takes 10 s") as tally:
            self.forget("st")
            self.faults.arm(SLOW_DISK, 0)
            loaded = []

            def load():
                with self.connected() as connection:
                    loaded.append(self.models.load(connection, "st"))
            thread = threading.Thread(target=load)
            try:
                thread.start()
                harness.wait_until(lambda: self.faults.count(SLOW_DISK) > 0, "the disk to be read")
                with self.connected() as connection:
                    for method in "Stats", "List", "Views", "Usage":
                        connection.call(method)
                assert not loaded, "the load did not wait for the disk"
                thread.join(3 * PATIENCE)
                self.faults.disarm()
                assert loaded and loaded[0]["layersDone"] == loaded[0]["layersTotal"], loaded
                self.verify()
                tally.count("whole")
            except AssertionError as problem:
                tally.find(SLOW_DISK, 0, problem)

    def all(self):
        self.prepare()
        self.faults.restart(ALLOCATION_KINDS[0], NEVER)
        self.daemon = self.start()
        self.settle()
        self.n_fds = self.daemon.n_fds_at_rest()
        for case in self.cases():
            if not ONLY or case.name in ONLY:
                self.repeat(case)
        if not ONLY:
            self.slow_disk()
        self.daemon.stop()
        if not ONLY:
            self.starts()
            self.restarts()
            self.stops()


def main():
    with tempfile.TemporaryDirectory() as directory:
        Scenario(pathlib.Path(directory)).all()
    print("%d faults, %d findings" % (Tally.tried_in_all, Tally.failures))
    return 1 if Tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
