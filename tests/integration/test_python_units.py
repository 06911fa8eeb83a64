"""edgemind.py holds units of a layer."""
import unittest

from harness import MIB
from python_client import ClientTestCase, edgemind, own_mappings
from test_leases_units import EXPERTS, NAMES, write_mixture
from weight_files import Client


class Units(ClientTestCase):
    options = {"capacity": "8M", "policy": "lru"}

    def setUp(self):
        super().setUp()
        path = self.directory() / "moe"
        self.weights = write_mixture(path)
        with Client(self.daemon) as client:
            client.load_model(path, name="m", unitBytes=8 * MIB)

    def expected(self, units):
        found = {}
        for unit in units:
            for name, size in NAMES:
                name = "blk.1.ffn_%s_exps.weight" % name
                found["%s[%d]" % (name, unit)] = self.weights[name][unit * size:(unit + 1) * size]
        return found

    def test_bytes(self):
        client = self.client()
        for units in ((5, 1), [3], range(EXPERTS)):
            with self.subTest(units=units), client.acquire("m", "blk.1", units=units) as lease:
                self.assertEqual((lease.name, lease.units), ("blk.1", list(units)))
                expected = self.expected(units)
                self.assertEqual({name: bytes(data) for name, data in lease.tensors.items()}, expected)
                self.assertEqual(list(lease.layout), list(expected))
                with self.assertRaisesRegex(ValueError, "use the layer's tensors"):
                    lease.data
        self.assertEqual(client.call("Stats")["arena"]["leasedBytes"], 0)
        self.assertEqual({permissions for _, permissions, *_ in own_mappings()}, {"r--s"})

    def test_after_release(self):
        lease = self.client().acquire("m", "blk.1", units=[0, 1])
        tensor = memoryview(lease.tensors["blk.1.ffn_up_exps.weight[1]"])
        tensor.release()
        lease.release()
        for view in lease._parts:
            self.assertGone(view)
        with self.assertRaises(ValueError):
            lease.tensors

    def test_refusals(self):
        client = self.client()
        for error, layer, units in ((edgemind.NotFound, "blk.1", [0, EXPERTS]),
                                    (edgemind.NotFound, "blk.1:1", [0]),
                                    (edgemind.InvalidParameter, "blk.1", [1, 1]),
                                    (edgemind.InvalidParameter, "blk.1", []),
                                    (edgemind.LimitExceeded, "blk.1", range(513))):
            with self.subTest(units=units), self.assertRaises(error):
                client.acquire("m", layer, units=units)

    def test_parts(self):
        """Only segments that meet at pages are one part."""
        arena = edgemind._Arena.__new__(edgemind._Arena)
        arena.page = 4096
        for segments, parts in ((((8, 4),), 1), (((8, 4), (100, 5)), 2), (((0, 4096), (8192, 5)), 1),
                                (((0, 4096), (8200, 5)), 2), (((0, 4095), (8192, 5)), 2),
                                (((8, 4088), (8192, 4096), (0, 1), (4096, 7)), 2)):
            joined = list(arena.joined(segments))
            self.assertEqual((len(joined), sum(joined, ())), (parts, segments))


if __name__ == "__main__":
    unittest.main()
