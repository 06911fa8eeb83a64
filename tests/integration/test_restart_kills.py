"""A daemon is killed at random moments under random load. No byte is wrong, no lease is lost or
left over, no descriptor is left over, and every start is warm.

EDGEMIND_KILLS: how many times; without it, as often as fits into some seconds. EDGEMIND_SEED
repeats what is done, though not the moments."""
import contextlib
import os
import random
import signal
import threading
import time
import unittest

import wire
from harness import MIB, TIMEOUT, TestCase, sized_model, wait_until
from leasing import POLICIES, Leaser, Process, chosen_seed, write_model
from service_manager import Reader, Service
from weight_files import sha256

N_KILLS = int(os.environ.get("EDGEMIND_KILLS", 0))
SECONDS = 18  # without a number of kills
GRACE = 1.0  # seconds of lease-grace
N_GUESTS = 4
CAPACITY = 6 * MIB
REFUSALS = {"Busy", "NotFound", "AlreadyLoaded", "MustUnload"}
ZEROS = "zeros"
LOST = (EOFError, OSError)  # errors of a call whose daemon is killed


class Models:
    """The models that are loaded and unloaded, and the digests that each of their layers may have:
    "ab" comes from either of two files."""

    def __init__(self, directory, rng):
        self.sources = {}  # model: [path]
        self.digests = {}  # (model, layer): those of its files
        for model, names in (("a", ["a"]), ("ab", ["b", "c"]), ("d", ["d"])):
            sizes = [rng.randrange(1, 900_000) for _ in range(rng.randrange(4, 9))]
            self.sources[model] = [directory / name for name in names]
            for path in self.sources[model]:
                layers = write_model(path, sizes, seed=rng.randrange(1 << 30))
                for layer, data in layers.items():
                    self.digests.setdefault((model, layer), set()).add(sha256(data))
        sizes = [rng.randrange(1, 900_000) for _ in range(4)]
        self.zeros = sized_model(ZEROS, *sizes)
        for i, size in enumerate(sizes):
            self.digests[ZEROS, "l%d" % i] = {sha256(bytes(size))}
        self.layers = sorted(self.digests)
        self.names = [*self.sources, ZEROS]

    def load(self, client, model, rng):
        if model == ZEROS:
            client.call("LoadModel", definition=self.zeros)
        else:
            client.load_model(rng.choice(self.sources[model]), name=model)


class Guest(threading.Thread):
    """A client that makes random calls and reads the layers that it leases. When the daemon is
    killed, it waits, makes a new connection, and takes its leases up again."""

    def __init__(self, service, models, seed):
        super().__init__(daemon=True)
        self.service, self.models, self.rng = service, models, random.Random(seed)
        self.client, self.leases = None, {}  # lease: ((model, layer), digest, reply)
        self.go = threading.Event()  # is set while the gate is open
        self.gate = threading.Condition()
        self.n_opened = self.n_parked = 0  # how often the gate was opened; the client waits there again
        self.is_over, self.failure, self.n_calls, self.n_read = False, None, 0, 0

    def run(self):
        try:
            while True:
                with self.gate:
                    self.gate.wait_for(lambda: self.is_over or self.n_parked < self.n_opened)
                if self.is_over:
                    return
                try:
                    self.take_up()
                    while self.go.is_set():
                        self.step()
                        self.n_calls += 1
                except LOST:
                    pass
                self.verify()  # while there is no daemon
                self.await_closed_gate()
                self.park()
        except BaseException as failure:
            self.failure = failure
        finally:
            if self.client:
                self.client.close()
            self.park()

    def park(self):
        with self.gate:
            self.n_parked = self.n_opened
            self.gate.notify_all()

    def open(self, is_over=False):
        with self.gate:
            self.is_over = is_over
            self.n_opened += 1
            self.go.set()
            self.gate.notify_all()

    def await_parked(self):
        with self.gate:
            return self.gate.wait_for(lambda: self.n_parked == self.n_opened, TIMEOUT)

    def await_closed_gate(self):
        while self.go.is_set():
            time.sleep(0.001)

    def verify(self):
        """Checks that the held layers have their bytes."""
        for key, digest, reply in self.leases.values():
            assert self.client.digest(reply) == digest, "%s/%s changed under its lease" % key
            self.n_read += 1

    def take_up(self):
        before, old = self.leases, self.client
        self.client, self.leases = Reader(self.service), {}
        try:
            for key, digest, reply in before.values():
                if self.rng.random() < 0.5:
                    again = self.acquire(*key)
                    if again["fill"] == reply["fill"]:
                        assert again["segments"] == reply["segments"], (again, reply)
                        assert old.digest(reply) == digest, "%s/%s changed" % key
        except wire.VarlinkError as refused:
            assert refused.error in REFUSALS, refused
        finally:
            if old:
                old.close()

    def acquire(self, model, layer, **parameters):
        reply = self.client.lease(model=model, layer=layer, **parameters)
        self.hold((model, layer), reply)
        return reply

    def hold(self, key, reply):
        digest = self.client.digest(reply)
        assert digest in self.models.digests[key], "wrong bytes in %s/%s" % key
        self.leases[reply["lease"]] = key, digest, reply
        self.n_read += 1

    def step(self):
        rng, client = self.rng, self.client
        model, layer = rng.choice(self.models.layers)
        try:
            action = rng.random()
            if action < 0.35 and len(self.leases) < 2:
                wait = {"waitUsec": rng.randrange(20_000)} if rng.random() < 0.5 else {}
                self.acquire(model, layer, **wait)
            elif action < 0.65 and self.leases:
                self.verify()
                lease = rng.choice(list(self.leases))
                del self.leases[lease]  # first, because its release may be the daemon's last action
                client.call("Release", lease=lease)
            elif action < 0.75:
                self.models.load(client, model, rng)
            elif action < 0.80:
                client.call("LoadLayer", model=model, layer=layer,
                            onFull=rng.choice(["evict", "ask"]))
            elif action < 0.85:
                client.call("UnloadLayer", model=model, layer=layer)
            elif action < 0.88:
                client.call("UnloadModel", model=model)
            elif action < 0.91:
                client.call("Reset")
            elif action < 0.94:
                client.call("SetPolicy", policy=rng.choice(POLICIES))
            else:
                self.run_over(model)
        except wire.VarlinkError as refused:
            assert refused.error in REFUSALS, refused

    def run_over(self, model):
        run = self.client.call("BeginRun", model=model)["run"]
        try:
            for _ in range(self.rng.randrange(1, 20)):
                reply = self.client.lease("Next", run=run, waitUsec=self.rng.randrange(20_000))
                self.hold((model, reply["layer"]), reply)
                self.verify()
                del self.leases[reply["lease"]]
        finally:
            with contextlib.suppress(*LOST):
                self.client.call("EndRun", run=run)


