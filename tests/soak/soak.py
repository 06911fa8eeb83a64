#!/usr/bin/env python3
"""A long storm on one daemon. Clients do everything at random (process.py), and are killed, stopped and
continued; the daemon gets SIGHUP, is stopped and continued, and is killed and starts again, warm. An
observer looks on through /proc, once a millisecond.

    soak.py BUILD

What must hold:
- every byte that a client is handed is right, by its digest (models.py);
- no call hangs, and each ends as deeds.py says; no connection ends except by a kill of the daemon;
- the arena's file never has more blocks than the capacity, the daemon's other memory stays below
  overhead-limit, and it has never more descriptors and threads than its limits allow;
- between two rounds, when all clients have ended, nothing of them is left: no lease, run, view, wait
  or load, and as many descriptors and threads as at the start.

Variables: MINUTES (default 2), and SEED, which the first line prints: the same seed makes the same
choices, but not the same moments. Prints what was done; exits 1 if something does not hold.
"""
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
if __name__ == "__main__":
    os.environ["BUILD"] = sys.argv[1]

from harness import MIB, TIMEOUT, wait_until  # noqa: E402
from leasing import POLICIES  # noqa: E402
from observing import Observer  # noqa: E402
from service_manager import ENDS, Reader, Service  # noqa: E402
import process  # noqa: E402
from client import Failed  # noqa: E402
from models import Models  # noqa: E402
from shared import Shared  # noqa: E402

N_CLIENTS = 32
CAPACITY = 14 * MIB  # two thirds of what all models need
OVERHEAD_LIMIT = 64 * MIB
MAX_CONNECTIONS = 160
FDS_OF_A_CALL = 253  # at most
ROUND = 120  # seconds
# How often each disturbance comes.
DISTURBANCES = {"kill_client": 20, "stop_client": 20, "reload": 10, "stop_daemon": 5, "kill_daemon": 4}


