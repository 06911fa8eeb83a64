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
import contextlib
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
import leasing  # noqa: E402
import wire  # noqa: E402

harness.EDGEMINDD = harness.BUILD / "faults" / "edgemindd"
STEP = int(sys.argv[2]) if len(sys.argv) > 2 else 1
NEVER = (1 << 64) - 1
PATIENCE = 20  # seconds for one reply
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


class Models:
    """Files of three kinds, and the bytes of their layers."""

    def __init__(self, directory):
        self.paths = {"st": directory / "st.safetensors", "gguf": directory / "gguf.gguf",
                      "sized": directory / "sized.json"}
        generator = [sys.executable, ROOT / "tests" / "generate_weights.py"]
        for kind, format in ("st", "safetensors"), ("gguf", "gguf"):
            subprocess.run([*generator, format, self.paths[kind], "--blocks", "6",
                            "--block-bytes", "256K", "--embedding-bytes", "0"],
                           check=True, stdout=subprocess.DEVNULL)
        self.paths["sized"].write_text(harness.sized_model("sized", *[300000] * 6))
        self.digests = {}  # (model, layer): of a load without faults

    def load(self, connection, kind, method="LoadModel", **parameters):
        with open(self.paths[kind], "rb") as file:
            return connection.call(method, dict(parameters, name=kind, definitionFileDescriptor=0),
                                   fds=[file.fileno()])


class Case:
    """An action in which an allocation fails. `prepare` runs before it without a fault, and brings
    the daemon to the same state, whatever the last try has done."""

    def __init__(self, name, act, prepare=None, fixed=()):
        self.name, self.act, self.prepare, self.fixed = name, act, prepare, fixed


def plain(value, fixed):
    """The part of a reply that must always be the same: the keys in `fixed`, or all if that is
    None."""
    if "steps" in value:  # which layers are resident depends on earlier tries
        value = {"steps": [(step["layer"], step["bytes"]) for step in value["steps"]]}
    return value if fixed is None else {key: value.get(key) for key in fixed}


