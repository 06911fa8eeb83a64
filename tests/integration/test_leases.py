"""Leases: the reply of Acquire, and that leased layers are neither moved nor evicted, whoever
asks."""
import random
import unittest

from harness import MIB, PAGE, sized_model
from leasing import POLICIES, LeaseTestCase, chosen_seed


class Acquire(LeaseTestCase):
    options = {"capacity": "16M", "policy": "lru"}

    def test_the_reply(self):
        """Acquire returns the layer's bytes, the places of its tensors, and the arena once per
        connection."""
        layers = self.load_weights("m", [3 * MIB + 7, 5, MIB, PAGE, 2 * MIB - 1])
        for client in (self.client(), self.client()):  # Leaser checks when the descriptor comes
            for name, expected in layers.items():
                reply = client.lease(model="m", layer=name)
                self.assertEqual((reply["layer"], reply["bytes"]), (name, len(expected)))
                for segment in reply["segments"]:
                    self.assertGreater(segment["length"], 0)
                    self.assertLessEqual(segment["offset"] + segment["length"], 16 * MIB)
                self.assertEqual(reply["tensors"], [{
                    "name": name + ".w", "dtype": reply["tensors"][0]["dtype"],
                    "shape": [len(expected)], "offset": 0, "bytes": len(expected)}])
                self.assertEqual(client.read(reply), expected)

    def test_loads_what_is_missing(self):
        layers = self.load_weights("m", [MIB, 5 * MIB])
        self.daemon.call("Reset")
        client = self.client()
        for name in ("b.1", "b.1", "b.0"):
            self.assertEqual(client.read(client.lease(model="m", layer=name)), layers[name])
        scheduler = self.daemon.stats()["scheduler"]
        self.assertEqual((scheduler["hits"], scheduler["misses"]), (1, 4))  # LoadModel missed two
        self.assertEqual(scheduler["layersLoaded"], 2)

    def test_every_lease_counts(self):
        """A layer that is leased several times is held until its last lease is released."""
        self.load_weights("m", [MIB])
        one, other = self.client(), self.client()
        leases = [(client, client.lease(model="m", layer="b.0")) for client in (one, other, one)]
        self.assertEqual(len({reply["lease"] for _, reply in leases}), 3)
        self.assertEqual(len({str(reply["segments"]) for _, reply in leases}), 1)  # one copy
        footprint = self.footprint("m")["b.0"]
        random.shuffle(leases)
        while leases:
            self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], footprint)
            busy = self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m",
                                           layer="b.0")
            self.assertEqual(busy["leasesTotal"], len(leases))
            client, reply = leases.pop()
            client.release(reply)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.daemon.call("UnloadLayer", model="m", layer="b.0")

    def test_the_ledger(self):
        """leasedBytes is the size of the pages of all leased layers, after every step of a random
        sequence."""
        rng = random.Random(chosen_seed())
        self.load_weights("m", [rng.randrange(1, 2 * MIB) for _ in range(10)])
        clients = [self.client() for _ in range(3)]
        leases, names = [], set()
        for _ in range(300):
            if leases and rng.random() < 0.5:
                client, reply = leases.pop(rng.randrange(len(leases)))
                client.release(reply)
            elif len({reply["layer"] for _, reply in leases}) < 5:
                client = rng.choice(clients)
                reply = client.lease(model="m", layer="b.%d" % rng.randrange(10))
                self.assertNotIn(reply["lease"], names)  # never used twice
                names.add(reply["lease"])
                leases.append((client, reply))
            footprint = self.footprint("m")
            expected = sum(footprint[layer] for layer in {reply["layer"] for _, reply in leases})
            self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], expected)

    def test_simulated(self):
        """Leases and runs work as usual, but there is no arena to read."""
        daemon = self.start(capacity="2M", simulate=True)
        daemon.call("LoadModel", definition=sized_model("m", MIB, MIB, MIB))
        with daemon.connect() as client:
            lease = client.call("Acquire", model="m", layer="l0")
            run = client.call("BeginRun", model="m")["run"]
            for i in range(7):
                reply = client.call("Next", run=run)
                self.assertEqual((reply["index"], reply["bytes"]), (i % 3, MIB))
                self.assertIsNone(reply.get("arenaFileDescriptor"))
            self.assertIsNone(lease.get("arenaFileDescriptor"))
            self.assertVarlinkError("Busy", daemon.call, "Reset")
            client.call("Release", lease=lease["lease"])
            client.call("EndRun", run=run)
        daemon.call("Reset")

    def test_several_extents(self):
        """A layer is placed in pieces between leased layers, and does not change any of them."""
        small = self.load_weights("small", [MIB] * 15)
        capacity = sum(self.footprint("small").values()) + PAGE
        daemon = self.daemon = self.start(capacity=capacity)
        small = self.load_weights("small", [MIB] * 15)
        large = self.load_weights("large", [3 * MIB + 5])
        daemon.call("Reset")
        holder = self.client()
        leases = [holder.lease(model="small", layer=name) for name in small]
        for reply in leases[1::2]:
            holder.release(reply)
        for name in list(small)[1::2]:
            daemon.call("UnloadLayer", model="small", layer=name)
        client = self.client()
        reply = client.lease(model="large", layer="b.0")
        self.assertGreater(len(reply["segments"]), 2)
        self.assertEqual(client.read(reply), large["b.0"])
        kept = leases[0::2]
        ranges = sorted((s["offset"], s["offset"] + s["length"])
                        for one in [reply, *kept] for s in one["segments"])
        for (_, end), (begin, _) in zip(ranges, ranges[1:]):
            self.assertLessEqual(end, begin)
        for one in kept:
            self.assertEqual(holder.read(one), small[one["layer"]])