class Soak:
    """A daemon, its clients and the observer. `limits`: other ones for the observer."""

    def __init__(self, directory, seed, n_clients=N_CLIENTS, commit=None, limits=None):
        self.seed, self.n_clients = seed, n_clients
        self.rng = random.Random(seed)
        self.models = Models(directory, self.rng, CAPACITY)
        self.shared = Shared(n_clients)
        self.lives = {}  # PID: (number of the client, life)
        self.next_life = [0] * n_clients
        self.stopped = []  # (when it goes on, PID)
        self.done = dict.fromkeys([*DISTURBANCES, "evictions"], 0)
        self.n_turns = 0
        os.chmod(directory, 0o755)
        self.service = self.start_service(directory, commit or self.rng.choice(["boot", "load"]))
        self.observer = None
        try:
            self.at_rest = self.measure()
            self.start_observer(limits or {})
        except BaseException:
            self.discard()
            raise

    def start_service(self, directory, commit):
        service = Service(
            capacity=CAPACITY, commit=commit, lease_grace="500ms",
            max_connections=MAX_CONNECTIONS, max_connections_per_user=MAX_CONNECTIONS,
            overhead_limit=OVERHEAD_LIMIT, metrics_listen=directory / "metrics",
            config="policy = lru\n")
        service.metrics = directory / "metrics"
        os.chmod(service.socket, 0o666)
        service.restart()  # the first daemon has not been passed the arena
        return service

    def measure(self):
        """What the daemon has at rest: descriptors and threads."""
        return self.service.n_fds_at_rest(), self.service.status()["Threads"]

    def start_observer(self, limits):
        n_fds, n_threads = self.at_rest
        most_fds = n_fds + MAX_CONNECTIONS + FDS_OF_A_CALL * self.n_clients
        self.observer = Observer(self.service, {
            "capacity": CAPACITY, "overhead": OVERHEAD_LIMIT, "descriptors": most_fds,
            "threads": n_threads, **limits})

    def start_client(self, number):
        life = self.next_life[number]
        self.next_life[number] += 1
        pid = process.start(self.shared, self.seed, number, life, self.service, self.models)
        self.lives[pid] = number, life

    def round(self, seconds):
        """Clients for that long, and what is left when they have ended."""
        self.shared.is_over = False
        for number in range(self.n_clients):
            self.start_client(number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rng = random.Random("%d turn %d" % (self.seed, self.n_turns))
            self.n_turns += 1
            time.sleep(rng.random() * 0.4)
            self.continue_stopped(time.monotonic())
            name = rng.choices(list(DISTURBANCES), DISTURBANCES.values())[0]
            getattr(self, name)(rng)
            self.done[name] += 1
            self.look_after()
        self.end_clients()
        self.check_rest()

    def look_after(self):
        """Fails if a process has ended that was not killed."""
        for pid in list(self.lives):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.client_failed(*self.lives.pop(pid))
        if self.service.process.poll() is not None:
            raise Failed("the daemon ended with %s" % self.service.process.returncode)

    def client_failed(self, number, life):
        raise Failed("client %d, life %d, %s" % (number, life, self.shared.said()))

    def kill_client(self, rng):
        pid = self.pid_of(rng.randrange(self.n_clients))
        number, life = self.lives.pop(pid)
        self.stopped = [(when, other) for when, other in self.stopped if other != pid]
        os.killpg(pid, signal.SIGKILL)
        if os.waitpid(pid, 0)[1] != signal.SIGKILL:
            self.client_failed(number, life)
        self.start_client(number)

    def pid_of(self, number):
        return next(pid for pid, (found, _) in self.lives.items() if found == number)

    def stop_client(self, rng):
        pid = self.pid_of(rng.randrange(self.n_clients))
        os.killpg(pid, signal.SIGSTOP)
        self.stopped.append((time.monotonic() + rng.random() * 2, pid))

    def continue_stopped(self, now):
        for when, pid in self.stopped:
            if when <= now:
                os.killpg(pid, signal.SIGCONT)
        self.stopped = [(when, pid) for when, pid in self.stopped if when > now]

    def reload(self, rng):
        self.service.config.write_text("policy = %s\non-full = %s\n" % (
            rng.choice(POLICIES), rng.choice(["evict", "evict", "ask"])))
        self.service.process.send_signal(signal.SIGHUP)

    def stop_daemon(self, rng):
        self.service.process.send_signal(signal.SIGSTOP)
        time.sleep(rng.random() * 0.3)
        self.service.process.send_signal(signal.SIGCONT)

    def count_evictions(self):
        """The daemon's count ends with it."""
        self.done["evictions"] += self.service.stats()["scheduler"]["evictions"]

    def kill_daemon(self, rng):
        self.count_evictions()
        self.shared.turn_epoch()
        self.service.end(rng.choice(ENDS))
        self.service.logs.clear()
        self.service.start_again(ready=False)
        self.observer.watch(self.service)
        self.service.wait_notify("READY=1")
        self.shared.turn_epoch()
        if not self.service.is_warm():
            raise Failed("a cold start:\n" + self.service.read_log())

    def end_clients(self):
        self.shared.is_over = True
        self.continue_stopped(float("inf"))
        deadline = time.monotonic() + 2 * TIMEOUT
        while self.lives:
            for pid, (number, life) in list(self.lives.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    del self.lives[pid]
                if found and status:
                    self.client_failed(number, life)
            if time.monotonic() > deadline:
                raise Failed("clients hang: %s" % self.lives)
            time.sleep(0.01)

    def check_rest(self):
        """When all clients have ended: every byte in the arena is right, and nothing is left of
        them."""
        stats, call = self.service.stats, self.service.call

        def is_quiet():
            found = stats()
            return not (found["arena"]["leasedBytes"] or found["scheduler"]["layersLoading"] or
                        found["scheduler"]["runs"] or found["scheduler"]["waiting"] or
                        found["views"]["count"] or found["control"]["connections"] > 1)
        wait_until(is_quiet, "leases, loads, runs, waits, views and connections to end")
        self.check_resident()
        for model in call("List")["models"]:
            call("UnloadModel", model=model["name"])
        if stats()["arena"]["usedBytes"]:
            raise Failed("unloaded models occupy %d bytes" % stats()["arena"]["usedBytes"])
        self.service.settle()
        if self.service.store.names() != ["arena", "ledger"]:
            raise Failed("the store has %s" % self.service.store.names())
        try:
            wait_until(lambda: self.measure() == self.at_rest, "descriptors and threads")
        except AssertionError:
            raise Failed("%s descriptors and threads, and at the start %s" % (
                self.measure(), self.at_rest)) from None
        if not self.service.wait_sample()["aligned"]:
            raise Failed("the system's figures differ: %s" % stats())

    def check_resident(self):
        used = 0
        with Reader(self.service) as client:
            before = client.call("Stats")["arena"]["usedBytes"]
            for model in [model["name"] for model in client.call("List")["models"]]:
                for layer in client.call("List", model=model)["layers"]:
                    used += layer["footprintBytes"]
                    if layer["state"] != "resident":
                        continue
                    reply = client.lease(model=model, layer=layer["name"])
                    if client.digest(reply) not in self.models.digests[model, layer["name"]]:
                        raise Failed("wrong bytes in %s/%s at rest" % (model, layer["name"]))
                    client.release(reply)
        if used != before:
            raise Failed("the layers occupy %d bytes, and the arena has %d" % (used, before))

    def finish(self):
        """Stops the daemon. Returns what the observer saw."""
        self.count_evictions()
        self.service.stop()
        seen, breaches = self.observer.finish()
        if breaches:
            raise Failed("the observer saw:\n" + breaches)
        return seen

    def discard(self):
        """Ends what still runs."""
        for pid in self.lives:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.lives = {}
        self.service.discard()
        if self.observer:
            self.observer.discard()


def storm(seed, seconds, before=lambda soak: None, **options):
    """The whole soak. `before` is called with it when the daemon is ready. Returns what was done and
    what the observer saw."""
    with tempfile.TemporaryDirectory(prefix="em-") as directory:
        soak = Soak(pathlib.Path(directory), seed, **options)
        try:
            before(soak)
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                soak.round(min(left, ROUND))
            return {**soak.shared.totals(), **soak.done}, soak.finish()
        except BaseException:
            print("--- the end of the daemon's log\n" + soak.service.read_log()[-4000:], file=sys.stderr)
            raise
        finally:
            soak.discard()


def main():
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    minutes = float(os.environ.get("MINUTES") or 2)
    print("SEED=%d MINUTES=%g" % (seed, minutes), flush=True)
    try:
        done, seen = storm(seed, minutes * 60)
    except (Failed, AssertionError) as failure:
        print("FAILED  soak (SEED=%d): %s" % (seed, failure))
        return 1
    for title, figures in ("done", done), ("seen", seen):
        print("%s: %s" % (title, ", ".join("%d %s" % (n, name.replace("_", " ")) for name, n in figures.items())))
    print("ok      soak of %g minutes: nothing was lost" % minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
