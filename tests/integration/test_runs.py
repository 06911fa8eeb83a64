"""Runs: a model streams through an arena of any size, layer by layer, pass by pass, and every byte
is that of the file."""
import random
import unittest

import wire
from harness import MIB, PAGE
from leasing import POLICIES, WAIT_MAX, LeaseTestCase, chosen_seed, write_model


class RunTestCase(LeaseTestCase):
    """Runs over a model of layers of unequal sizes."""
    PASSES = 4

    def setUp(self):
        super().setUp()
        self.rng = random.Random(chosen_seed())
        sizes = [self.rng.randrange(1, 2 * MIB) for _ in range(11)] + [2 * MIB, 5]
        self.rng.shuffle(sizes)
        self.path = self.directory() / "m"
        self.layers = write_model(self.path, sizes)
        self.bytes = sum(sizes) + 2 * PAGE * len(sizes)  # with the pages that they begin and end

    def start_with(self, percent, **options):
        """Starts a daemon whose arena has room for this part of the model, and loads the model."""
        capacity = max(self.bytes * percent // 100, 2 * MIB + 2 * PAGE)
        self.daemon = self.start(capacity=capacity, **options)
        with self.client() as client:
            client.load_model(self.path, name="m")

    def check_next(self, client, run, i):
        """Checks that the run's i-th use is the right layer with the right bytes, and that the run
        holds no other layer."""
        reply = client.lease("Next", run=run, waitUsec=WAIT_MAX)
        names = list(self.layers)
        self.assertEqual((reply["layer"], reply["index"], reply["pass"]),
                         (names[i % len(names)], i % len(names), i // len(names)))
        self.assertEqual(client.read(reply), self.layers[reply["layer"]])
        return reply


class Alone(RunTestCase):
    def check_run(self):
        client = self.client()
        begun = client.call("BeginRun", model="m")
        self.assertEqual(begun["layers"], len(self.layers))
        self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 1)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        replies = []
        for i in range(self.PASSES * len(self.layers)):
            reply = self.check_next(client, begun["run"], i)
            self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"],
                             self.footprint("m")[reply["layer"]])
            replies.append(reply)
        self.assertEqual(len({reply["lease"] for reply in replies}), len(replies))
        client.call("EndRun", run=begun["run"])
        stats = self.daemon.stats()
        self.assertEqual((stats["scheduler"]["runs"], stats["arena"]["leasedBytes"]), (0, 0))
        self.assertUnharmed()
        return replies

    def test_arena_as_large_as_the_model(self):
        """Nothing is loaded twice, and every use is a hit."""
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.start_with(100, policy=policy)
                loaded = self.daemon.stats()["scheduler"]["bytesLoaded"]
                self.assertTrue(all(reply["hit"] for reply in self.check_run()))
                self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], loaded)

    def check_smaller(self, percent):
        for policy in POLICIES:
            for io in ("auto", "direct"):
                with self.subTest(policy=policy, io=io):
                    self.start_with(percent, policy=policy, io=io)
                    self.check_run()

    def test_arena_of_60_percent(self):
        self.check_smaller(60)

    def test_arena_of_25_percent(self):
        self.check_smaller(25)

    def test_arena_of_one_layer(self):
        self.check_smaller(0)


class Meanwhile(RunTestCase):
    """Other clients' actions do not disturb a run."""

    def test_loads_and_evictions(self):
        self.start_with(60, policy="next-use")
        other = write_model(self.path.parent / "n", [MIB + 1] * 6, seed=1)
        with self.client() as client:
            client.load_model(self.path.parent / "n", name="n")
        run_client, client = self.client(), self.client()
        run = run_client.call("BeginRun", model="m")["run"]
        for i in range(self.PASSES * len(self.layers)):
            reply = self.check_next(run_client, run, i)
            for _ in range(self.rng.randrange(3)):
                method, parameters = self.rng.choice((
                    ("UnloadLayer", {"model": "m", "layer": self.rng.choice(list(self.layers))}),
                    ("LoadLayer", {"model": "m", "layer": self.rng.choice(list(self.layers))}),
                    ("LoadLayer", {"model": "n", "layer": self.rng.choice(list(other))}),
                    ("UnloadModel", {"model": "m"}), ("Reset", {}),
                    ("SetPolicy", {"policy": self.rng.choice(POLICIES)})))
                try:
                    client.call(method, parameters)
                except wire.VarlinkError as refused:
                    self.assertEqual(refused.error, "Busy")
                self.assertEqual(run_client.read(reply), self.layers[reply["layer"]])

    def test_leases_of_the_same_connection(self):
        """The run's connection also leases layers of the run, and releases them in another
        order."""
        self.start_with(60, policy="next-use")
        client = self.client()
        run = client.call("BeginRun", model="m")["run"]
        leases = []
        for i in range(self.PASSES * len(self.layers)):
            reply = self.check_next(client, run, i)
            if self.rng.random() < 0.5:
                leases.append(client.lease(model="m", layer=reply["layer"]))
            for lease in leases:
                self.assertEqual(client.read(lease), self.layers[lease["layer"]])
            if len(leases) > 1:
                client.release(leases.pop(self.rng.randrange(2)))

    def test_several_runs_of_one_connection(self):
        self.start_with(60, policy="next-use")
        client = self.client()
        runs = [[client.call("BeginRun", model="m")["run"], 0] for _ in range(3)]
        self.assertEqual(len({run for run, _ in runs}), 3)
        for _ in range(self.PASSES * len(self.layers)):
            run = self.rng.choice(runs)
            self.check_next(client, *run)
            run[1] += 1


if __name__ == "__main__":
    unittest.main()