class Scenario:
    def __init__(self, directory):
        self.faults = Faults()
        self.models = Models(directory)
        self.failures = 0
        self.daemon = None

    def start(self, **options):
        return harness.Daemon(capacity=CAPACITY, environment={"EDGEMIND_FAULTS": self.faults.file.name},
                              log_level="error", monitor_interval="1h", **options)

    @contextlib.contextmanager
    def connected(self):
        with leasing.Leaser(self.daemon) as connection:
            connection.socket.settimeout(PATIENCE)
            yield connection

    # The state before each case: all three models are known, and as many layers resident as fit.
    def settle(self, connection=None):
        if connection is None:
            with self.connected() as connection:
                return self.settle(connection)
        connection.call("SetPolicy", policy="next-use", onFull="evict")
        known = {model["name"] for model in connection.call("List")["models"]}
        for kind in self.models.paths:
            if kind not in known:
                self.models.load(connection, kind)

    def forget(self, kind):
        self.settle()
        with self.connected() as connection, contextlib.suppress(wire.VarlinkError):
            connection.call("UnloadModel", model=kind)

    def evict(self, kind):
        self.settle()
        with self.connected() as connection:
            for layer in connection.call("List", model=kind)["layers"]:
                if layer["state"] == "resident":
                    connection.call("UnloadLayer", model=kind, layer=layer["name"])

    def cases(self):
        models = self.models
        for kind in models.paths:
            yield Case("LoadModel " + kind, lambda c, kind=kind: models.load(c, kind),
                       lambda kind=kind: self.forget(kind), ("layers", "bytes"))
        yield Case("LoadModel again", lambda c: models.load(c, "st", replace=True), self.settle,
                   ("layers", "bytes"))
        for kind in models.paths:
            for policy in leasing.POLICIES:
                yield Case("Plan %s %s" % (kind, policy), lambda c, kind=kind, policy=policy: models.load(
                    c, kind, "Plan", policy=policy, passes=2), self.settle, None)
        yield Case("Acquire absent", self.acquire, lambda: self.evict("st"), ("digest",))
        yield Case("Acquire resident", self.acquire, self.settle, ("digest",))
        yield Case("a view", self.view, lambda: self.evict("st"), ("digest",))
        yield Case("Views", lambda c: c.call("Views"), self.settle, None)
        yield Case("two runs", self.run, lambda: self.evict("gguf"), ("digests",))
        yield Case("List", lambda c: c.call("List"), self.settle, ())
        yield Case("List layers", lambda c: {"names": [
            layer["name"] for layer in c.call("List", model="st")["layers"]]}, self.settle, ("names",))
        yield Case("List tensors", lambda c: c.call("List", model="st", layer=self.layer()),
                   self.settle, None)
        yield Case("Stats", lambda c: c.call("Stats"), self.settle, ())
        yield Case("Watch", self.watch, self.settle, ())
        yield Case("SetPolicy", lambda c: c.call("SetPolicy", policy="lru", onFull="ask"),
                   self.settle, None)
        yield Case("LoadLayer", lambda c: c.call("LoadLayer", model="st", layer=self.layer()),
                   lambda: self.evict("st"), ())
        yield Case("UnloadLayer", lambda c: c.call("UnloadLayer", model="st", layer=self.layer()),
                   self.loaded_layer, ())
        yield Case("UnloadModel", lambda c: c.call("UnloadModel", model="st"), self.settle, ())
        yield Case("Reset", lambda c: c.call("Reset"), self.settle, ())
        yield Case("must unload", self.must_unload, lambda: self.forget("st"), ())
        yield Case("busy", self.busy, self.settle, ())
        yield Case("a bad definition", self.bad_definition, self.settle, ())
        yield Case("GetInfo", lambda c: c.call("org.varlink.service.GetInfo"), self.settle, None)
        yield Case("GetInterfaceDescription", lambda c: c.call(
            "org.varlink.service.GetInterfaceDescription", interface=wire.MANAGER), self.settle, None)
        yield Case("MethodNotFound", self.expecting("org.varlink.service.MethodNotFound", "Nonsense"),
                   self.settle, ())

    def layer(self):
        return sorted(name for model, name in self.models.digests if model == "st")[0]

    def loaded_layer(self):
        self.settle()
        with self.connected() as connection:
            connection.call("LoadLayer", model="st", layer=self.layer())

    @staticmethod
    def acquire(connection):
        layers = connection.call("List", model="st")["layers"]
        reply = connection.lease(model="st", layer=layers[0]["name"])
        digest = connection.digest(reply)
        connection.release(reply)
        return {"digest": digest}

    def view(self, connection):
        view = connection.call("BeginView", model="st", program="p", bytes=1, outsideBytes=0)["view"]
        reply = connection.lease(model="st", layer=self.layer(), view=view)
        digest = connection.digest(reply)
        connection.call("EndView", view=view)
        connection.release(reply)
        return {"digest": digest}

    @staticmethod
    def run(connection):
        """Each model's run in turn; the bytes that are read are hashed."""
        digests = []
        runs = [connection.call("BeginRun", model=model)["run"] for model in ("st", "gguf")]
        for _ in range(4):
            for run in runs:
                digests.append(connection.digest(connection.lease("Next", run=run)))
        for run in runs:
            connection.call("EndRun", run=run)
        return {"digests": digests}

    def watch(self, connection):
        stream = connection.stream("Watch")
        next(stream)
        with self.connected() as other:
            other.call("SetPolicy", policy="lru")
            other.call("SetPolicy", policy="next-use")
        with self.connected() as other:
            other.call("Reset")
        reply, _ = next(stream)
        return reply

    @staticmethod
    def expecting(error, method, **parameters):
        def act(connection):
            try:
                connection.call(method, parameters)
            except wire.VarlinkError as caught:
                if caught.error == error:
                    return {}
                raise
            raise AssertionError("no " + error)
        return act

    def must_unload(self, connection):
        for kind in "gguf", "sized":
            for layer in connection.call("List", model=kind)["layers"]:
                connection.call("LoadLayer", model=kind, layer=layer["name"], onFull="evict")
        try:
            self.models.load(connection, "st", onFull="ask")
        except wire.VarlinkError as caught:
            if caught.error != "MustUnload":
                raise
        return {}

    @staticmethod
    def busy(connection):
        """Leases until nothing more fits."""
        with contextlib.suppress(StopIteration):
            for model in "gguf", "sized", "st":
                for layer in connection.call("List", model=model)["layers"]:
                    try:
                        connection.lease(model=model, layer=layer["name"])
                    except wire.VarlinkError as caught:
                        if caught.error != "Busy":
                            raise
                        raise StopIteration from None
        return {}

    def bad_definition(self, connection):
        try:
            connection.call("LoadModel", definition='{"name": "x", "layers": [{"name": "a", "bytes": -1}]}')
        except wire.VarlinkError as caught:
            if caught.error != "InvalidDefinition":
                raise
        return {}

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
