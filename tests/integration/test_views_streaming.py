"""Views of models that are larger than the arena: some layers stay, the others are streamed."""
import signal
import time
import unittest

from harness import MIB, wait_until
from leasing import write_model
from view_readers import SIZES, ViewTestCase, stop

PASS = sum(SIZES)


class Streaming(ViewTestCase):
    def view(self):
        return wait_until(lambda: self.daemon.call("Views")["views"], "a view")[0]

    def read(self, process, n_bytes):
        process.stdin.write(b"%d\n" % n_bytes)
        process.stdin.flush()

    def held_at_rest(self, process):
        """How many bytes of layers the reader leases when it has read nothing for a while."""
        held = []

        def settled():
            held.append(self.view()["heldBytes"])
            time.sleep(0.05)
            return len(held) > 10 and len(set(held[-10:])) == 1
        wait_until(settled, "the view to rest")
        self.assertIsNone(process.poll())
        return held[-1]

    def end(self, *processes):
        for process in processes:
            process.stdin.close()
            self.assertRight(process)
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "leases to end")
        self.assertUnharmed()

    def test_places_are_left(self):
        """A reader that has read everything does not lease the whole arena."""
        self.serve(capacity="8M")
        process = self.reader("command")
        for _ in range(3):
            self.read(process, PASS)
        wait_until(lambda: self.view()["faults"] > len(SIZES), "two passes")
        self.assertLessEqual(self.held_at_rest(process), 8 * MIB - 3 * max(SIZES))
        other = self.directory() / "other"
        write_model(other, [MIB], seed=5)
        client = self.client()
        client.load_model(other, name="o")
        client.lease(model="o", layer="b.0")
        client.close()
        self.end(process)

    def test_kept(self):
        """Readers of a model keep the same layers, once they have read all."""
        self.serve(capacity="8M")
        readers = [self.reader("command") for _ in range(2)]
        for process in readers:
            for _ in range(2):
                self.read(process, PASS)
        wait_until(lambda: [view["faults"] > 0 for view in self.daemon.call("Views")["views"]] ==
                   [True, True], "faults")
        for process in readers:
            self.held_at_rest(process)
        held = [view["heldBytes"] for view in self.daemon.call("Views")["views"]]
        self.assertEqual(len(set(held)), 1, held)
        self.assertGreater(held[0], 2 * MIB)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"] // MIB, held[0] // MIB)
        self.end(*readers)

    def test_everything_stays(self):
        """If the arena is large enough, each layer is leased once."""
        self.serve(capacity="20M")
        process = self.reader("command")
        for _ in range(5):
            self.read(process, PASS)
        wait_until(lambda: self.view()["faults"] >= len(SIZES), "all layers")
        self.assertEqual(self.held_at_rest(process), PASS)
        self.assertEqual(self.view()["faults"], len(SIZES))
        self.end(process)

    def test_read_ahead(self):
        """Layers are leased before the program reads them."""
        self.serve(capacity="8M")
        process = self.reader("command")
        self.read(process, 2 * MIB)
        wait_until(lambda: self.view()["faults"] >= 3, "two layers, and the next one")
        self.end(process)


class Recall(ViewTestCase):
    """Another client needs room that a view has leased."""

    def setUp(self):
        super().setUp()
        self.serve(capacity="12M")
        self.other = self.directory() / "other"
        write_model(self.other, [5 * MIB], seed=5)
        self.process = self.reader("command")
        self.read(PASS)
        wait_until(lambda: self.view()["heldBytes"] == PASS, "all layers")

    def view(self):
        return wait_until(lambda: self.daemon.call("Views")["views"], "a view")[0]

    def read(self, n_bytes):
        self.process.stdin.write(b"%d\n" % n_bytes)
        self.process.stdin.flush()

    def end(self):
        for _ in range(3):
            self.read(PASS)
        self.process.stdin.close()
        self.assertRight(self.process)
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "leases to end")
        self.assertUnharmed()

    def read_and_look(self):
        self.read(PASS)
        time.sleep(0.2)
        return self.view()["heldBytes"] == PASS

    def register(self):
        """A client that knows the other model, of which nothing is loaded."""
        client = self.client()
        self.assertVarlinkError("Busy", client.load_model, self.other, name="o", onFull="ask")
        self.assertEqual(self.view()["heldBytes"], PASS)
        return client

    def test_lease(self):
        client = self.register()
        client.lease(model="o", layer="b.0")
        self.assertLess(self.view()["heldBytes"], 7 * MIB)
        self.read(2 * PASS)
        client.close()
        self.end()

    def test_grows_again(self):
        """When the other client has released its lease, all layers stay again."""
        client = self.register()
        client.release(client.lease(model="o", layer="b.0"))
        wait_until(self.read_and_look, "all layers to stay")
        client.close()
        self.end()

    def test_load(self):
        client = self.client()
        loaded = client.load_model(self.other, name="o")
        self.assertEqual((loaded["loaded"], loaded["resident"]), (1, 1))
        client.call("UnloadModel", model="o")
        wait_until(self.read_and_look, "all layers to stay")
        self.register().call("LoadLayer", model="o", layer="b.0")
        self.end()

    def test_stopped(self):
        """A reader that does not answer: its leases are named."""
        client = self.register()
        stop(self.process)
        found = self.assertVarlinkError("Busy", client.lease, model="o", layer="b.0")
        self.assertEqual({lease["pid"] for lease in found["leases"]}, {self.process.pid})
        self.process.send_signal(signal.SIGCONT)
        client.lease(model="o", layer="b.0")
        client.close()
        self.end()

    def test_too_large(self):
        """Room that can never come is not asked for."""
        write_model(self.other, [11 * MIB], seed=6)
        client = self.register()
        self.assertVarlinkError("Busy", client.lease, model="o", layer="b.0")
        self.assertEqual(self.view()["heldBytes"], PASS)
        self.end()


class Grace(ViewTestCase):
    def test_model_comes_back(self):
        """A daemon that starts without the model gets it later: the view goes on out of its arena."""
        self.serve(capacity="8M", restarts=True)
        process = self.reader("command")
        process.stdin.write(b"%d\n" % MIB)
        process.stdin.flush()
        wait_until(lambda: [view["faults"] for view in self.daemon.call("Views")["views"]], "a view")
        self.daemon.restart(capacity=9 * MIB)
        self.assertEqual(self.daemon.call("List")["models"], [])
        for _ in range(3):
            process.stdin.write(b"%d\n" % PASS)
        process.stdin.flush()
        time.sleep(0.5)
        self.client().load_model(self.path, name="m")
        wait_until(lambda: [view for view in self.daemon.call("Views")["views"] if view["faults"]],
                   "the view to lease again")
        process.stdin.close()
        self.assertRight(process)


class StreamingBySignal(Streaming):
    faults = "sigsegv"


if __name__ == "__main__":
    unittest.main()
