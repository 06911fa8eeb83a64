"""The part of a service manager that a restart needs: it keeps the descriptors that a daemon stores, and
passes them to the next process.

It works as systemd does. It drops a descriptor of an open file that it already has, and drops without a
message every descriptor beyond the maximum. FDSTOREREMOVE drops all descriptors of a name. The store
survives the process, however that ends. The manager has the listening socket, so that clients can connect
at any time.
"""
import array
import contextlib
import ctypes
import fcntl
import os
import pathlib
import platform
import select
import signal
import socket
import subprocess
import threading

import harness
from harness import MIB, TIMEOUT, Daemon, wait_until
from leasing import LeaseTestCase
from notifications import Notifications
from weight_files import Client, sha256

STORE_MAX = 64
PASSED = 3  # the first descriptor that is passed (sd_listen_fds(3))
HISTORY = "history"
APART = 500  # where the store's own descriptors begin, beyond all that a process is passed
ENDS = (signal.SIGKILL, signal.SIGTERM)  # of a process that another one follows
SIZES = [900_000, 1, 700_001, MIB, 4096, 123_456, 800_000, 600_000]  # of a model's layers
KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine())


def is_same_file(a, b):
    """Whether two descriptors are of one open file (kcmp(2), KCMP_FILE)."""
    if KCMP is None:
        return False
    pid = os.getpid()
    return ctypes.CDLL(None).syscall(KCMP, pid, pid, 0, ctypes.c_ulong(a), ctypes.c_ulong(b)) == 0


class Store(Notifications):
    """The manager's end of sd_notify with a descriptor store."""

    def __init__(self, path, maximum):
        self.maximum = maximum
        self.fds = []  # (name, descriptor), in order
        self.stored = 0  # messages that asked for it, but for the history
        self.lock = threading.Lock()
        super().__init__(path)

    def take(self):
        while True:
            select.select([self.socket], [], [])
            with self.lock:  # it receives nothing while another thread holds this
                data, rights, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(16 * 4),
                                                         socket.MSG_CMSG_CLOEXEC)
                fds = array.array("i")
                for _, _, numbers in rights:
                    fds.frombytes(numbers)
                if not data:
                    return
                lines = data.decode().splitlines()
                self.keep(lines, fds)
            with self.news:
                self.messages.append(lines)
                self.news.notify_all()

    def keep(self, lines, fds):
        name = next((line[len("FDNAME="):] for line in lines if line.startswith("FDNAME=")), "")
        if "FDSTOREREMOVE=1" in lines:
            self.drop(name)
        if "FDSTORE=1" in lines:
            assert "FDPOLL=0" in lines and len(fds) == 1, lines
            self.stored += name != HISTORY
            self.add(name, fds[0])
        for fd in fds:
            os.close(fd)

    def add(self, name, fd):
        """Stores a duplicate."""
        if len(self.fds) < self.maximum and not any(is_same_file(fd, kept) for _, kept in self.fds):
            self.fds.append((name, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, APART)))

    def drop(self, name=None):
        """Removes the descriptors with this name; None: all."""
        for kept in [kept for kept in self.fds if name in (None, kept[0])]:
            os.close(kept[1])
            self.fds.remove(kept)

    @contextlib.contextmanager
    def deaf(self):
        """Receives nothing for a while, so that the queue gets full."""
        with self.lock, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"X_FULL=1", self.path)
            yield

    def names(self):
        """All but the history, which is of no use to a restart."""
        with self.lock:
            return sorted(name for name, _ in self.fds if name != HISTORY)

    def fd(self, name):
        with self.lock:
            return next(fd for kept, fd in self.fds if kept == name)

    def close(self):
        super().close()
        self.drop()


