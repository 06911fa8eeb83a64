"""edgemind.py waits, runs through models, and outlives its daemon."""
import os
import threading
import unittest

from harness import MIB, PAGE, TIMEOUT, sized_model, wait_until
from python_client import ClientTestCase, edgemind, own_mappings


class Waiting(ClientTestCase):
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        self.holder, self.other = self.client(), self.client()
        self.holder.call("LoadModel", definition=sized_model("m", 3 * MIB, 3 * MIB))
        self.lease = self.holder.acquire("m", "l0")

    def test_busy(self):
        for wait in (None, 0, 0.01):
            with self.subTest(wait=wait), self.assertRaises(edgemind.Busy) as caught:
                self.other.acquire("m", "l1", wait=wait)
            found, = caught.exception.parameters["leases"]
            self.assertEqual((found["layer"], found["pid"]), ("l0", os.getpid()))

    def test_served_when_it_is_released(self):
        acquired = []
        thread = threading.Thread(
            target=lambda: acquired.append(self.other.acquire("m", "l1", wait=TIMEOUT / 2)))
        thread.start()
        self.addCleanup(thread.join)
        wait_until(lambda: self.daemon.stats()["scheduler"]["waiting"] == 1, "the wait")
        self.assertEqual(acquired, [])
        self.lease.release()
        thread.join()
        self.assertEqual(acquired[0].name, "l1")



class Runs(ClientTestCase):
    options = {"capacity": "4M", "policy": "next-use"}

    def load_equal(self, client, n_layers=5):
        """A model "m" of layers of 1 MiB, of which three fit; their bytes."""
        return self.load(client, "m", *[MIB] * n_layers)

    def test_passes(self):
        client = self.client()
        expected = self.load_equal(client)
        with client.run("m") as run_:
            self.assertEqual((run_.model, run_.n_layers), ("m", 5))
            for pass_ in range(3):
                seen = []
                for layer in run_.layers():
                    self.assertEqual(layer.pass_, pass_)
                    self.assertEqual(layer.name, "model.layers.%d" % layer.index)
                    self.assertEqual(layer.data, expected[layer.index])
                    tensor = layer.tensors[layer.name + ".w"]
                    self.assertEqual(tensor.tobytes(), expected[layer.index])
                    self.assertIsInstance(layer.hit, bool)
                    seen.append(layer.index)
                    del tensor
                self.assertEqual(seen, list(range(5)))
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 0)

    def test_next(self):
        """Each layer is held until the next request; a pass may begin in the middle."""
        client = self.client()
        self.load_equal(client, 3)
        with client.run("m") as run_:
            first = next(run_)
            data = first.data
            second = next(run_)
            self.assertTrue(first.released)
            self.assertGone(data)
            self.assertEqual([layer.index for layer in run_.layers()], [2])
            self.assertTrue(second.released)
            self.assertEqual([(layer.index, layer.pass_) for layer in run_.layers()],
                             [(0, 1), (1, 1), (2, 1)])
            for _, layer in zip(range(4), run_):
                last = layer
            self.assertEqual((last.index, last.pass_), (0, 3))
            data = last.data
        self.assertTrue(last.released)
        self.assertGone(data)
        with self.assertRaises(ValueError):
            next(run_)
        run_.end()

    def test_an_exception_ends_it(self):
        client = self.client()
        self.load_equal(client)
        with self.assertRaises(KeyError), client.run("m") as run_:
            next(run_)
            raise KeyError
        self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 0)
        with self.assertRaises(ValueError):
            next(run_)

    def test_several(self):
        client, other = self.client(), self.client()
        expected = self.load_equal(client)
        runs = [client.run("m"), client.run("m"), other.run("m")]
        for layers in zip(*(run_.layers() for run_ in runs)):
            self.assertEqual([layer.index for layer in layers], [layers[0].index] * 3)
            for layer in layers:
                self.assertEqual(layer.data, expected[layer.index])
        runs[0].end()
        self.assertEqual(next(runs[1]).index, 0)
        other.close()
        wait_until(lambda: self.daemon.stats()["scheduler"]["runs"] == 1, "the runs' end")

    def test_busy(self):
        """An error leaves the run where it is, without a layer."""
        client, other = self.client(), self.client()
        client.call("SetPolicy", policy="lru")  # which reads nothing ahead
        self.load(client, "m", MIB // 2, 2 * MIB)
        client.call("LoadModel", definition=sized_model("large", 3 * MIB))
        with client.run("m") as run_:
            first = next(run_)
            lease = other.acquire("large", "l0")
            with self.assertRaises(edgemind.Busy):
                next(run_)
            self.assertTrue(first.released)
            self.assertLess(self.daemon.stats()["arena"]["leasedBytes"], 3 * MIB + PAGE)
            lease.release()
            run_.wait = TIMEOUT / 2
            self.assertEqual([layer.index for layer in run_.layers()], [1])

    def test_bad_waits(self):
        client = self.client()
        self.load_equal(client)
        with client.run("m", wait=61) as run_:
            with self.assertRaises(edgemind.InvalidParameter):
                next(run_)
            run_.wait = 1
            self.assertEqual(next(run_).index, 0)

    def test_the_layers_lease_is_the_runs(self):
        client = self.client()
        self.load_equal(client)
        with client.run("m") as run_:
            layer = next(run_)
            with self.assertRaises(edgemind.Error):
                client.call("Release", lease=layer.lease)
            self.assertEqual(len(layer.data), MIB)
            self.assertFalse(hasattr(layer, "release"))



class Killed(ClientTestCase):
    """The daemon dies: held layers stay as they are until a call fails."""

    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        self.held = self.client()
        self.held.call("LoadModel", definition=sized_model("m", MIB, MIB))
        self.lease, self.run_ = self.held.acquire("m", "l0"), self.held.run("m")
        self.layer = next(self.run_)
        self.views = [self.lease.data, self.layer.data]

    def kill(self):
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.daemon.discard()

    def assertAllGone(self):
        for view in self.views:
            self.assertGone(view)
        self.assertTrue(self.lease.released and self.layer.released)
        self.lease.release()
        self.run_.end()
        self.assertEnded(self.held)

    def test_killed(self):
        self.kill()
        for view in self.views:
            self.assertEqual(view, bytes(MIB))
        with self.assertRaises(ConnectionError):
            self.held.call("Stats")
        self.assertAllGone()
        self.assertEqual(own_mappings() if not self.views.clear() else None, [])

    def test_killed_before_a_release(self):
        self.kill()
        with self.assertRaises(ConnectionError):
            self.lease.release()
        self.assertAllGone()

    def test_killed_before_a_runs_next_layer(self):
        self.kill()
        with self.assertRaises(ConnectionError):
            next(self.run_)
        self.assertAllGone()

    def test_killed_in_a_stream(self):
        events = self.held.stream("Watch")
        next(events)
        self.kill()
        with self.assertRaises(ConnectionError):
            next(events)
        self.assertAllGone()

    def test_killed_within_a_with(self):
        """The exception of the body reaches the caller, not one of the release."""
        with self.assertRaises(ConnectionError), self.lease, self.run_:
            self.kill()
            self.held.call("Stats")
        self.assertAllGone()


if __name__ == "__main__":
    unittest.main()
