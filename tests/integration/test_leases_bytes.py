"""A leased layer has the bytes of its file for as long as it is held, whatever others load, evict
and reset meanwhile, and with changing policies."""
import random
import unittest

import wire
from harness import MIB
from leasing import (POLICIES, Leaser, LeaseTestCase, Process, chosen_seed, sha256,
                     write_model)

REFUSALS = ("Busy", "MustUnload")
CHECKS = 40  # at least, of each client that holds leases


def acquire(client, rng, digests):
    """A lease of any layer, or None."""
    model = rng.choice(sorted(digests))
    layer = rng.choice(sorted(digests[model]))
    wait = rng.choice((None, None, 0, 1000, 20_000))
    try:
        reply = client.lease(model=model, layer=layer, **({"waitUsec": wait} if wait else {}))
    except wire.VarlinkError as refused:
        assert refused.error == "Busy", refused
        return None
    return dict(reply, digest=digests[model][layer])


def check(client, lease, n=1):
    for _ in range(n):
        assert client.digest(lease) == lease["digest"], "wrong bytes of %s" % lease["layer"]


def hold_and_hash(pipe, daemon, digests, seed):
    """A client process that hashes each leased layer many times before it releases it. It ends on
    request, but not before it has done this several times."""
    rng, n_checks = random.Random(seed), 0
    with Leaser(daemon) as client:
        while n_checks < CHECKS or not pipe.spoken_to():
            lease = acquire(client, rng, digests)
            if lease:
                n = rng.randrange(1, 40)
                check(client, lease, n)
                n_checks += n
                client.release(lease)
    pipe.say(n_checks)


def stream_and_hash(pipe, daemon, digests, seed):
    """A client process that goes through a model with a run and hashes each layer. It ends on
    request."""
    rng, n_checks = random.Random(seed), 0
    with Leaser(daemon) as client:
        model = rng.choice(sorted(digests))
        run = client.call("BeginRun", model=model)["run"]
        while n_checks < CHECKS or not pipe.spoken_to():
            try:
                lease = client.lease("Next", run=run, waitUsec=20_000)
            except wire.VarlinkError as refused:
                assert refused.error == "Busy", refused
                continue
            n = rng.randrange(1, 10)
            check(client, dict(lease, digest=digests[model][lease["layer"]]), n)
            n_checks += n
    pipe.say(n_checks)


def disturb(client, rng, digests):
    """Makes one call of an administrator that does not care about leases."""
    model = rng.choice(sorted(digests))
    layer = rng.choice(sorted(digests[model]))
    method, parameters = rng.choice((
        ("LoadLayer", {"model": model, "layer": layer}),
        ("LoadLayer", {"model": model, "layer": layer, "onFull": "ask"}),
        ("UnloadLayer", {"model": model, "layer": layer}),
        ("Reset", {}),
        ("SetPolicy", {"policy": rng.choice(POLICIES)}),
    ))
    try:
        client.call(method, parameters)
    except wire.VarlinkError as refused:
        assert refused.error in REFUSALS, (method, refused)


def storm(pipe, daemon, digests, seed, n_steps):
    """A client process that leases, releases and disturbs at random."""
    rng, leases = random.Random(seed), []
    with Leaser(daemon) as client:
        for _ in range(n_steps):
            choice = rng.random()
            if choice < 0.5:
                disturb(client, rng, digests)
            elif leases and (choice < 0.75 or len(leases) == 3):
                lease = leases.pop(rng.randrange(len(leases)))
                check(client, lease)
                client.release(lease)
            else:
                lease = acquire(client, rng, digests)
                if lease:
                    check(client, lease)
                    leases.append(lease)
        for lease in leases:
            check(client, lease)
    pipe.say()


class Bytes(LeaseTestCase):
    HOLDERS = [hold_and_hash, hold_and_hash, stream_and_hash]
    STORMS, STEPS = 3, 400

    def weather(self, **options):
        """Clients that hold layers and clients that disturb them, with two models of which about a
        third fits."""
        seed = chosen_seed()
        rng = random.Random(seed)
        daemon = self.daemon = self.start(capacity="12M", log_level="warning", **options)
        n_fds = daemon.n_fds_at_rest()
        digests, directory = {}, self.directory()
        for i, model in enumerate("xy"):
            sizes = [rng.randrange(1, 2 * MIB) for _ in range(16)]
            layers = write_model(directory / model, sizes, seed + i)
            digests[model] = {name: sha256(data) for name, data in layers.items()}
            with self.client() as client:
                client.load_model(directory / model, name=model)
        n_fds += 2  # the models' files
        with self.subTest(seed=seed):
            holders = [Process(self, function, daemon, digests, seed + 10 + i)
                       for i, function in enumerate(self.HOLDERS)]
            storms = [Process(self, storm, daemon, digests, seed + 20 + i, self.STEPS)
                      for i in range(self.STORMS)]
            for process in storms:
                process.hear()
            for process in holders:
                process.say()
            n_checks = sum(process.hear() for process in holders)
            for process in storms + holders:
                process.end()
            scheduler = daemon.stats()["scheduler"]
            self.assertGreaterEqual(n_checks, CHECKS * len(holders))
            self.assertGreater(scheduler["evictions"], 100)
            self.assertNothingLeft(n_fds)

    def test_committed_at_boot(self):
        self.weather()

    def test_direct_reads(self):
        """The same with direct I/O, if the file system supports it."""
        self.weather(io="direct")


if __name__ == "__main__":
    unittest.main()
