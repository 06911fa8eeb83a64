"""Leases over a restart: leased layers stay for lease-grace, their leases can be taken up again in
the same place, and after that they can be evicted."""
import os
import signal
import unittest

from harness import MIB, PAGE, sized_model, wait_until
from leasing import Leaser, write_model
from service_manager import Reader, RestartTestCase

ENDS = (signal.SIGKILL, signal.SIGTERM)
LONG, SHORT = "60s", "300ms"  # longer than a test, but not too long to wait
WAIT = 60_000_000  # microseconds


class LeasesOverARestart(RestartTestCase):
    grace = LONG

    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity=4 * MIB, policy="lru", lease_grace=self.grace)
        self.path = self.directory() / "m"
        self.layers = write_model(self.path, [MIB] * 3)
        with Reader(self.daemon) as client:
            client.load_model(self.path, name="m")

    def reader(self):
        client = Reader(self.daemon)
        self.addCleanup(client.close)
        return client

    def leased_bytes(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def await_grace(self):
        wait_until(lambda: self.leased_bytes() == 0, "lease-grace to end")

    def assertHeld(self, busy, layers):
        """Checks that Busy names exactly these layers, without a user."""
        self.assertEqual(sorted(lease["layer"] for lease in busy["leases"]), sorted(layers))
        self.assertEqual(busy["leasesTotal"], len(layers))
        for lease in busy["leases"]:
            self.assertEqual((lease["model"], lease["loading"]), ("m", False))
            self.assertIsNone(lease.get("user"))
            self.assertIsNone(lease.get("pid"))


class Held(LeasesOverARestart):
    def test_they_stay(self):
        client = self.reader()
        leases = {layer: client.lease(model="m", layer=layer) for layer in ("b.0", "b.2")}
        leased = self.leased_bytes()
        for with_signal in ENDS * 2:
            self.daemon.restart(with_signal)
            self.assertWarm(self.daemon)
            self.assertEqual(self.leased_bytes(), leased)
            for method, parameters in (("Reset", {}), ("UnloadModel", {"model": "m"}),
                                       ("UnloadLayer", {"model": "m", "layer": "b.2"})):
                busy = self.assertVarlinkError("Busy", self.daemon.call, method, parameters)
                self.assertHeld(busy, leases)
            # Layers that are not held are evicted, and held layers are not.
            self.daemon.call("LoadModel", definition=sized_model("n", 2 * MIB - 2 * PAGE))
            self.assertEqual(self.resident("m"), set(leases))
            self.assertHeld(self.assertVarlinkError(
                "Busy", self.daemon.call, "LoadModel",
                definition=sized_model("large", 2 * MIB)), leases)
            self.daemon.call("UnloadModel", model="large")
            self.daemon.call("UnloadModel", model="n")
            self.daemon.call("LoadLayer", model="m", layer="b.1")
            for layer, reply in leases.items():  # the old connection's mapping
                self.assertTrue(client.read(reply) == self.layers[layer])

    def test_they_are_taken_up_again(self):
        client = self.reader()
        lease = client.lease(model="m", layer="b.1")
        for with_signal in ENDS * 2:
            self.daemon.restart(with_signal)
            before = self.daemon.stats()["scheduler"]
            client = self.reader()
            again = client.lease(model="m", layer="b.1")
            self.assertEqual({**again, "lease": None}, {**lease, "lease": None})
            self.assertTrue(client.read(again) == self.layers["b.1"])
            after = self.daemon.stats()["scheduler"]
            self.assertEqual(after["bytesLoaded"], before["bytesLoaded"])
            self.assertEqual(after["hits"], before["hits"] + 1)
            # A new lease counts in addition to the old one, which its client can still take up.
            self.assertEqual(self.holders(), [("b.1", None), ("b.1", os.getpid())])
            holder = self.reader()
            holder.lease(model="m", layer="b.1", fill=lease["fill"])
            self.assertEqual(self.holders(), [("b.1", os.getpid())] * 2)
            self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], before["bytesLoaded"])
            client.close()
            client = holder
            wait_until(lambda: len(self.holders()) == 1, "the lease to end")

    def holders(self):
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        return [(held["layer"], held.get("pid")) for held in busy["leases"]]

    def test_what_is_taken_up_and_released_gives_way(self):
        """This is long before lease-grace is over. Layers whose leases are not taken up stay."""
        client = self.reader()
        for with_signal in ENDS:
            fills = {layer: client.lease(model="m", layer=layer)["fill"] for layer in self.layers}
            self.daemon.restart(with_signal)
            client = self.reader()
            client.release(client.lease(model="m", layer="b.1", fill=fills["b.1"]))
            client.release(client.lease(model="m", layer="b.2", fill=fills["b.1"]))  # another's
            client.release(client.lease(model="m", layer="b.2"))
            run = client.call("BeginRun", model="m")["run"]
            client.lease("Next", run=run, fill=fills["b.0"])
            self.assertEqual(self.holders(), [("b.2", None), ("b.0", os.getpid())])
            client.call("EndRun", run=run)
            self.daemon.call("LoadModel", definition=sized_model("n", 3 * MIB - PAGE))
            self.assertEqual(self.resident("m"), {"b.2"})
            self.assertHeld(self.assertVarlinkError("Busy", self.daemon.call, "Reset"), ["b.2"])
            self.daemon.call("UnloadModel", model="n")

    def test_every_holder_is_waited_for(self):
        """If a client takes up its lease and releases it, the leases of the others stay, over any
        number of restarts."""
        for _ in range(3):
            lease = self.reader().lease(model="m", layer="b.1")
        for with_signal in ENDS:
            self.daemon.restart(with_signal)
            client = self.reader()
            client.release(client.lease(model="m", layer="b.1", fill=lease["fill"]))
            self.assertEqual(self.holders(), [("b.1", None)])
        client.release(client.lease(model="m", layer="b.1", fill=lease["fill"]))
        self.assertEqual(self.leased_bytes(), 0)
        self.daemon.restart()
        self.assertEqual(self.leased_bytes(), 0)

    def test_many_holders_of_one_layer(self):
        clients = [self.reader() for _ in range(5)]
        for client in clients:
            client.lease(model="m", layer="b.1")
        self.daemon.restart()
        self.assertHeld(self.assertVarlinkError("Busy", self.daemon.call, "Reset"), ["b.1"])

    def test_what_was_released_is_not_held(self):
        client = self.reader()
        leases = [client.lease(model="m", layer=layer) for layer in self.layers]
        for lease in leases[:2]:
            client.release(lease)
        client.lease(model="m", layer="b.0")
        with Reader(self.daemon) as other:
            other.lease(model="m", layer="b.1")  # ends with its connection
        wait_until(lambda: not self.is_held("b.1"), "its lease to end")
        self.daemon.restart()
        self.assertHeld(self.assertVarlinkError("Busy", self.daemon.call, "Reset"), ["b.0", "b.2"])

    def is_held(self, layer):
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        return layer in [lease["layer"] for lease in busy["leases"]]

    def test_it_outlives_a_flush(self):
        client = self.reader()
        lease = client.lease(model="m", layer="b.0")
        self.daemon.call("SetPolicy", policy="flush-all")
        self.daemon.call("LoadModel", definition=sized_model("n", 2 * MIB + 5))
        self.assertEqual(self.resident("m"), {"b.0"})
        for with_signal in ENDS:
            self.daemon.restart(with_signal)
            self.assertEqual(self.resident("m"), {"b.0"})
            self.assertEqual(self.reader().lease(model="m", layer="b.0")["fill"], lease["fill"])
        self.assertEqual(self.resident("n"), {"l0"})

    def test_a_run_has_its_layer(self):
        client = self.reader()
        run = client.call("BeginRun", model="m")["run"]
        replies = [client.lease("Next", run=run) for _ in range(5)]
        self.assertEqual(replies[-1]["layer"], "b.1")
        self.daemon.restart()
        self.assertHeld(self.assertVarlinkError("Busy", self.daemon.call, "Reset"), ["b.1"])
        client = self.reader()
        run = client.call("BeginRun", model="m")["run"]
        fills = {reply["layer"]: reply["fill"] for reply in replies}
        for _ in range(4):
            reply = client.lease("Next", run=run)
            self.assertEqual(reply["fill"], fills[reply["layer"]])
            self.assertTrue(reply["hit"])
            self.assertTrue(client.read(reply) == self.layers[reply["layer"]])

    def test_fills_are_never_told_twice(self):
        client, seen = self.reader(), set()
        for with_signal in ENDS * 3:
            for layer in self.layers:
                self.daemon.call("UnloadLayer", model="m", layer=layer)
                reply = client.lease(model="m", layer=layer)
                self.assertNotIn(reply["fill"], seen)
                seen.add(reply["fill"])
                client.release(reply)
            self.daemon.restart(with_signal)
            client = self.reader()

    def test_a_kept_mapping(self):
        """A client's mapping keeps the right bytes over any number of restarts."""
        client = Leaser(self.daemon)
        self.addCleanup(client.close)
        lease = client.lease(model="m", layer="b.2")
        for _ in range(5):
            self.daemon.restart()
            self.assertTrue(client.read(lease) == self.layers["b.2"])
            with Reader(self.daemon) as other:
                self.assertEqual(other.lease(model="m", layer="b.2")["fill"], lease["fill"])


