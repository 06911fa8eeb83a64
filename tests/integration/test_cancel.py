"""A client that hangs up in the middle of a load cancels it, and nothing else."""
import random
import signal
import unittest

import wire
from harness import MIB, TestCase, memory_file, sized_model, wait_until


class Cancel(TestCase):
    options = {"capacity": "160M"}

    def assertConsistent(self, model):
        """Complete layers stay, and the layer that was being loaded has no pages."""
        stats = self.assertUnharmed()
        with self.daemon.connect() as c:
            layers = [layer for part, _ in c.stream("List", model=model)
                      for layer in part["layers"]]
        self.assertEqual({layer["state"] for layer in layers} - {"absent", "resident"}, set())
        self.assertEqual(sum(layer["footprintBytes"] for layer in layers),
                         stats["arena"]["usedBytes"])
        resident = [layer for layer in layers if layer["state"] == "resident"]
        self.assertEqual(sum(layer["bytes"] for layer in resident),
                         self.daemon.call("List")["models"][0]["residentBytes"])
        return stats, [layer["name"] for layer in resident]

    def test_hang_up_cancels(self):
        """A model with so many layers of 40 MiB that loading takes minutes, so that this process
        hangs up in time."""
        n_layers = 20000
        with self.daemon.connect() as c, \
                memory_file(sized_model("m", *[40 * MIB] * n_layers)) as file:
            for progress, _ in c.stream("LoadModel", {"definitionFileDescriptor": 0},
                                        [file.fileno()]):
                if progress["layersDone"] >= 6:
                    break
        stats, resident = self.assertConsistent("m")
        loaded = stats["scheduler"]["decisions"]["loaded"]
        self.assertGreaterEqual(loaded, 6)
        self.assertLess(loaded, n_layers)
        self.assertEqual(stats["scheduler"]["bytesLoaded"], loaded * 40 * MIB)
        self.assertLessEqual(len(resident), 4)
        # The load has ended; the model stays and can be loaded again.
        self.assertEqual(self.daemon.stats()["scheduler"]["decisions"]["loaded"], loaded)
        self.assertFalse(self.daemon.call("LoadLayer", model="m", layer="l19999")["hit"])

    def test_half_close_does_not_cancel(self):
        with self.daemon.connect() as c:
            c.send_call("LoadModel", {"definition": sized_model("m", *[20 * MIB] * 30)})
            c.socket.shutdown(1)
            self.assertEqual(c.result("LoadModel")["loaded"], 30)

    def test_random_moments(self):
        seed = random.randrange(1 << 32)
        rng = random.Random(seed)
        with self.subTest(seed=seed), self.daemon.connect() as other:
            n_fds = self.daemon.n_fds_at_rest()
            for i in range(25):
                sizes = [rng.randrange(1, 30 * MIB) for _ in range(40)]
                with self.daemon.connect() as c:
                    c.send_call("LoadModel", {"definition": sized_model("m", *sizes)}, more=True)
                    for _ in range(rng.randrange(4)):
                        c.reply("LoadModel")
                    if i % 3:
                        other.call("List")
                wait_until(lambda: not self.daemon.stats()["scheduler"]["layersLoading"], "the end")
                if other.call("List")["models"]:  # the model may not be registered yet when the client hangs up
                    self.assertConsistent("m")
                    other.call("UnloadModel", model="m")
                self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], 0)
            self.assertFds(n_fds)

    def test_a_layer_that_another_waits_for(self):
        """The load is finished for the client that stays connected."""
        self.daemon.call("LoadModel", definition=sized_model("m", 150 * MIB))
        for _ in range(5):
            self.daemon.call("Reset")
            first, second = self.connect(), self.connect()
            self.daemon.process.send_signal(signal.SIGSTOP)
            try:
                first.send_call("LoadLayer", {"model": "m", "layer": "l0"})
                second.send_call("LoadLayer", {"model": "m", "layer": "l0"})
            finally:
                self.daemon.process.send_signal(signal.SIGCONT)
            first.close()
            self.assertEqual(second.result("LoadLayer")["bytes"], 150 * MIB)
            self.assertConsistent("m")

    def test_busy_while_loading(self):
        """A layer that is being loaded is never evicted: Reset, unloads and other loads are
        Busy."""
        self.daemon.call("LoadModel", definition=sized_model("m", 150 * MIB))
        self.daemon.call("Reset")
        self.daemon.call("LoadModel", definition=sized_model("other", MIB, 20 * MIB))
        self.daemon.call("Reset")
        for method, parameters in (("Reset", {}), ("UnloadLayer", {"model": "m", "layer": "l0"}),
                                   ("UnloadModel", {"model": "m"}),
                                   ("LoadLayer", {"model": "other", "layer": "l1"})):
            with self.subTest(method=method):
                found = wait_until(lambda: self.collide(method, parameters), "Busy")
                self.assertEqual(found["leasesTotal"], 1)
                self.assertEqual(found["leases"], [{"model": "m", "layer": "l0",
                                                    "bytes": 150 * MIB, "loading": True}])
        self.assertUnharmed()
        scheduler = self.daemon.stats()["scheduler"]
        self.assertGreaterEqual(scheduler["decisions"]["busy"], 1)

    def collide(self, method, parameters):
        """Both requests reach the daemon in one turn of its loop. None if in the other order."""
        loader, other = self.connect(), self.connect()
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            loader.send_call("LoadLayer", {"model": "m", "layer": "l0"})
            other.send_call(method, parameters)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        try:
            other.result(method)
            busy = None
        except wire.VarlinkError as error:
            self.assertEqual(error.error, "Busy")
            busy = error.parameters
        try:
            loader.result("LoadLayer")
            self.daemon.call("UnloadLayer", model="m", layer="l0")
        except wire.VarlinkError:
            pass
        return busy

    def test_stop_in_the_middle(self):
        """SIGTERM during a load: the daemon ends cleanly and does not wait for the load."""
        with self.daemon.connect() as c, \
                memory_file(sized_model("m", *[40 * MIB] * 20000)) as file:
            c.send_call("LoadModel", {"definitionFileDescriptor": 0}, [file.fileno()], more=True)
            self.assertTrue(c.reply("LoadModel")["continues"])
            self.daemon.stop()
            while c.receive() is not None:
                pass


if __name__ == "__main__":
    unittest.main()
