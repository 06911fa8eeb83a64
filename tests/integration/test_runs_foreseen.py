"""A run does what Plan predicts."""
import random
import unittest

from harness import MIB, sized_model, wait_until
from leasing import POLICIES, WAIT_MAX, LeaseTestCase, chosen_seed

INVALID = "org.varlink.service.InvalidParameter"


class Planned(LeaseTestCase):
    """The prediction is right for each pass, to the byte.

    With next-use the plan depends on how fast layers are read and used. The daemon keeps measuring, and
    chooses another plan when these speeds change. Then the prediction was for another plan, and the next
    run is compared. Predictions that do not depend on time are right the first time.
    """
    PASSES, ATTEMPTS = 8, 4

    def go_through(self, client, n_layers, settle):
        """(hits, loaded, bytesLoaded) of each pass of a run. `settle`: each layer is used until the
        layers that are being read ahead are resident."""
        run = client.call("BeginRun", model="m")["run"]
        passes = []
        for number in range(self.PASSES):
            hits = n_bytes = 0
            for index in range(n_layers):
                reply = client.lease("Next", run=run, waitUsec=WAIT_MAX)
                self.assertEqual((reply["index"], reply["pass"]), (index, number))
                hits += reply["hit"]
                n_bytes += 0 if reply["hit"] else reply["bytes"]
                if settle:
                    wait_until(lambda: not self.other.call("Stats")["scheduler"]["layersLoading"],
                               "the layer that is read ahead")
            passes.append((hits, n_layers - hits, n_bytes))
        client.call("EndRun", run=run)
        return passes

    def foresee(self, n_layers):
        """Plan's prediction for the next run, and for the load before it."""
        plan = self.other.call("Plan", model="m", passes=self.PASSES)
        for i in range(n_layers):
            self.other.call("LoadLayer", model="m", layer="l%d" % i)
        for one in plan["passes"]:
            self.assertEqual(one["hits"] + one["loaded"], n_layers)
        return [(one["hits"], one["loaded"], one["bytesLoaded"]) for one in plan["passes"]]

    def check(self, capacity, sizes, policy, settle=True):
        daemon = self.start(capacity=capacity, policy=policy, monitor_interval="1s",
                            log_level="warning")
        daemon.load(sized_model("m", *sizes))
        self.other, client = self.client(daemon), self.client(daemon)
        self.go_through(client, len(sizes), settle)  # measures
        for _ in range(self.ATTEMPTS if policy == "next-use" else 1):
            foreseen = self.foresee(len(sizes))
            measured = self.go_through(client, len(sizes), settle)
            if measured == foreseen:
                break
        self.assertEqual(measured, foreseen)
        daemon.stop()

    def test_equal_layers(self):
        for n, k in ((10, 2), (10, 3), (10, 6), (10, 10), (7, 5)):
            for policy, settle in (("flush-all", True), ("lru", True), ("next-use", True),
                                   ("next-use", False)):
                with self.subTest(n=n, k=k, policy=policy, settle=settle):
                    self.check(k * MIB, [MIB] * n, policy, settle)

    def test_mixed_layers(self):
        """For these fixed sizes the prediction is the same at most speeds."""
        rng = random.Random(1)
        for _ in range(4):
            sizes = [rng.randrange(1, 2 * MIB) for _ in range(rng.randrange(5, 20))]
            capacity = max(2 * max(sizes) + 8192, sum(sizes) * rng.randrange(20, 100) // 100)
            with self.subTest(capacity=capacity, sizes=sizes):
                self.check(capacity, sizes, "next-use")

    def test_any_layers(self):
        """Predictions that do not depend on time."""
        seed = chosen_seed()
        rng = random.Random(seed)
        for policy in ("flush-all", "lru") * 4:
            sizes = [rng.randrange(1, MIB // 2) for _ in range(rng.randrange(2, 20))]
            capacity = max(max(sizes) + 4096, sum(sizes) * rng.randrange(10, 120) // 100)
            with self.subTest(seed=seed, policy=policy, capacity=capacity, sizes=sizes):
                self.check(capacity, sizes, policy, settle=False)


class Asked(LeaseTestCase):
    options = {"capacity": "5M"}

    def setUp(self):
        super().setUp()
        self.text = sized_model("m", *[MIB] * 8)

    def test_bytes_are_those_of_what_is_loaded(self):
        sizes = [MIB + i for i in range(8)]
        for policy in POLICIES:
            plan = self.daemon.load(sized_model("m", *sizes), method="Plan", policy=policy,
                                    passes=5)
            for one in plan["passes"]:
                self.assertLessEqual(abs(one["bytesLoaded"] - one["loaded"] * MIB), 8 * 8)
                self.assertIsNone(one.get("usec"))

    def test_it_changes_nothing(self):
        self.daemon.load(self.text)
        before = self.daemon.stats()["scheduler"], self.resident("m")
        for policy in POLICIES:
            self.daemon.call("Plan", model="m", policy=policy, passes=1000)
        self.assertEqual((self.daemon.stats()["scheduler"], self.resident("m")), before)

    def test_how_many(self):
        for passes in (0, 1, 1000):
            found = self.daemon.load(self.text, method="Plan", passes=passes)["passes"]
            self.assertEqual(len(found), passes)
        self.assertEqual(self.daemon.load(self.text, method="Plan")["passes"], [])
        for passes in (-1, "1", 1.5, True):
            with self.subTest(passes=passes):
                self.assertVarlinkError(INVALID, self.daemon.load, self.text, method="Plan",
                                        passes=passes)
        for passes in (1001, 1 << 62):
            found = self.assertVarlinkError("LimitExceeded", self.daemon.load, self.text,
                                            method="Plan", passes=passes)
            self.assertEqual(found, {"limit": "passes", "maximum": 1000})

    def test_a_plan_beside_leases(self):
        """The planned run cannot evict the layers that are leased now."""
        self.daemon.load(self.text)
        free = self.daemon.call("Plan", model="m", policy="next-use", passes=6)["passes"][-1]
        self.daemon.call("LoadModel", definition=sized_model("n", 2 * MIB))
        client = self.client()
        client.lease(model="n", layer="l0")
        held = self.daemon.call("Plan", model="m", policy="next-use", passes=6)["passes"][-1]
        self.assertLess(held["hits"], free["hits"])

    def test_time(self):
        """No predicted pass is faster than its computing, or than its reading."""
        rate, compute = 100 * MIB, 50_000
        for policy in POLICIES:
            plan = self.daemon.load(self.text, method="Plan", policy=policy, passes=6,
                                    diskBytesPerSecond=rate, computeUsec=compute)
            for one in plan["passes"]:
                self.assertGreaterEqual(one["usec"], compute - 8)
            steady = plan["passes"][2:]
            reading = sum(one["bytesLoaded"] for one in steady) / rate * 1e6
            self.assertGreaterEqual(sum(one["usec"] for one in steady) + 8 * 6,
                                    reading - 2 * MIB / rate * 1e6)


if __name__ == "__main__":
    unittest.main()