class Grace(LeasesOverARestart):
    grace = SHORT

    def test_it_ends(self):
        client = self.reader()
        lease = client.lease(model="m", layer="b.0")
        for with_signal in ENDS:
            self.daemon.restart(with_signal)
            self.await_grace()
            self.assertEqual(self.resident("m"), set(self.layers))  # nobody needs its memory yet
            # lease-grace has ended: the next process has nothing to hold.
            self.daemon.restart()
            self.assertEqual(self.leased_bytes(), 0)
            client = self.reader()
            self.assertEqual(client.lease(model="m", layer="b.0")["fill"], lease["fill"])
        client.close()
        wait_until(lambda: self.leased_bytes() == 0, "the lease to end")
        self.daemon.call("LoadModel", definition=sized_model("n", 4 * MIB))
        self.assertEqual(self.resident("m"), set())
        again = self.reader().lease(model="m", layer="b.0")
        self.assertGreater(again["fill"], lease["fill"])
        self.assertUnharmed()

    def test_who_has_taken_it_up_keeps_it(self):
        self.reader().lease(model="m", layer="b.0")
        self.reader().lease(model="m", layer="b.1")
        self.daemon.restart()
        client = self.reader()
        lease = client.lease(model="m", layer="b.0")

        def only_that_one():
            busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
            return [held.get("pid") is not None for held in busy["leases"]] == [True]
        wait_until(only_that_one, "lease-grace to end")
        self.daemon.call("LoadModel", definition=sized_model("n", 2 * MIB))
        self.assertTrue(client.read(lease) == self.layers["b.0"])
        client.release(lease)
        self.assertEqual(self.leased_bytes(), 0)

    def test_released_before_it_ends(self):
        self.reader().lease(model="m", layer="b.0")
        self.daemon.restart()
        client = self.reader()
        client.release(client.lease(model="m", layer="b.0"))
        self.await_grace()
        self.daemon.call("Reset")
        self.assertUnharmed()

    def test_who_waits_is_served(self):
        self.reader().lease(model="m", layer="b.0")
        self.assertVarlinkError("Busy", self.daemon.call, "LoadModel",
                                definition=sized_model("n", 4 * MIB))
        self.daemon.restart()
        with Reader(self.daemon) as client:
            client.call("UnloadLayer", model="m", layer="b.1")
            reply = client.lease(model="n", layer="l0", waitUsec=WAIT)
            self.assertEqual(client.read(reply), bytes(4 * MIB))

    def test_none_at_all(self):
        """lease-grace = 0: nothing is held."""
        self.reader().lease(model="m", layer="b.0")
        self.daemon.restart(lease_grace="0")
        self.await_grace()
        self.daemon.call("Reset")


if __name__ == "__main__":
    unittest.main()
