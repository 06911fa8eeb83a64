"""Several runs at once: runs of one model share its loaded layers, and runs of different models all
come to their ends."""
import unittest

from harness import MIB, sized_model
from leasing import (POLICIES, WAIT_MAX, Leaser, LeaseTestCase, Process, chosen_seed, sha256,
                     write_model)


class OneModel(LeaseTestCase):
    LAYERS, PASSES = 10, 5

    def bytes_loaded(self, policy, n_clients, lag=0):
        """Clients go through a model in step, each this many layers behind the one before."""
        daemon = self.daemon = self.start(capacity="6M", policy=policy)
        daemon.call("LoadModel", definition=sized_model("m", *[MIB] * self.LAYERS))
        daemon.call("Reset")
        clients = [self.client() for _ in range(n_clients)]
        runs = [client.call("BeginRun", model="m")["run"] for client in clients]
        before = daemon.stats()["scheduler"]["bytesLoaded"]
        for step in range(self.PASSES * self.LAYERS + lag * (n_clients - 1)):
            for i, (client, run) in enumerate(zip(clients, runs)):
                if i * lag <= step < i * lag + self.PASSES * self.LAYERS:
                    reply = client.lease("Next", run=run, waitUsec=WAIT_MAX)
                    self.assertEqual(reply["index"], (step - i * lag) % self.LAYERS)
        loaded = daemon.stats()["scheduler"]["bytesLoaded"] - before
        daemon.stop()
        return loaded

    def assertShared(self, policy, n_clients, lag):
        """Together they load about as much as one run alone; with flush-all and lru exactly as
        much. With read-ahead this depends a little on the plan, which the daemon chooses by
        measured speeds. Runs that share nothing would always load twice as much."""
        for _ in range(3):
            alone = self.bytes_loaded(policy, 1)
            together = self.bytes_loaded(policy, n_clients, lag)
            print("%s: alone %d MiB, %d clients %d MiB"
                  % (policy, alone // MIB, n_clients, together // MIB))
            if policy in ("flush-all", "lru"):
                self.assertEqual(together, alone)
            if together < 1.5 * alone:
                return
        self.fail("%s: %d clients load %d bytes, one %d" % (policy, n_clients, together, alone))

    def test_in_lockstep(self):
        """All runs use a layer before any of them continues."""
        for policy in POLICIES:
            for n_clients in (2, 4):
                with self.subTest(policy=policy, n_clients=n_clients):
                    self.assertShared(policy, n_clients, lag=0)

    def test_one_layer_behind(self):
        """The second uses what the first has loaded."""
        for policy in ("lru", "next-use"):
            with self.subTest(policy=policy):
                self.assertShared(policy, 2, lag=1)

    def test_free_running(self):
        """Each run has its own pace: every byte is right, whichever run loaded it."""
        seed = chosen_seed()
        daemon = self.daemon = self.start(capacity="5M", policy="next-use")
        n_fds = daemon.n_fds_at_rest()
        layers = self.load_weights("m", [MIB - i * 1000 for i in range(10)], seed)
        digests = {name: sha256(data) for name, data in layers.items()}
        before = daemon.stats()["scheduler"]["bytesLoaded"]
        clients = [Process(self, go_through, daemon, "m", digests, 8) for _ in range(4)]
        for client in clients:
            client.hear()
            client.end()
        loaded = daemon.stats()["scheduler"]["bytesLoaded"] - before
        print("%.2f of what each alone would have used"
              % (loaded / (4 * 8 * sum(map(len, layers.values())))))
        self.assertNothingLeft(n_fds + 1)  # the model's file


def go_through(pipe, daemon, model, digests, n_passes):
    """A client process: a run of so many passes, every layer hashed."""
    with Leaser(daemon) as client:
        run = client.call("BeginRun", model=model)["run"]
        for _ in range(n_passes):
            for name, digest in digests.items():
                reply = client.lease("Next", run=run, waitUsec=WAIT_MAX)
                assert reply["layer"] == name, reply
                assert client.digest(reply) == digest, "wrong bytes of " + name
        client.call("EndRun", run=run)
    pipe.say()


class DifferentModels(LeaseTestCase):
    def go_through_all(self, capacity, policy, models):
        daemon = self.daemon = self.start(capacity=capacity, policy=policy)
        n_fds = daemon.n_fds_at_rest()
        directory = self.directory()
        clients = []
        for i, (model, sizes) in enumerate(models.items()):
            layers = write_model(directory / model, sizes, i)
            with self.client() as client:
                client.load_model(directory / model, name=model)
            digests = {name: sha256(data) for name, data in layers.items()}
            clients.append((model, digests))
        clients = [Process(self, go_through, daemon, model, digests, 5)
                   for model, digests in clients]
        for client in clients:
            client.hear()
            client.end()
        self.assertNothingLeft(n_fds + len(models))

    def test_room_for_a_few_layers(self):
        models = {"a": [MIB] * 7, "b": [MIB // 2 + 3, 2 * MIB, 5, MIB] * 2, "c": [300_000] * 20}
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.go_through_all("7M", policy, models)

    def test_room_for_one_layer(self):
        """Each waits for the others' layers in turn."""
        models = {name: [2 * MIB - i] * 4 for i, name in enumerate("abc")}
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.go_through_all(2 * MIB + 4096, policy, models)


if __name__ == "__main__":
    unittest.main()
