"""Leases of units: Acquire with `units` holds only these experts or chunks of a layer, all or none."""
import os
import random
import sys
import unittest

from harness import MIB, ROOT, wait_until
from leasing import WAIT_MAX, Leaser, LeaseTestCase, Process, chosen_seed, sha256

sys.path.insert(0, str(ROOT / "tests"))
import generate_weights  # noqa: E402
from generate_weights import Tensor  # noqa: E402

BLOCKS, EXPERTS, WIDE, NARROW = 3, 8, 65021, 9001  # sizes that are no multiples of a page
NAMES = (("gate", WIDE), ("up", WIDE), ("down", NARROW))
CHECKS = 60  # at least, of each client of the storm
UNITS_MAX, LEASES_MAX = 512, 4096
INVALID = "org.varlink.service.InvalidParameter"


def write_mixture(path, experts=EXPERTS, names=NAMES, blocks=BLOCKS, rows=700):
    """A weight file of a mixture of experts. {tensor: its bytes}."""
    tensors = [Tensor("token_embd.weight", "I8", (rows, 4096))]
    for i in range(blocks):
        tensors.append(Tensor("blk.%d.attn.weight" % i, "I8", (7001,)))
        tensors += [Tensor("blk.%d.ffn_%s_exps.weight" % (i, name), "I8", (experts, size))
                    for name, size in names]
    placed = generate_weights.write_safetensors(str(path), tensors, 5)
    data = path.read_bytes()
    return {tensor.name: data[tensor.offset:tensor.offset + tensor.bytes] for tensor in placed}


def expert(weights, block, unit):
    """{name of each of its tensors: its digest}."""
    found = {}
    for name, size in NAMES:
        name = "blk.%d.ffn_%s_exps.weight" % (block, name)
        found["%s[%d]" % (name, unit)] = sha256(weights[name][unit * size:(unit + 1) * size])
    return found


def digests(client, reply):
    """{name of each tensor of a lease: the digest of its bytes in the arena}."""
    data = client.read(reply)
    return {tensor["name"]: sha256(data[tensor["offset"]:tensor["offset"] + tensor["bytes"]])
            for tensor in reply["tensors"]}