class NothingTakesALease(LeaseTestCase):
    """Eviction of leased layers is refused, whoever asks for it and with every policy."""
    options = {"capacity": "8M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB, MIB, MIB))
        self.holder = self.client()

    def test_by_name(self):
        reply = self.holder.lease(model="m", layer="l1")
        for method, parameters in (("Reset", {}), ("UnloadModel", {"model": "m"}),
                                   ("UnloadLayer", {"model": "m", "layer": "l1"})):
            busy = self.assertVarlinkError("Busy", self.daemon.call, method, parameters)
            self.assertEqual([(lease["layer"], lease["loading"]) for lease in busy["leases"]],
                             [("l1", False)])
        self.assertEqual(self.resident("m"), {"l0", "l1", "l2", "l3"})
        # A layer that nobody holds can be evicted.
        self.daemon.call("UnloadLayer", model="m", layer="l0")
        self.daemon.call("LoadModel", definition=sized_model("other", MIB))
        self.daemon.call("UnloadModel", model="other")
        self.holder.release(reply)
        self.assertEqual(self.daemon.call("Reset"), {"evicted": 3})
        self.daemon.call("UnloadModel", model="m")

    def test_every_policy(self):
        """Layers of half the arena come and go beside two leases; one that needs more is Busy."""
        self.daemon.call("LoadModel", definition=sized_model("n", *[4 * MIB] * 3))
        self.daemon.call("LoadModel", definition=sized_model("large", 6 * MIB + 1))
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.daemon.call("SetPolicy", policy=policy)
                leases = [self.holder.lease(model="m", layer=name) for name in ("l1", "l2")]
                others = self.client()
                for i in range(9):
                    name = "l%d" % (i % 3)
                    self.daemon.call("LoadLayer", model="n", layer=name)
                    others.release(others.lease(model="n", layer=name))
                    self.assertLessEqual({"l1", "l2"}, self.resident("m"))
                for method, parameters in (("LoadLayer", {"onFull": "evict"}),
                                           ("LoadLayer", {"onFull": "ask"}), ("Acquire", {})):
                    busy = self.assertVarlinkError("Busy", self.daemon.call, method,
                                                   dict(parameters, model="large", layer="l0"))
                    self.assertEqual({lease["layer"] for lease in busy["leases"]}, {"l1", "l2"})
                for reply in leases:
                    self.holder.release(reply)
                self.daemon.call("LoadLayer", model="large", layer="l0")
                self.daemon.call("Reset")

    def test_ask(self):
        """The victims that on-full=ask names are never leased, and suffice."""
        self.daemon.call("LoadModel", definition=sized_model("n", *[MIB] * 4))
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.daemon.call("Reset")
                for model in "mn":
                    for i in range(4):
                        self.daemon.call("LoadLayer", model=model, layer="l%d" % i)
                self.daemon.call("SetPolicy", policy=policy)
                leased = [self.holder.lease(model=model, layer=layer)
                          for model in "mn" for layer in ("l0", "l3")]
                before = self.resident("m"), self.resident("n")
                text = sized_model("large", 3 * MIB)
                asked = self.assertVarlinkError("MustUnload", self.daemon.call, "LoadModel",
                                                definition=text, onFull="ask")
                self.assertEqual((self.resident("m"), self.resident("n")), before)
                self.assertEqual(asked["victimsTotal"], len(asked["victims"]))
                self.assertGreaterEqual(len(asked["victims"]), 3)
                self.assertLessEqual({v["layer"] for v in asked["victims"]}, {"l1", "l2"})
                for victim in asked["victims"]:
                    self.daemon.call("UnloadLayer", model=victim["model"], layer=victim["layer"])
                self.daemon.call("LoadLayer", model="large", layer="l0", onFull="ask")
                self.daemon.call("UnloadModel", model="large")
                for reply in leased:
                    self.holder.release(reply)

    def test_a_lease_may_evict_what_nobody_holds(self):
        """Also with on-full=ask, because that setting is for loads only."""
        self.daemon.call("SetPolicy", policy="lru", onFull="ask")
        self.daemon.call("LoadModel", definition=sized_model("n", *[MIB] * 4))
        self.assertVarlinkError("MustUnload", self.daemon.call, "LoadModel",
                                definition=sized_model("more", MIB))
        kept = self.holder.lease(model="m", layer="l0")
        self.client().lease(model="more", layer="l0")
        self.assertIn(kept["layer"], self.resident("m"))
        self.assertEqual(len(self.resident("m")) + len(self.resident("n")), 7)


if __name__ == "__main__":
    unittest.main()