def watch(pipe, service, model, layer):
    """A client process that holds one layer over all restarts and reads it all the time. "again":
    the daemon was started again."""
    client, reply, n_read = Leaser(service), None, 0
    reply = client.lease(model=model, layer=layer)
    digest = client.digest(reply)
    pipe.say(digest)
    while True:
        assert client.digest(reply) == digest, "the bytes changed under a lease"
        n_read += 1
        if not pipe.spoken_to():
            time.sleep(0.001)
            continue
        word = pipe.hear()
        if word == "again":
            other = Leaser(service)
            again = other.lease(model=model, layer=layer)
            assert client.digest(reply) == digest, "the bytes changed over a restart"
            assert again["fill"] == reply["fill"], "the lease was lost: %s, %s" % (again, reply)
            assert again["segments"] == reply["segments"], (again, reply)
            client.close()
            client, reply = other, again
        elif word == "end":
            client.call("Release", lease=reply["lease"])
            client.close()
            pipe.say(n_read)
            return
        pipe.say()


class Kills(TestCase):
    def setUp(self):
        super().setUp()
        self.seed = chosen_seed()
        self.rng = random.Random(self.seed)
        self.models = Models(self.directory(), self.rng)
        self.service = Service(capacity=CAPACITY, listening=False, lease_grace="%gs" % GRACE,
                               policy=self.rng.choice(POLICIES), commit=self.commit)
        self.daemons.append(self.service)
        self.addCleanup(self.stop, self.service)
        self.n_fds = self.service.n_fds_at_rest()
        self.guests = []

    def open_gate(self):
        for guest in self.guests:
            guest.open()

    def close_gate(self):
        for guest in self.guests:
            guest.go.clear()

    def await_guests(self):
        for guest in self.guests:
            self.assertTrue(guest.await_parked(), "a client hangs")
            if guest.failure:
                raise guest.failure

    def kill(self):
        self.close_gate()
        if self.rng.random() < 0.25:
            self.service.end(signal.SIGTERM)
        else:
            self.service.end(signal.SIGKILL)
        self.assertEqual(self.service.store.names()[:2], ["arena", "ledger"])
        self.await_guests()

    def start_warm(self):
        """Sometimes the daemon is killed at once, and started again."""
        while self.rng.random() < 0.15:
            self.service.start_again(ready=False)
            time.sleep(self.rng.random() * 0.02)
            self.service.end(signal.SIGKILL)
            self.n_kills += 1
        self.service.start_again()
        self.assertTrue(self.service.is_warm(), self.service.read_log())

    def check_all(self, began):
        """Resident layers have the right bytes in the same place, and leased layers are
        resident."""
        with Reader(self.service) as client:
            before = client.call("Stats")
            self.assertEqual(before["scheduler"]["layersLoading"], 0)
            footprint = n_resident = 0
            fills = {}
            for model in [model["name"] for model in client.call("List")["models"]]:
                for layer in client.call("List", model=model)["layers"]:
                    if layer["state"] != "resident":
                        continue
                    key = model, layer["name"]
                    n_resident += 1
                    footprint += layer["footprintBytes"]
                    reply = client.lease(model=model, layer=layer["name"])
                    fills[key] = reply["fill"]
                    self.assertIn(client.digest(reply), self.models.digests[key], key)
                    client.call("Release", lease=reply["lease"])
            after = client.call("Stats")
            self.assertEqual(before["arena"]["usedBytes"], footprint)
            self.assertEqual(before["scheduler"]["layersLoaded"], n_resident)
            self.assertEqual(after["scheduler"]["bytesLoaded"], before["scheduler"]["bytesLoaded"])
            self.assertEqual(after["scheduler"]["hits"], n_resident + 1)  # the watcher's
            self.assertEqual(len(set(fills.values())), n_resident)
        if time.monotonic() - began < GRACE * 0.7:  # on such a slow machine the test proves nothing
            for guest in self.guests:
                for key, _, reply in guest.leases.values():
                    self.assertEqual(fills.get(key), reply["fill"], key)
                    self.n_kept += 1
        return after

    def await_grace(self):
        wait_until(lambda: self.service.stats()["arena"]["leasedBytes"] <= self.watched_bytes,
                   "lease-grace to end")

    def test_kills(self):
        self.n_kills = self.n_kept = self.n_loaded = 0
        with Reader(self.service) as client:
            for model in self.models.names:
                self.models.load(client, model, self.rng)
        watched = self.rng.choice([key for key in self.models.layers if key[0] == "a"])
        watcher = Process(self, watch, self.service, *watched)
        self.assertIn(watcher.hear(), self.models.digests[watched])
        self.watched_bytes = self.service.stats()["arena"]["leasedBytes"]
        self.guests = [Guest(self.service, self.models, self.rng.random()) for _ in range(N_GUESTS)]
        for guest in self.guests:
            guest.start()
        end, turn = time.monotonic() + SECONDS, 0
        while self.n_kills < N_KILLS if N_KILLS else time.monotonic() < end:
            self.open_gate()
            time.sleep(self.rng.random() ** 2 * 0.15)
            if turn % 10 == 9:
                self.close_gate()
                self.await_guests()
            self.kill()
            self.n_kills += 1
            began = time.monotonic()
            self.start_warm()
            watcher.say("again")
            watcher.hear()
            self.n_loaded = self.check_all(began)["scheduler"]["bytesLoaded"]
            if turn % 10 == 9:
                self.await_grace()
            turn += 1
        for guest in self.guests:
            guest.open(is_over=True)
            guest.join(TIMEOUT)
        self.await_grace()
        watcher.say("end")
        n_watched = watcher.hear()
        watcher.end()
        self.assertNothingLeft()
        print("%d kills: %d calls, %d layers read by clients, the one held on to %d times, "
              "%d leases kept, %d MiB loaded" % (
                  self.n_kills, sum(guest.n_calls for guest in self.guests),
                  sum(guest.n_read for guest in self.guests), n_watched, self.n_kept,
                  self.n_loaded >> 20))

    def assertNothingLeft(self):
        wait_until(lambda: self.service.stats()["arena"]["leasedBytes"] == 0, "no lease")
        self.assertUnharmed(self.service)
        n_files = 0
        for model in self.service.call("List")["models"]:
            n_files += model["name"] != ZEROS
        self.service.settle()
        self.assertEqual(len(self.service.store.names()), 2 + n_files, self.service.store.names())
        for model in self.service.call("List")["models"]:
            self.service.call("UnloadModel", model=model["name"])
        self.service.settle()
        self.assertEqual(self.service.store.names(), ["arena", "ledger"])
        self.assertEqual(self.service.stats()["arena"]["usedBytes"], 0)
        # A worker closes the models' files.
        wait_until(lambda: self.service.n_fds_at_rest() == self.n_fds, "%d descriptors" % self.n_fds)

    commit = "boot"


class KillsCommitLoad(Kills):
    commit = "load"


if __name__ == "__main__":
    unittest.main()