class Service(Daemon):
    """A daemon with a store, which can be started again. `store_max`: None for no store; without
    the place of the history.
    `listening`: it listens on the manager's socket, otherwise on its own."""

    def __init__(self, store_max=STORE_MAX, listening=True, **options):
        self.store_max, self.is_listening = store_max, listening
        if self.store_max and self.store_max >= 2:
            self.store_max += 1
        self.listening, self.store, self.logs = None, None, []
        options.setdefault("log_level", "info")
        super().__init__(**options)

    def start(self, environment, process, prefix, options):
        if not self.store:
            self.notifications.close()
            self.notifications = self.store = Store(self.directory / "manager", self.store_max or 0)
            if self.is_listening:
                self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.listening.bind(str(self.socket))
                self.listening.listen(64)
        self.given = environment, process, prefix, options
        passed = [("varlink", self.listening.fileno())] if self.listening else []
        with self.store.lock:
            passed += self.store.fds
        apart = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, APART) for _, fd in passed]
        script = "".join("exec %d<&%d %d<&-; " % (PASSED + i, fd, fd) for i, fd in enumerate(apart))
        prefix = ["bash", "-c", script + 'export LISTEN_PID=$$; exec "$@"', "bash", *prefix]
        variables = {"LISTEN_FDS": len(passed), "LISTEN_FDNAMES": ":".join(n for n, _ in passed)} \
            if passed else {}
        if self.store_max is not None:
            variables["FDSTORE"] = self.store_max
        try:
            super().start({**variables, **environment}, {**process, "pass_fds": apart}, prefix,
                          options)
        finally:
            for fd in apart:
                os.close(fd)

    def end(self, with_signal=signal.SIGKILL):
        """Ends the process; the store stays. Returns when all its messages have been received."""
        self.process.send_signal(with_signal)
        self.process.wait(TIMEOUT)
        self.settle()
        self.store.waited_for = len(self.store.messages)  # separates the processes
        self.logs.append(self.read_log())
        expected = 0 if with_signal == signal.SIGTERM else -with_signal
        assert self.process.returncode == expected, "edgemindd ended with %s:\n%s" % (
            self.process.returncode, self.read_log())

    def settle(self):
        """Waits until the manager has received all messages that were sent until now."""
        n = sum(lines == ["X_SETTLED=1"] for lines in self.store.messages)
        self.store.socket.sendto(b"X_SETTLED=1", self.store.path)
        wait_until(lambda: sum(lines == ["X_SETTLED=1"] for lines in self.store.messages) > n,
                   "the manager")

    def start_again(self, ready=True, **changed):
        """Starts a new process with the store's descriptors. `changed` options also hold for later
        starts."""
        environment, process, prefix, options = self.given
        self.start(environment, process, prefix, {**options, **changed})
        if ready:
            self.wait_notify("READY=1")

    def restart(self, with_signal=signal.SIGKILL, **changed):
        self.end(with_signal)
        self.start_again(**changed)

    def said(self, text):
        return text in self.read_log()

    def is_warm(self):
        return self.said("a warm start")

    def arena_bytes(self):
        """The memory of the stored arena's pages."""
        return os.fstat(self.store.fd("arena")).st_blocks * 512

    def discard(self):
        super().discard()
        if self.listening:
            self.listening.close()


def proc_path(pid, name):
    return pathlib.Path("/proc/%d/%s" % (pid, name))


class Reader(Client):
    """A connection that reads leases with pread(2), which shows whether the arena was truncated."""

    arena = None

    def lease(self, method="Acquire", **parameters):
        reply = self.call(method, **parameters)
        if self.arena is None:
            self.arena = self.fds[reply["arenaFileDescriptor"]]
        return reply

    def release(self, reply):
        self.call("Release", lease=reply["lease"])

    def read(self, reply):
        return b"".join(os.pread(self.arena, segment["length"], segment["offset"])
                        for segment in reply["segments"])

    def digest(self, reply):
        return sha256(self.read(reply))


class RestartTestCase(LeaseTestCase):
    def service(self, **options):
        service = Service(**options)
        self.daemons.append(service)
        self.addCleanup(self.stop, service)
        return service

    def cat(self, service, model, layer):
        """The output of `emctl cat`."""
        done = subprocess.run([str(harness.EMCTL), "cat", model, layer], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=TIMEOUT,
                              env=harness.clean_environment(EDGEMIND_SOCKET=service.socket))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def assertBytes(self, service, model, layers):
        """Checks that each of these layers (name: its bytes) has the right bytes; absent layers are
        loaded."""
        with Reader(service) as client:
            for layer, data in layers.items():
                reply = client.lease(model=model, layer=layer)
                self.assertTrue(client.read(reply) == data, "%s/%s differs" % (model, layer))
                client.release(reply)

    def assertWarm(self, service):
        self.assertTrue(service.is_warm(), service.read_log())

    def assertCold(self, service, why, models=0):
        """Checks that it reported a cold start with the reason, knows no models, and works, and
        that the next start is warm."""
        log = service.read_log()
        self.assertRegex(log, "a cold start: .*" + why)
        self.assertFalse(service.is_warm(), log)
        self.assertEqual(len(service.call("List")["models"]), models)
        self.assertEqual(service.stats()["arena"]["usedBytes"], 0)
        service.settle()
        self.assertEqual(service.store.names(), ["arena", "ledger"])
        layers = self.load_weights("afterwards", [70_000, 5], seed=99, daemon=service)
        service.restart()
        self.assertWarm(service)
        self.assertBytes(service, "afterwards", layers)

    def resident_of(self, service, model):
        return set(self.footprint(model, service))


class ColdTestCase(RestartTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="4M", policy="lru")
        self.layers = self.load_weights("m", [700_000, MIB, 5, 400_000], seed=1)
        self.daemon.settle()

    def stored(self, name):
        return self.daemon.store.fd(name)

    def put(self, name, fd):
        """Puts a descriptor into the store, last."""
        with self.daemon.store.lock:
            self.daemon.store.add(name, fd)

    def put_memory(self, name, data, size=None):
        fd = os.memfd_create(name)
        os.write(fd, data)
        if size is not None:
            os.truncate(fd, size)
        self.put(name, fd)
        return fd

    def forget(self, name):
        with self.daemon.store.lock:
            self.daemon.store.drop(name)
