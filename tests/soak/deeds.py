"""What a client of the soak does with the daemon, deed by deed, and what must come of it. A deed may end
with one of the errors in client.REFUSALS where it is not known whether it will be granted; any other
error is a failure."""
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import time

import wire
from harness import BUILD, EMCTL, INTERFACES, TIMEOUT, clean_environment
from leasing import POLICIES

from client import LOST, WRONG, Client, Connection, Failed

LEASES_MAX = 2  # of one client
DENIED = "org.varlink.service.PermissionDenied"
VIEW_MODES = ("all", "random", "unmap", "twice", "fork", "handler")
VIEW_READER = BUILD / "tests" / "integration" / "view_reader"
CAT_MAY_FAIL = (6, 7)  # busy, not found
GARBAGE = (b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"method":3}', b'{"method":"x"}', b"[" * 200,
           b'{"method":"io.edgemind.manager.Stats","more":true,"oneway":true}', b"", b'{"a":' * 40,
           b'{"method":"io.edgemind.manager.Acquire","parameters":{"model":"a","layer":1}}')


class Deeds(Client):
    def acquire(self, rng):
        key, wait = rng.choice(self.models.layers), rng.choice([None, rng.randrange(50_000)])
        if len(self.held) >= LEASES_MAX:
            return
        mine = [held for held in self.held.values() if held.key == key]
        try:
            reply = self.connection.lease(model=key[0], layer=key[1], waitUsec=wait)
        except wire.VarlinkError as refused:
            if mine:
                raise Failed("%s of a layer that this client holds" % refused) from refused
            raise
        self.hold(key, reply)
        if mine and (reply["fill"], reply["segments"]) != (
                mine[0].reply["fill"], mine[0].reply["segments"]):
            raise Failed("two leases of %s/%s differ" % key)

    def release(self, rng):
        self.check_held()
        with self.refused("NotFound"):
            self.connection.call("Release", lease="no-such-lease")
        if self.held:
            lease = rng.choice(sorted(self.held))
            del self.held[lease]
            self.connection.call("Release", lease=lease)

    def verify(self, rng):
        """Holds on to what it has for a moment. Its own leases show in the daemon's lists."""
        self.check_held()
        time.sleep(rng.random() * 0.05)
        self.check_held()
        for model, layer in {held.key for held in self.held.values()}:
            layers = self.connection.call("List", model=model)["layers"]
            state = next(found["state"] for found in layers if found["name"] == layer)
            if state != "resident":
                raise Failed("%s/%s is leased and %s" % (model, layer, state))

    def run(self, rng):
        model, n_steps = rng.choice(self.models.names), rng.randrange(1, 25)
        run = self.connection.call("BeginRun", model=model, at=rng.randrange(6))["run"]
        before = None
        try:
            for _ in range(n_steps):
                reply = self.connection.lease("Next", run=run, waitUsec=rng.randrange(30_000))
                if before and reply["layer"] != self.models.next_of(model, before):
                    raise Failed("%s comes after %s in a run over %s" % (
                        reply["layer"], before, model))
                before = reply["layer"]
                self.hold((model, before), reply)
                self.check_held()
                del self.held[reply["lease"]]
        except wire.VarlinkError:
            self.connection.call("EndRun", run=run)
            raise
        self.connection.call("EndRun", run=run)

    def plan(self, rng):
        try:
            plan = self.connection.call("Plan", model=rng.choice(self.models.names),
                                        policy=rng.choice(POLICIES), passes=rng.randrange(1, 30))
        except wire.VarlinkError as refused:
            if refused.parameters.get("limit") == "plans of a user":
                return  # on a busy machine others of this user plan, too
            raise
        decisions = [step["decision"] for step in plan["steps"]]
        is_refused = decisions[-1] in ("must-unload", "busy")  # there it ends, as a load would
        if plan["stepsTotal"] != len(decisions) or set(decisions) - {"loaded", "must-unload", "busy"} or (
                len(decisions) < len(self.models.order[plan["model"]]) and not is_refused):
            raise Failed("a plan of %s: %s" % (plan["model"], decisions))

    def look(self, rng):
        call, model = self.connection.call, rng.choice(self.models.names)
        arena = call("Stats")["arena"]
        if arena["usedBytes"] + arena["freeBytes"] != arena["capacityBytes"]:
            raise Failed("the arena's figures: %s" % arena)
        for method, parameters in rng.sample([
                ("List", {}), ("Usage", {}), ("History", {}), ("Views", {}), ("Why", {"model": model}),
                ("List", {"model": model, "layer": rng.choice(self.models.order[model])})], 2):
            call(method, parameters)

    def cancel(self, rng):
        """Hangs up in the middle of a call, with all that it holds."""
        model = rng.choice(self.models.names)
        layer = rng.choice(self.models.order[model])
        method, parameters = rng.choice([
            ("Acquire", {"model": model, "layer": layer, "waitUsec": 5_000_000}),
            ("Plan", {"model": model, "passes": 1000}), ("Watch", None), ("List", None),
            ("LoadLayer", {"model": model, "layer": layer}) if self.is_admin else ("Views", None)])
        self.connection.send_call(method, parameters, more=method == "Watch")
        time.sleep(rng.choice([0, rng.random() * 0.005]))
        self.held = {}
        self.connect()
        self.count("cancels")

    def other_connection(self):
        return Connection(self.service, self.count)

    def slow_reader(self, rng):
        """Sends calls on another connection, does not read the replies, and at a later turn reads
        some or none."""
        if self.slow:
            with self.slow as slow:
                self.slow = None
                slow.socket.settimeout(0.2)
                with contextlib.suppress(*LOST):  # at its end, or if no more comes
                    for _ in range(rng.choice([0, 1, 200])):
                        if not isinstance(json.loads(slow.receive() or "{}"), dict):
                            raise Failed("not a reply")
            return
        slow = self.other_connection()
        slow.socket.setblocking(False)
        method = rng.choice(["Watch", "List", "Stats", "Views", "Usage"])
        message = {"method": wire.qualified(method)}
        if method == "Watch":
            message["more"] = True
        try:
            slow.socket.send((json.dumps(message).encode() + b"\0") * rng.randrange(1, 2000))
            self.slow = slow
        except BlockingIOError:
            slow.close()
        self.count("slow_readers")

    def malformed(self, rng):
        """The answer is an error, or the end of this connection; or the message was right after all."""
        message = bytearray(rng.choice(GARBAGE))
        if rng.random() < 0.5:
            message = bytearray(b'{"method":"io.edgemind.manager.Acquire","parameters":'
                                b'{"model":"a","layer":"b.0","waitUsec":0}}')
            for _ in range(rng.randrange(1, 5)):
                message[rng.randrange(len(message))] = rng.randrange(1, 256)
        is_whole, n_fds = rng.random() < 0.7, rng.choice([0, 0, 1, 200])
        with self.other_connection() as connection:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                connection.send(bytes(message) + b"\0" * is_whole or b"{", [null] * n_fds)
                reply = connection.receive() if is_whole else None
            except OSError:  # hung up on while sending
                reply = None
            finally:
                os.close(null)
            if reply is not None and set(json.loads(reply)) - {"error", "parameters", "continues"}:
                raise Failed("%r replied %r" % (message, reply[:200]))
        self.count("malformed")

    def fork(self, rng):
        """The child reads what the parent has leased, and is a client itself."""
        child = os.fork()
        if child == 0:
            status = 9
            try:
                status = 0 if all(self.connection.digest(held.reply) == held.digest
                                  for held in self.held.values()) else 1
                with self.other_connection() as connection:
                    connection.call("Stats")
            except LOST:  # by a kill; the parent will see
                pass
            except BaseException:
                status = 9
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 1:
            self.ascertain("wrong bytes in a child")
        elif status != 0:
            raise Failed("a child ended with %d" % status)
        self.count("forks")

    def command(self, *words, **environment):
        """Runs a program that uses the daemon. Returns how it ended, and whether a kill of the daemon
        may be the reason."""
        epoch = self.shared.epoch
        done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=2 * TIMEOUT,
                              env=clean_environment(EDGEMIND_SOCKET=self.service.socket, **environment))
        return done, self.shared.explains(epoch)

    def cat(self, rng):
        key = rng.choice(self.models.layers)
        done, was_killed = self.command(EMCTL, "cat", *key)
        if done.returncode == 0:
            if hashlib.sha256(done.stdout).hexdigest() not in self.models.digests[key]:
                raise Failed("emctl cat: " + WRONG % key)
        elif done.returncode < 0 or done.returncode not in CAT_MAY_FAIL and not was_killed:
            raise Failed("emctl cat ended with %d: %r" % (done.returncode, done.stderr))

    def view(self, rng):
        """A foreign program, as below emctl exec, compares every byte with its file. Its bytes are right
        whatever happens to the daemon."""
        mode, path = rng.choice(VIEW_MODES), self.models.any_file(rng)
        done, _ = self.command(VIEW_READER, mode, path, rng.randrange(20, 300),
                               LD_PRELOAD=BUILD / "libedgemind-view.so")
        if done.returncode:
            raise Failed("a view ended with %d: %r" % (done.returncode, done.stderr[-500:]))
        self.count("views")

    def forbidden(self, rng):
        """What a member may not do."""
        if self.is_admin:  # the test is not run by root, and has no members
            return
        method, parameters = rng.choice([
            ("Reset", None), ("UnloadModel", {"model": "a"}), ("SetPolicy", {"policy": "lru"}),
            ("LoadLayer", {"model": "a", "layer": "b.0"}), ("LoadModel", {"definition": "{}"})])
        with self.refused(DENIED):
            self.connection.call(method, parameters)

    def holds(self, model):
        return any(held.key[0] == model for held in self.held.values())

    def load_model(self, rng):
        model, replace = rng.choice(self.models.names), rng.random() < 0.3 or None
        if not self.holds(model):
            self.models.load(self.connection, model, rng, replace=replace)
            return
        with self.refused("Busy" if replace else "AlreadyLoaded"):
            self.models.load(self.connection, model, rng, replace=replace)

    def too_large(self, rng):
        with self.refused("OutOfMemory"):
            self.connection.call("LoadModel", definition=self.models.too_large)

    def load_layer(self, rng):
        model, layer = rng.choice(self.models.layers)
        self.connection.call("LoadLayer", model=model, layer=layer,
                             onFull=rng.choice([None, "evict", "ask"]))

    def unload(self, rng):
        model, layer = rng.choice(self.models.layers)
        method, parameters, is_mine = rng.choice([
            ("UnloadLayer", {"model": model, "layer": layer},
             any(held.key == (model, layer) for held in self.held.values())),
            ("UnloadModel", {"model": model}, self.holds(model))])
        if not is_mine:
            self.connection.call(method, parameters)
            return
        with self.refused("Busy"):
            self.connection.call(method, parameters)

    def reset(self, rng):
        if not self.held:
            self.connection.call("Reset")
            return
        with self.refused("Busy"):
            self.connection.call("Reset")

    def set_policy(self, rng):
        self.connection.call("SetPolicy", policy=rng.choice(POLICIES),
                             onFull=rng.choice([None, "evict", "evict", "ask"]))

    def scrape(self, rng):
        with socket.socket(socket.AF_UNIX) as http:
            http.settimeout(TIMEOUT)
            http.connect(str(self.service.metrics))
            http.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: http.recv(1 << 16), b""))
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.ascertain("metrics: %r" % answer[:200])
