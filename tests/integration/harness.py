"""The base of integration tests: private daemons, emctl, and the operating system's figures.

Every daemon has its own directory, socket and empty configuration. It counts as ready when it has sent
READY=1, never after a fixed time. Stopping it asserts a clean end. When a test fails, the logs of its
daemons are printed. BUILD names the directory of the programs (default: build).
"""
import atexit
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import scratch
import wire
from machine import IS_ROOT, open_fds, proc_status, smaps_entry
from notifications import Notifications

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
EDGEMINDD = BUILD / "edgemindd"
EMCTL = BUILD / "emctl"
INTERFACE_FILE = ROOT / "proto" / "io.edgemind.manager.varlink"
FFN10 = ROOT / "client" / "examples" / "ffn10.json"

TIMEOUT = float(os.environ.get("TEST_TIMEOUT", "60"))  # seconds; only a failure takes so long
LOG_LINES = 40  # printed of a failed test's log
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
ARENA = "/memfd:edgemind-arena"
EMULATED = EMCTL.exists() and EMCTL.read_bytes()[:2] == b"#!"  # scripts that run a foreign program

# A file of lines "module.Class.test reason": tests that cannot run here, as in an emulator.
SKIP_FILE = os.environ.get("TEST_SKIP")
SKIP = dict(line.split(maxsplit=1) for line in pathlib.Path(SKIP_FILE).read_text().splitlines()) \
    if SKIP_FILE else {}

INTERFACES = wire.load_interfaces(INTERFACE_FILE.read_text())

signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the daemons, too


