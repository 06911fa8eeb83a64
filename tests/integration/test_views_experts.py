"""Views of models with experts: each expert is leased by itself, and the views choose which stay."""
import json
import os
import random
import sys
import unittest

from harness import MIB, ROOT, wait_until
from leasing import POLICIES
from view_readers import ViewTestCase
from wire import VarlinkError

sys.path.insert(0, str(ROOT / "tests"))
import generate_weights  # noqa: E402
from generate_weights import Tensor  # noqa: E402

BLOCKS, EXPERTS, WIDE, NARROW = 4, 24, 65021, 9001  # sizes that are no multiples of a page
EXPERT = 2 * WIDE + NARROW
DENSE = 70001


class Experts(ViewTestCase):
    def serve(self, capacity, **more):
        self.daemon = self.start(capacity=capacity, policy="expected-use", log_level="info", **more)
        self.path = self.directory() / "model"
        self.places = {}
        tensors = [Tensor("token_embd.weight", "I8", (700, 4096))]
        for i in range(BLOCKS):
            tensors.append(Tensor("blk.%d.attn.weight" % i, "I8", (DENSE,)))
            tensors += [Tensor("blk.%d.ffn_%s_exps.weight" % (i, name), "I8", (EXPERTS, size))
                        for name, size in (("gate", WIDE), ("up", WIDE), ("down", NARROW))]
        for tensor in generate_weights.write_safetensors(str(self.path), tensors, 4):
            self.places[tensor.name] = tensor
        self.client().load_model(self.path, name="m", unitBytes=8 * MIB, onFull="evict")
        self.fills = self.daemon.stats()["scheduler"]["bytesLoaded"]

    def assertHeld(self):
        stats = self.daemon.stats()["arena"]
        self.assertLessEqual(stats["usedBytes"], stats["capacityBytes"])

    def test_units(self):
        self.serve("20M")
        layers = [layer["name"] for layer in self.daemon.call("List", model="m")["layers"]]
        self.assertEqual(sum(name.startswith("blk.2:u") for name in layers), EXPERTS)
        self.assertIn("blk.2:1", layers)
        self.assertEqual(sum(name.startswith("token_embd:u") for name in layers), 3)
        with self.client() as client:
            for name, tensor, n in (("blk.1:u7", "ffn_up_exps", 7), ("blk.3:u23", "ffn_down_exps", 23)):
                lease = client.lease(model="m", layer=name)
                self.assertEqual(len(lease["pieces"]), 3)
                self.assertIn("blk.%s.%s.weight[%d]" % (name[4], tensor, n),
                              [row["name"] for row in lease["tensors"]])

    def test_bytes(self):
        """Every byte is right while units come and go, with many threads at random places."""
        for capacity in ("5M", "8M", "13M"):
            with self.subTest(capacity=capacity):
                self.serve(capacity)
                process = self.reader("random")
                while process.poll() is None:
                    self.assertHeld()
                self.assertRight(process)
                self.assertServed()
                self.daemon.stop()

    def test_two_readers(self):
        self.serve("5M")
        readers = [self.reader("random") for _ in range(2)]
        for process in readers:
            self.assertRight(process)
        self.assertHeld()
        self.assertServed()

    def test_record(self):
        """What a program uses is recorded, and can be replayed."""
        self.serve("20M")
        record = self.directory() / "route.csv"
        process = self.reader("command", EDGEMIND_VIEW_ROUTES=str(record))
        n_bytes = self.path.stat().st_size
        process.stdin.write(b"%d\n%d\n" % (n_bytes, n_bytes))
        process.stdin.close()
        self.assertRight(process)
        lines = record.read_text().splitlines()
        layers = [line for line in lines if line.startswith("# layer=")]
        rows = [tuple(map(int, line.split(","))) for line in lines if line.startswith("0,")]
        n_units = [3] + [EXPERTS] * BLOCKS
        self.assertEqual(len(layers), len(n_units))
        self.assertEqual(sorted((step, layer, expert) for _, _, step, layer, _, expert in rows),
                         [(step, layer, expert) for step in range(2)
                          for layer, n in enumerate(n_units) for expert in range(n)])
        replay = json.loads(self.daemon.emctl("plan", "--trace=%s" % record, "--capacity=20M", "--json").out)
        self.assertEqual((replay["tokens"], replay["uses"]), (1, sum(n_units)))

    def test_used(self):
        """The daemon is told how often experts are used that are always there."""
        self.serve("20M")
        process = self.reader("command", EDGEMIND_VIEW_ROUTES=os.devnull)
        half = self.places["blk.0.ffn_gate_exps.weight"].offset + EXPERTS // 2 * WIDE

        def read(n_bytes):
            process.stdin.write(b"0\n%d\n" % n_bytes)
            process.stdin.flush()

        def used():
            return {layer["name"]: layer["usedPercent"]
                    for layer in self.daemon.call("List", model="m", used=True)["layers"] if "usedPercent" in layer}

        def is_told():
            read(half)
            percents = used()
            return percents.get("blk.0:u3") == 100 and percents.get("blk.0:u20", 100) <= 10
        read(self.path.stat().st_size)
        for _ in range(60):
            read(half)
        wait_until(is_told, "the daemon to know the uses")
        self.assertEqual(used()["blk.2:u5"], 100)
        process.stdin.close()
        self.assertRight(process)

    def test_harm(self):
        """Readers get the right bytes, and the arena keeps its size, while other clients lease and
        evict, and the policy changes."""
        self.serve("7M")
        chance = random.Random(5)
        arena = os.open(self.daemon.arena_path(), os.O_RDONLY)
        self.addCleanup(os.close, arena)
        capacity = self.daemon.stats()["arena"]["capacityBytes"]
        readers = [self.reader("random", 3000) for _ in range(2)]
        n_leases = 0
        while any(process.poll() is None for process in readers):
            self.assertLessEqual(os.fstat(arena).st_blocks * 512, capacity)
            self.daemon.call("SetPolicy", policy=chance.choice(POLICIES))
            with self.client() as client:
                for _ in range(chance.randrange(4)):
                    layer = "blk.%d:u%d" % (chance.randrange(BLOCKS), chance.randrange(EXPERTS))
                    for method, more in (("UnloadLayer", {}), ("Acquire", {"waitUsec": 50000})):
                        try:
                            client.call(method, model="m", layer=layer, **more)
                            n_leases += method == "Acquire"
                        except VarlinkError as error:
                            self.assertEqual(error.error, "Busy")
        self.assertGreater(n_leases, 10)
        for process in readers:
            self.assertRight(process)
        self.assertServed()

    def test_room_for_others(self):
        """Another client gets room from a view."""
        self.serve("6M")
        process = self.reader("command")
        for _ in range(2):
            process.stdin.write(b"%d\n" % (12 * MIB))
            process.stdin.flush()
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] > MIB, "a view")
        with self.client() as client:
            for i in range(8):
                client.lease(model="m", layer="blk.3:u%d" % i, waitUsec=20000000)
        process.stdin.close()
        self.assertRight(process)
        self.assertServed()


class BySignal(Experts):
    faults = "sigsegv"


if __name__ == "__main__":
    unittest.main()
