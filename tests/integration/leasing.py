"""Common parts of the tests of leases and runs: clients that read the leased layers, client
processes, and models whose bytes are known."""
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import random
import re
import select
import signal
import socket
import sys
import traceback

from harness import EDGEMINDD, MIB, TestCase, run, sized_model, wait_until
from machine import NOBODY
from weight_files import Client, file_bytes, generate, sha256

# In the order in which the daemon lists them.
POLICIES = re.search(r"--policy=(\S+)", run(EDGEMINDD, "--help").out).group(1).split("|")
WAIT_MAX = 60_000_000  # microseconds
PR_SET_DUMPABLE = 4


class Leaser(Client):
    """A connection that maps the arena at its first lease, and reads the leased layers there."""

    arena = None

    def lease(self, method="Acquire", **parameters):
        """Calls Acquire or Next. Returns the reply."""
        self.send_call(method, parameters)
        return self.leased_reply(method)

    def leased_reply(self, method="Acquire"):
        """Receives the reply to an earlier Acquire or Next."""
        reply = self.result(method)
        index = reply.get("arenaFileDescriptor")
        assert (index is None) == (self.arena is not None), reply
        assert len(self.fds) == 1, "%d descriptors came" % len(self.fds)
        if index is not None:
            flags = fcntl.fcntl(self.fds[index], fcntl.F_GETFL)
            assert flags & os.O_ACCMODE == os.O_RDONLY, flags
            size = os.fstat(self.fds[index]).st_size
            self.arena = memoryview(mmap.mmap(self.fds[index], size, prot=mmap.PROT_READ))
        assert sum(s["length"] for s in reply["segments"]) == reply["bytes"], reply
        return reply

    def release(self, reply):
        self.call("Release", lease=reply["lease"])

    def readable(self):
        """Whether a reply has come."""
        return bool(self.buffer or select.select([self.socket], [], [], 0)[0])

    def views(self, reply):
        """The layer's bytes in the arena."""
        return [self.arena[s["offset"]:s["offset"] + s["length"]] for s in reply["segments"]]

    def read(self, reply):
        return b"".join(self.views(reply))

    def digest(self, reply):
        found = hashlib.sha256()
        for view in self.views(reply):
            found.update(view)
        return found.hexdigest()


