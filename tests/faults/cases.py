"""What clients do with a daemon while its allocations fail, and the state of the daemon before.
faults.py chooses the allocations and judges the replies."""
import contextlib
import json
import signal
import socket
import subprocess
import sys

import harness
import leasing
import wire

PATIENCE = 20  # seconds for one reply
WHOLE = "model", "layersDone", "layersTotal", "bytesDone", "bytesTotal"  # of a load


class Models:
    """Files of three kinds, and the bytes of their layers."""

    def __init__(self, directory):
        self.paths = {"st": directory / "st.safetensors", "gguf": directory / "gguf.gguf",
                      "sized": directory / "sized.json"}
        generator = [sys.executable, harness.ROOT / "tests" / "generate_weights.py"]
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


class Cases:
    """The cases, and the daemon that they are about. A subclass starts it."""

    def __init__(self, directory):
        self.models = Models(directory)
        self.metrics = directory / "metrics"  # a socket
        self.daemon = None

    @contextlib.contextmanager
    def connected(self, daemon=None):
        with leasing.Leaser(daemon or self.daemon) as connection:
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
        # The daemon may notice only now that the last client has gone.
        harness.wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "leases to end")
        self.settle()
        with self.connected() as connection:
            for layer in connection.call("List", model=kind)["layers"]:
                if layer["state"] == "resident":
                    connection.call("UnloadLayer", model=kind, layer=layer["name"])

    def cases(self):
        models = self.models
        for kind in models.paths:
            yield Case("LoadModel " + kind, lambda c, kind=kind: models.load(c, kind),
                       lambda kind=kind: self.forget(kind), WHOLE)
        yield Case("LoadModel again", lambda c: models.load(c, "st", replace=True), self.settle,
                   WHOLE)
        for kind in models.paths:
            for policy in leasing.POLICIES:
                yield Case("Plan %s %s" % (kind, policy), lambda c, kind=kind, policy=policy: models.load(
                    c, kind, "Plan", policy=policy, passes=2), self.settle, None)
        yield Case("Acquire absent", self.acquire, lambda: self.evict("st"), ("digest",))
        yield Case("Acquire units", self.acquire_units, lambda: self.forget("units"), ("bytes", "tensors"))
        yield Case("Acquire resident", self.acquire, self.settle, ("digest",))
        yield Case("a view", self.view, lambda: self.evict("st"), ("digests",))
        yield Case("Views", lambda c: c.call("Views"), self.settle, None)
        yield Case("Usage", lambda c: c.call("Usage"), self.settle, ())
        yield Case("History", lambda c: c.call("History"), self.settle, ("stepUsec",))
        yield Case("two runs", self.run, lambda: self.evict("gguf"), ("digests",))
        yield Case("List", lambda c: c.call("List"), self.settle, ())
        yield Case("List layers", lambda c: {"names": [
            layer["name"] for layer in c.call("List", model="st")["layers"]]}, self.settle, ("names",))
        yield Case("List tensors", lambda c: c.call("List", model="st", layer=self.layer()),
                   self.settle, None)
        yield Case("Why", lambda c: c.call("Why", model="st"), self.settle, ("registered", "layers"))
        yield Case("Why layer", lambda c: c.call("Why", model="st", layer=self.layer()),
                   lambda: self.evict("st"), ("layer", "state", "wasLoaded"))
        yield Case("Stats", lambda c: c.call("Stats"), self.settle, ())
        yield Case("metrics", self.scrape, self.settle, None)
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
        yield Case("an engine", self.engine, lambda: self.evict("st"), ())
        yield Case("reload", self.reload, self.settle, ())
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

    @staticmethod
    def acquire_units(connection):
        layers = [{"name": "e:u%d" % i, "bytes": 10000} for i in range(4)]
        connection.call("LoadModel", definition=json.dumps({"name": "units", "layers": layers}))
        connection.call("UnloadLayer", model="units", layer="e:u3")
        reply = connection.lease(model="units", layer="e", units=[3, 1])
        connection.release(reply)
        connection.call("UnloadModel", model="units")
        return reply

    def view(self, connection):
        view = connection.call("BeginView", model="st", program="p", bytes=1, outsideBytes=0)["view"]
        first, second = sorted(name for model, name in self.models.digests if model == "st")[:2]
        replies = [connection.lease(model="st", layer=first, view=view, next=second),
                   connection.lease(model="st", layer=second, view=view)]
        digests = [connection.digest(reply) for reply in replies]
        connection.call("EndView", view=view)
        for reply in replies:
            connection.release(reply)
        return {"digests": digests}

    def scrape(self, _):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.metrics))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        if not answer.startswith(b"HTTP/1.1 200 OK"):
            raise EOFError
        return {"complete": b"\nedgemind_model_thrash_total" in answer}

    def engine(self, _):
        """A program that maps the file and compares each byte. It may get SIGBUS for bytes that the
        daemon could not read, as from a mapping of a file that cannot be read."""
        environment = harness.clean_environment(
            LD_PRELOAD=harness.BUILD / "libedgemind-view.so", EDGEMIND_SOCKET=self.daemon.socket,
            EDGEMIND_VIEW_GRACE="1")
        done = subprocess.run(
            [harness.BUILD / "tests" / "integration" / "view_reader", "all", self.models.paths["st"]],
            env=environment, timeout=2 * PATIENCE, stderr=subprocess.PIPE)
        if done.returncode == -signal.SIGBUS:
            raise EOFError
        assert done.returncode == 0, done
        return {}

    def reload(self, connection):
        self.daemon.process.send_signal(signal.SIGHUP)
        connection.call("Stats")
        return {}

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