class Mixture(LeaseTestCase):
    options = {"capacity": "8M", "policy": "lru"}
    rows = 700  # of the table

    def setUp(self):
        super().setUp()
        self.path = self.directory() / "moe"
        self.weights = write_mixture(self.path, rows=self.rows)
        self.load(self.path, "m")

    def load(self, path, name, **parameters):
        with self.client() as client:
            client.load_model(path, name=name, **{"unitBytes": 8 * MIB, "onFull": "evict", **parameters})

    def leased_bytes(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def assertUnits(self, client, reply, block, units):
        expected = {}
        for unit in units:
            expected.update(expert(self.weights, block, unit))
        self.assertEqual(digests(client, reply), expected)


class Units(Mixture):
    def test_bytes(self):
        client = self.client()
        for units in ([1, 5], [5, 1], [7], list(range(EXPERTS))):
            with self.subTest(units=units):
                self.daemon.call("Reset")
                reply = client.lease(model="m", layer="blk.1", units=units)
                self.assertEqual(reply["layer"], "blk.1")
                self.assertUnits(client, reply, 1, units)
                self.assertEqual([tensor["name"].split("[")[1] for tensor in reply["tensors"][::3]],
                                 ["%d]" % unit for unit in units])
                data = self.path.read_bytes()
                self.assertEqual(len(reply["pieces"]), 3 * len(units))
                for piece in reply["pieces"]:
                    arena = client.arena[piece["offset"]:piece["offset"] + piece["length"]]
                    self.assertTrue(arena == data[piece["fileOffset"]:piece["fileOffset"] + piece["length"]])
                client.release(reply)
                self.assertEqual(self.leased_bytes(), 0)

    def test_chunks_of_a_table(self):
        client = self.client()
        reply = client.lease(model="m", layer="token_embd", units=[2, 0])
        row = 4096
        table = self.weights["token_embd.weight"]
        self.assertEqual(digests(client, reply), {
            "token_embd.weight[2]": sha256(table[2 * 256 * row:]),
            "token_embd.weight[0]": sha256(table[:256 * row])})

    def test_only_these_are_held(self):
        client = self.client()
        reply = client.lease(model="m", layer="blk.0", units=[1, 5])
        pages = self.footprint("m")
        self.assertEqual(self.leased_bytes(), pages["blk.0:u1"] + pages["blk.0:u5"])
        for unit in range(EXPERTS):
            layer = "blk.0:u%d" % unit
            if unit not in (1, 5):
                self.daemon.call("UnloadLayer", model="m", layer=layer)
                continue
            busy = self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m", layer=layer)
            self.assertHolders(busy, os.getpid(), ["blk.0:u1", "blk.0:u5"])
        client.release(reply)
        for unit in (1, 5):
            self.daemon.call("UnloadLayer", model="m", layer="blk.0:u%d" % unit)
        self.assertVarlinkError("NotFound", client.call, "Release", lease=reply["lease"])

    def test_they_end_with_the_connection(self):
        n_fds = self.daemon.n_fds_at_rest()
        client = self.client()
        client.lease(model="m", layer="blk.0", units=[3, 4])
        client.lease(model="m", layer="blk.0", units=[4, 2])
        client.close()
        self.assertNothingLeft(n_fds)

    def test_shared_units_are_held_until_the_last_release(self):
        client, other = self.client(), self.client()
        first = client.lease(model="m", layer="blk.2", units=[3, 4])
        second = client.lease(model="m", layer="blk.2", units=[4, 5])
        third = other.lease(model="m", layer="blk.2:u4")
        for lease, owner in ((first, client), (third, other)):
            owner.release(lease)
            self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m", layer="blk.2:u4")
        self.daemon.call("UnloadLayer", model="m", layer="blk.2:u3")
        client.release(second)
        self.daemon.call("UnloadLayer", model="m", layer="blk.2:u4")

    def test_a_run_stays_as_it_is(self):
        client = self.client()
        client.lease(model="m", layer="blk.0", units=[0, 7])
        run = client.call("BeginRun", model="m")["run"]
        layers = self.daemon.call("List", model="m")["layers"]
        self.assertEqual([client.lease("Next", run=run)["layer"] for _ in layers],
                         [layer["name"] for layer in layers])


class Refused(Mixture):
    def refused(self, error, **parameters):
        client = self.client()
        found = self.assertVarlinkError(error, client.call, "Acquire", model="m", **parameters)
        self.assertEqual(self.leased_bytes(), 0)
        return found

    def test_unknown_unit(self):
        for unit in (EXPERTS, 1 << 40, (1 << 63) - 1):
            self.assertEqual(self.refused("NotFound", layer="blk.0", units=[1, unit]),
                             {"kind": "unit", "name": str(unit), "layer": "blk.0", "units": EXPERTS})

    def test_no_units(self):
        for layer in ("blk.0:1", "blk.0:u1"):
            self.assertEqual(self.refused("NotFound", layer=layer, units=[0]),
                             {"kind": "unit", "name": "0", "layer": layer, "units": 0})
        for layer in ("blk.9", "blk", "", "blk.0:u", "b" * 300):
            self.assertEqual(self.refused("NotFound", layer=layer, units=[0]), {"kind": "layer", "name": layer})
        self.load(self.path, "whole", unitBytes=None)
        found = self.assertVarlinkError("NotFound", self.client().call, "Acquire", model="whole", layer="blk.0",
                                        units=[0])
        self.assertEqual(found, {"kind": "unit", "name": "0", "layer": "blk.0", "units": 0})

    def test_named_twice(self):
        for units, index in (([1, 5, 1], 2), ([3, 3], 1)):
            self.assertEqual(self.refused(INVALID, layer="blk.0", units=units)["parameter"],
                             "units[%d]" % index)
        self.client().lease(model="m", layer="blk.0", units=[1, 5])  # nothing is left of the refusals

    def test_no_number(self):
        with self.client() as client:
            for units, wrong in (([], "units"), (3, "units"), ("1,5", "units"), ({"1": 5}, "units"),
                                 ([1, "5"], "units[1]"), ([-1], "units[0]"), ([None], "units[0]"),
                                 ([1.0], "units[0]"), ([[1]], "units[0]")):
                with self.subTest(units=units):
                    found = self.assertVarlinkError(INVALID, client.call, "Acquire",
                                                    {"model": "m", "layer": "blk.0", "units": units})
                    self.assertEqual(found["parameter"], wrong)
        self.assertEqual(self.leased_bytes(), 0)

    def test_with_a_view(self):
        self.assertEqual(self.refused(INVALID, layer="blk.0", units=[1], view="1")["parameter"], "view")

    def test_too_many(self):
        self.assertEqual(self.refused("LimitExceeded", layer="blk.0", units=list(range(UNITS_MAX + 1))),
                         {"limit": "units of a lease", "maximum": UNITS_MAX})

    def test_leases_of_a_connection(self):
        """Each unit counts. A refused call holds nothing."""
        path = self.directory() / "many"
        write_mixture(path, UNITS_MAX, (("up", 4096),), 1)
        self.load(path, "many")
        with self.client() as client:
            units = list(range(UNITS_MAX))
            leases = [client.lease(model="many", layer="blk.0", units=units)
                      for _ in range(LEASES_MAX // UNITS_MAX)]
            for units in ([0], [1, 2]):
                self.assertEqual(self.assertVarlinkError("LimitExceeded", client.call, "Acquire", model="many",
                                                         layer="blk.0", units=units),
                                 {"limit": "leases of a connection", "maximum": LEASES_MAX})
            client.release(leases.pop())
            client.lease(model="many", layer="blk.0", units=list(range(UNITS_MAX - 1)))
            self.assertVarlinkError("LimitExceeded", client.call, "Acquire", model="many", layer="blk.0",
                                    units=[1, 2])
            client.lease(model="many", layer="blk.0", units=[1])
        wait_until(lambda: self.leased_bytes() == 0, "the leases to end")


class Small(Mixture):
    """The arena has room for a few units."""
    options = {"capacity": "%dK" % (6 * 160), "policy": "lru"}  # an expert takes 144 KiB or 148 KiB
    rows = 7

    def test_larger_than_the_arena(self):
        bytes_ = self.daemon.call("List", model="m")["layers"]
        bytes_ = {layer["name"]: layer["bytes"] for layer in bytes_}["blk.0:u0"]
        found = self.assertVarlinkError("OutOfMemory", self.client().call, "Acquire", model="m", layer="blk.0",
                                        units=list(range(EXPERTS)))
        self.assertEqual((found["layer"], found["capacityBytes"]), ("blk.0", 960 << 10))
        self.assertGreater(found["requestedBytes"], EXPERTS * bytes_)

    def test_all_or_none(self):
        """What others hold leaves room for two more units, and three are wanted."""
        holder, client = self.client(), self.client()
        held = holder.lease(model="m", layer="blk.1", units=[0, 1, 2, 3])
        leased, before = self.leased_bytes(), self.daemon.stats()["scheduler"]
        busy = self.assertVarlinkError("Busy", client.call, "Acquire", model="m", layer="blk.0", units=[0, 1, 2])
        self.assertHolders(busy, os.getpid(), ["blk.1:u%d" % unit for unit in range(4)])
        after = self.daemon.stats()["scheduler"]
        self.assertEqual(self.leased_bytes(), leased)
        self.assertEqual((after["loads"], after["evictions"]), (before["loads"], before["evictions"]))
        self.assertEqual(after["decisions"]["busy"], before["decisions"]["busy"] + 1)
        self.assertUnits(client, client.lease(model="m", layer="blk.0", units=[0, 1]), 0, [0, 1])
        self.assertUnits(holder, held, 1, [0, 1, 2, 3])

    def test_a_resident_unit_does_not_give_way_to_another(self):
        client = self.client()
        client.release(client.lease(model="m", layer="blk.0:u5"))  # now the least recently used
        for unit in range(5):
            client.release(client.lease(model="m", layer="blk.1:u%d" % unit))
        loads = self.daemon.stats()["scheduler"]["loads"]
        reply = client.lease(model="m", layer="blk.0", units=[0, 1, 5])
        self.assertUnits(client, reply, 0, [0, 1, 5])
        self.assertEqual(self.daemon.stats()["scheduler"]["loads"], loads + 2)

    def test_wait(self):
        holder, client = self.client(), self.client()
        first = holder.lease(model="m", layer="blk.1", units=[0, 1])
        second = holder.lease(model="m", layer="blk.1", units=[2, 3])
        client.send_call("Acquire", {"model": "m", "layer": "blk.0", "units": [4, 2, 6, 3, 0],
                                     "waitUsec": WAIT_MAX})
        self.wait_for_waiting(1)
        leased = self.leased_bytes()
        holder.release(first)  # four would fit now
        self.assertNoReply(client)
        self.assertLess(self.leased_bytes(), leased)  # whoever waits holds nothing
        self.assertEqual(self.waiting(), 1)
        holder.release(second)
        self.assertUnits(client, client.leased_reply(), 0, [4, 2, 6, 3, 0])

    def test_wait_in_vain(self):
        holder, client = self.client(), self.client()
        holder.lease(model="m", layer="blk.1", units=[0, 1])
        busy = self.assertVarlinkError("Busy", client.call, "Acquire", model="m", layer="blk.0",
                                       units=[0, 1, 2, 3, 4], waitUsec=20_000)
        self.assertHolders(busy, os.getpid(), ["blk.1:u0", "blk.1:u1"])
        self.assertEqual(self.waiting(), 0)

    def test_own_leases_are_not_waited_for(self):
        client = self.client()
        client.lease(model="m", layer="blk.0", units=[0, 1])
        self.assertVarlinkError("Busy", client.call, "Acquire", model="m", layer="blk.1", units=[0, 1, 2, 3, 4],
                                waitUsec=WAIT_MAX)
        # Those that it holds already need no other room.
        client.lease(model="m", layer="blk.0", units=[0, 1, 2, 3, 4])

    def test_the_model_goes_while_they_are_waited_for(self):
        holder, client = self.client(), self.client()
        self.load(self.path, "n")
        held = holder.lease(model="n", layer="blk.1", units=[0, 1])
        client.send_call("Acquire", {"model": "m", "layer": "blk.0", "units": [0, 1, 2, 3, 4], "waitUsec": WAIT_MAX})
        self.wait_for_waiting(1)
        self.daemon.call("UnloadModel", model="m")
        self.assertEqual(self.assertVarlinkError("NotFound", client.result, "Acquire"), {"kind": "model", "name": "m"})
        holder.release(held)

    def test_hanging_up(self):
        n_fds = self.daemon.n_fds_at_rest()
        for waits in (False, True):
            with self.subTest(waits=waits):
                self.daemon.call("Reset")
                clients = [self.client() for _ in range(5)]
                for i, client in enumerate(clients):
                    client.send_call("Acquire", {"model": "m", "layer": "blk.%d" % (i % BLOCKS),
                                                 "units": [4, 2, 6, 3], **({"waitUsec": WAIT_MAX} if waits else {})})
                for client in clients:
                    client.close()
                self.assertNothingLeft(n_fds)

    def test_storm(self):
        """Nobody holds others up for ever, and every byte is right."""
        seed = chosen_seed()
        wanted = {(block, unit): expert(self.weights, block, unit)
                  for block in range(BLOCKS) for unit in range(EXPERTS)}
        processes = [Process(self, lease_and_hash, self.daemon, wanted, seed + i) for i in range(6)]
        for process in processes:
            self.assertGreaterEqual(process.hear(), CHECKS)
            process.end()
        stats = self.daemon.stats()["arena"]
        self.assertLessEqual(stats["usedBytes"], stats["capacityBytes"])
        self.assertEqual(stats["leasedBytes"], 0)


def lease_and_hash(pipe, daemon, wanted, seed):
    """A client process that leases units at random and hashes them."""
    rng, n = random.Random(seed), 0
    with Leaser(daemon) as client:
        while n < CHECKS:
            block, units = rng.randrange(BLOCKS), rng.sample(range(EXPERTS), rng.randrange(1, 6))
            reply = client.lease(model="m", layer="blk.%d" % block, units=units, waitUsec=WAIT_MAX)
            expected = {}
            for unit in units:
                expected.update(wanted[block, unit])
            for _ in range(rng.randrange(1, 4)):
                assert digests(client, reply) == expected, "wrong bytes of %s of block %d" % (units, block)
                n += 1
            client.release(reply)
    pipe.say(n)


if __name__ == "__main__":
    unittest.main()