def whole_pages(n_bytes):
    """What a layer of so many bytes takes of the arena, if it begins on a page."""
    return -(-n_bytes // PAGE) * PAGE


needs_preloading = unittest.skipIf(EMULATED, "nothing is preloaded into an emulated program")


@functools.lru_cache(None)
def sanitized():
    """Whether the programs have a sanitizer, or are scripts that run them in an emulator. Then some
    of their memory is not the daemon's own."""
    program = EDGEMINDD.read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program or program.startswith(b"#!")


def clean_environment(**extra):
    """The environment without the variables that the programs read."""
    steering = re.compile(r"EDGEMIND_|NOTIFY_SOCKET|LISTEN_|WATCHDOG_|JOURNAL_STREAM|"
                          r"XDG_RUNTIME_DIR|NO_COLOR|COLUMNS|TERM$")
    environment = {k: v for k, v in os.environ.items() if not steering.match(k)}
    environment.update({k: str(v) for k, v in extra.items()})
    return environment


def wait_until(condition, what):
    """Polls until `condition` holds, and returns its value."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain for: " + what)
        time.sleep(0.005)


class Result:
    """How a program ended: code (negative: by a signal), out, err."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return "exit %d\n--- stdout\n%s\n--- stderr\n%s" % (self.code, self.out, self.err)


def run(*command, **options):
    options.setdefault("env", clean_environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TIMEOUT, **options)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def option_words(options):
    """Keywords as command-line options: commit="load" -> --commit=load; None leaves one out."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append("--" + name.replace("_", "-"))
        elif value is not None:
            words.append("--%s=%s" % (name.replace("_", "-"), value))
    return words


class Daemon:
    """A running edgemindd. Options as keywords (capacity="50M"); see option_words.

    `config`: the configuration file's text. `environment`: variables on top. `process`: further
    arguments of subprocess.Popen (user, preexec_fn ...). `prefix`: words before the program.
    """

    def __init__(self, config="", environment=None, process=None, prefix=(), ready=True, **options):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="em-"))
        self.socket = self.directory / "s"
        self.config = self.directory / "conf"
        self.config.write_text(config)
        self.process = None
        self.log = ""
        self.notifications = Notifications(self.directory / "notify")
        atexit.register(self.discard)  # also if the tests are interrupted
        try:
            self.start(environment or {}, process or {}, prefix, options)
            if ready:
                self.wait_notify("READY=1")
        except BaseException:
            self.discard()
            raise

    def start(self, environment, process, prefix, options):
        os.chmod(self.directory, 0o755)
        if process.get("user") is not None:
            os.chown(self.directory, process["user"], process.get("group", -1))
        defaults = {"capacity": "50M", "huge_pages": "never", "monitor_interval": "50ms",
                    "log_level": "debug", "socket": self.socket, "config": self.config,
                    "overhead_limit": "4G" if sanitized() else None}
        words = [*prefix, EDGEMINDD, *option_words({**defaults, **options})]
        environment = clean_environment(NOTIFY_SOCKET=self.notifications.path, **environment)
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen([str(word) for word in words], env=environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            **process)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.discard()
        else:
            self.stop()

    def wait_notify(self, line):
        """Waits for a notification with this line ("KEY=": any value) and returns its lines."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            lines = self.notifications.wait(line, 0.1)
            if lines:
                return lines
        lines = self.notifications.wait(line, 0.1)  # its last words
        assert lines, "no %s from edgemindd (exit %s):\n%s" % (
            line, self.process.returncode, self.read_log())
        return lines

    def read_log(self):
        log = self.directory / "log"
        return log.read_text(errors="replace") if log.exists() else self.log

    def connect(self):
        return wire.Varlink(self.socket, INTERFACES, TIMEOUT)

    def call(self, method, parameters=None, fds=(), **named):
        """One call on a connection of its own."""
        with self.connect() as connection:
            return connection.call(method, parameters, fds, **named)

    def load(self, text, method="LoadModel", **parameters):
        """Calls LoadModel (or Plan) for a definition of any length, by descriptor."""
        with self.connect() as connection, memory_file(text) as file:
            return connection.call(method, dict(parameters, definitionFileDescriptor=0),
                                   fds=[file.fileno()])

    def stats(self):
        return self.call("Stats")

    def emctl(self, *words, **options):
        environment = clean_environment(EDGEMIND_SOCKET=self.socket)
        return run(EMCTL, *words, env=environment, **options)

    def status(self):
        return proc_status(self.pid)

    def fds(self):
        return open_fds(self.pid)

    def n_fds(self):
        """How many descriptors it has, without those that the monitor is just reading."""
        return sum(not target.startswith("/proc/") for target in self.fds().values())

    def n_fds_at_rest(self):
        """The same without calls in progress. Some descriptors are open only for a moment, as for a
        notification, so this returns the minimum of several counts."""
        with self.connect() as connection:
            counts = []
            for _ in range(5):
                connection.call("List")
                counts.append(self.n_fds())
        return min(counts) - 1  # this connection

    def overhead_bytes(self):
        """The daemon's memory beside the arena, according to the kernel."""
        status = self.status()
        return status["VmRSS"] - status["RssShmem"]

    def arena_path(self):
        """The arena's memfd, as a path below /proc."""
        arenas = [fd for fd, target in self.fds().items() if target.startswith(ARENA)]
        assert len({os.stat(fd).st_ino for fd in arenas}) == 1, arenas
        return arenas[0]

    def arena_smaps(self):
        return smaps_entry(self.pid, ARENA)

    def wait_sample(self):
        """A monitor sample that was started after this call."""
        seen = self.stats()["monitor"]["samples"]

        def fresh():
            monitor = self.stats()["monitor"]
            return monitor["samples"] >= seen + 2 and monitor
        return wait_until(fresh, "two more samples")

    def stop(self, with_signal=signal.SIGTERM):
        """Ends the daemon, removes its files, and asserts that it ended cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                pass
        code = self.process.poll()
        self.discard()
        assert code == 0, "edgemindd ended with %s:\n%s" % (code, self.log)
        assert "runtime error:" not in self.log, self.log  # UndefinedBehaviorSanitizer
        assert "Sanitizer" not in self.log, self.log

    def discard(self):
        """Removes everything, in any state. May be called twice."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.directory.exists():
            self.notifications.close()
            atexit.unregister(self.discard)
            self.log = self.read_log()
            shutil.rmtree(self.directory)


class TestCase(unittest.TestCase):
    """A test with daemons. setUp starts `self.daemon` with the class's `options`. If they are None,
    the test starts its own daemons with `self.start`."""

    options = None
    maxDiff = None

    def setUp(self):
        self.daemons = []
        self.daemon = None if self.options is None else self.start(**self.options)

    def run(self, result=None):
        if result and self.id() in SKIP:
            result.startTest(self)
            result.addSkip(self, SKIP[self.id()])
            result.stopTest(self)
            return result
        before = len(result.failures) + len(result.errors) if result else 0
        super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            for daemon in self.daemons:
                tail = "".join(daemon.read_log().splitlines(True)[-LOG_LINES:])
                print("--- log of edgemindd in %s\n%s" % (self.id(), tail), file=sys.stderr)
        return result

    def start(self, **options):
        daemon = Daemon(**options)
        self.daemons.append(daemon)
        self.addCleanup(self.stop, daemon)
        return daemon

    def stop(self, daemon):
        if daemon.directory.exists():
            daemon.stop()

    def start_refused(self, prefix=(), process=None, **options):
        """Runs a daemon that must refuse to start, and report the reason on stderr. Returns the
        Result."""
        directory = self.directory()
        os.chmod(directory, 0o777)
        config = directory / "conf"
        config.touch()
        defaults = {"huge_pages": "never", "socket": directory / "s", "config": config}
        result = run(*prefix, EDGEMINDD, *option_words({**defaults, **options}), **process or {})
        self.assertGreater(result.code, 0, result)  # an exit status, not a signal
        self.assertEqual(result.out, "")
        self.assertNotEqual(result.err, "")
        self.assertFalse((directory / "s").exists())
        return result

    def connect(self, daemon=None):
        connection = (daemon or self.daemon).connect()
        self.addCleanup(connection.close)
        return connection

    def connect_as(self, user):
        """As a member; only root can be somebody else."""
        if not IS_ROOT:
            return self.connect()
        os.seteuid(user)  # the kernel notes it when the connection is made
        try:
            return self.connect()
        finally:
            os.seteuid(0)

    def directory(self, place=None):
        """A private directory, removed after the test."""
        path = pathlib.Path(tempfile.mkdtemp(prefix="em-", dir=place and scratch.directory_in(place)))
        self.addCleanup(shutil.rmtree, path)
        return path

    def assertVarlinkError(self, error, function, *arguments, **named):
        """Calls, expects this error and returns its parameters."""
        with self.assertRaises(wire.VarlinkError) as caught:
            function(*arguments, **named)
        self.assertEqual(caught.exception.error, error, caught.exception)
        return caught.exception.parameters

    def assertExit(self, code, result):
        self.assertEqual(result.code, code, result)
        return result

    def assertUnharmed(self, daemon=None):
        """Checks that another client is served, that the figures agree, and that no worker is still
        busy."""
        daemon = daemon or self.daemon
        wait_until(lambda: daemon.stats()["scheduler"]["layersLoading"] == 0, "loads to end")
        stats = daemon.stats()
        arena = stats["arena"]
        self.assertEqual(arena["usedBytes"] + arena["freeBytes"], arena["capacityBytes"])
        models = daemon.call("List")["models"]
        self.assertEqual(sum(m["residentLayers"] for m in models),
                         stats["scheduler"]["layersLoaded"])
        return stats

    def assertFds(self, expected, daemon=None):
        """Waits until the daemon has this number of descriptors again."""
        daemon = daemon or self.daemon
        try:
            wait_until(lambda: daemon.n_fds() == expected, "descriptors")
        except AssertionError:
            self.fail("%d descriptors, expected %d" % (daemon.n_fds(), expected))


def sized_model(name, *sizes):
    """The text of a definition whose layers are l0, l1 ... of these sizes."""
    layers = [{"name": "l%d" % i, "bytes": size} for i, size in enumerate(sizes)]
    return json.dumps({"name": name, "layers": layers})


def memory_file(data):
    """A regular file without a name, positioned at its beginning."""
    file = open(os.memfd_create("definition"), "w+b")
    file.write(data.encode() if isinstance(data, str) else data)
    file.seek(0)
    return file