class Pipe:
    """One end of the connection between a test and a process that it forked. It carries JSON
    values."""

    def __init__(self, end):
        self.socket = end
        self.file = end.makefile("r")

    def say(self, value=None):
        self.socket.sendall(json.dumps(value).encode() + b"\n")

    def hear(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the other process ended")
        return json.loads(line)

    def spoken_to(self):
        """Whether there is a message, if all earlier messages have been received."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        self.file.close()
        self.socket.close()


class Process(Pipe):
    """A client process, forked from the test, which runs function(pipe, *arguments) and ends. It
    has no descriptors of the test. `user`: another user, in `groups`."""

    def __init__(self, test, function, *arguments, user=None, groups=()):
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                let_go_of_descriptors(theirs.fileno())
                if user is not None:
                    become(user, groups)
                function(Pipe(theirs), *arguments)
                status = 0
            except KeyboardInterrupt:
                pass
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        theirs.close()
        super().__init__(ours)
        self.status = None
        test.addCleanup(self.discard)

    def wait(self):
        """Its exit status; negative: the signal that ended it."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def end(self):
        """Waits until it has ended by itself without a failure."""
        status = self.wait()
        assert status == 0, "client process ended with %d" % status

    def discard(self):
        if self.status is None:
            self.kill()
        self.close()


def let_go_of_descriptors(kept):
    """Redirects every descriptor to /dev/null, except the standard ones and `kept`. Their numbers
    stay in use, so that the test's objects, when they close them, close no other descriptor."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in (kept, null):
            try:
                os.fstat(fd)
            except OSError:  # through which the directory was read
                continue
            os.dup2(null, fd, inheritable=False)


def become(user, groups):
    """Changes to another user, and is accessible below /proc as after execve(2)."""
    os.setgroups(groups)
    os.setgid(NOBODY)
    os.setuid(user)
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0


def hold(pipe, daemon, layers):
    """A client process that leases these (model, layer) pairs and sleeps. Each message to it makes
    it release one lease, the oldest first."""
    with Leaser(daemon) as client:
        leases = [client.lease(model=model, layer=layer) for model, layer in layers]
        pipe.say()
        while leases:
            pipe.hear()
            client.release(leases.pop(0))
            pipe.say()
        pipe.hear()


def wait_in_line(pipe, daemon, layer):
    """A client process that waits for a layer, says that it has it, and keeps it."""
    with Leaser(daemon) as client:
        client.lease(model="m", layer=layer, waitUsec=WAIT_MAX)
        pipe.say()
        pipe.hear()


def chosen_seed():
    seed = int(os.environ.get("EDGEMIND_SEED") or random.randrange(1 << 32))
    print("seed %d" % seed)
    return seed


def write_model(path, sizes, seed=0):
    """A weight file of layers b.0, b.1 ... of these sizes, each one tensor. {layer: its bytes}."""
    tensors = [generate.Tensor("b.%d.w" % i, "I8", (size,)) for i, size in enumerate(sizes)]
    placed = generate.write_safetensors(str(path), tensors, seed)
    return {tensor.name[:-2]: file_bytes(tensor) for tensor in placed}


class LeaseTestCase(TestCase):
    def client(self, daemon=None):
        client = Leaser(daemon or self.daemon)
        self.addCleanup(client.close)
        return client

    def load_weights(self, name, sizes, seed=0, daemon=None):
        """Registers a model with weights of these sizes (see write_model) and loads as many layers
        as fit.
        {layer: its bytes}."""
        path = self.directory() / name
        layers = write_model(path, sizes, seed)
        with Leaser(daemon or self.daemon) as client:
            client.load_model(path, name=name)
        return layers

    def footprint(self, model, daemon=None):
        """{layer: size of its pages} for the resident layers."""
        layers = (daemon or self.daemon).call("List", model=model)["layers"]
        return {layer["name"]: layer["footprintBytes"] for layer in layers
                if layer["state"] == "resident"}

    def resident(self, model):
        return set(self.footprint(model))

    def waiting(self):
        return self.daemon.stats()["scheduler"]["waiting"]

    def wait_for_waiting(self, n):
        wait_until(lambda: self.waiting() == n, "%d waiting" % n)

    def send_waiting(self, client, model, layer, usec=WAIT_MAX):
        """Sends an Acquire that has to wait, and returns when it does."""
        n = self.waiting()
        client.send_call("Acquire", {"model": model, "layer": layer, "waitUsec": usec})
        self.wait_for_waiting(n + 1)

    def assertNoReply(self, *clients):
        """Checks that no call has been answered, although the daemon had the time."""
        self.daemon.stats()
        self.assertEqual([client for client in clients if client.readable()], [])

    def assertHolders(self, busy, pid, layers):
        """Checks that a Busy reply names this process as the holder of these layers."""
        self.assertEqual(busy["leasesTotal"], len(busy["leases"]))
        self.assertEqual({lease["pid"] for lease in busy["leases"]}, {pid})
        self.assertEqual({lease["loading"] for lease in busy["leases"]}, {False})
        self.assertEqual(sorted(lease["layer"] for lease in busy["leases"]), sorted(layers))

    def assertNothingLeft(self, n_fds, daemon=None):
        """Checks that no leases, waits, loads, runs or descriptors are left, and that all layers
        can be evicted."""
        daemon = daemon or self.daemon

        def over():
            stats = daemon.stats()
            return (stats["arena"]["leasedBytes"] == 0 and stats["scheduler"]["waiting"] == 0 and
                    stats["scheduler"]["layersLoading"] == 0 and stats["scheduler"]["runs"] == 0)
        wait_until(over, "leases, waits, loads and runs to end")
        self.assertUnharmed(daemon)
        daemon.call("Reset")
        self.assertEqual(daemon.stats()["arena"]["usedBytes"], 0)
        self.assertFds(n_fds, daemon)


class WaitTestCase(LeaseTestCase):
    """Model m: each of l0 to l5 needs the whole arena. Model s: each of l0 to l3 a quarter."""
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        with self.client() as client:
            client.call("LoadModel", definition=sized_model("m", *[4 * MIB] * 6))
            client.call("LoadModel", definition=sized_model("s", *[MIB] * 4))
            client.call("Reset")
        self.n_fds = self.daemon.n_fds_at_rest()

    def holder(self, *layers):
        """A process that has leased these layers."""
        process = Process(self, hold, self.daemon, layers or [("m", "l0")])
        process.hear()
        return process

    def waiter(self, model, layer, usec=WAIT_MAX):
        client = self.client()
        self.send_waiting(client, model, layer, usec)
        return client

    def assertServedInOrder(self, *clients):
        """Each client is served while those after it wait. When it hangs up, the next one is
        served."""
        for i, client in enumerate(clients):
            client.leased_reply()
            self.assertNoReply(*clients[i + 1:])
            self.assertEqual(self.waiting(), len(clients) - i - 1)
            client.close()
