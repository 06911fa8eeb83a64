"""Leases for views of a daemon that ended: they last as long as a client of that daemon has the arena
mapped, and no longer, although lease-grace is longer than the tests. So a lease that no client
knows of, for example because its Release was on its way, keeps nobody waiting."""
import signal
import time
import unittest

from harness import MIB, TIMEOUT, wait_until
from leasing import write_model
from service_manager import Reader
from view_readers import ViewTestCase

GRACE = "%ds" % (2 * TIMEOUT)


class Restarts(ViewTestCase):
    """Clients without the library."""

    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="8M", policy="lru", lease_grace=GRACE)
        self.path = self.directory() / "m"
        self.layers = write_model(self.path, [MIB] * 4)
        with Reader(self.daemon) as client:
            client.load_model(self.path, name="m")

    def client_of(self, *layers, is_view=True, fill=None):
        client = Reader(self.daemon)
        self.addCleanup(client.close)
        more = {"view": client.call("BeginView", model="m", program="engine", bytes=4 * MIB,
                                    outsideBytes=0)["view"]} if is_view else {}
        if fill:
            more["fill"] = fill
        return client, {layer: client.lease(model="m", layer=layer, **more) for layer in layers}

    def leased_bytes(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def await_leased(self, n_layers):
        wait_until(lambda: self.leased_bytes() // MIB == n_layers, "%d leased layers" % n_layers)

    def assertStays(self, n_layers):
        for _ in range(10):
            time.sleep(0.05)
            self.assertEqual(self.leased_bytes() // MIB, n_layers)

    def test_ended_meanwhile(self):
        """A client that ends while there is no daemon."""
        client, _ = self.client_of("b.0", "b.1")
        self.daemon.end()
        client.close()
        self.daemon.start_again()
        self.assertTrue(self.daemon.is_warm())
        self.await_leased(0)

    def test_mapped(self):
        """A client that has not come back, over two restarts."""
        client, leases = self.client_of("b.0", "b.1")
        for with_signal in (signal.SIGKILL, signal.SIGTERM):
            self.daemon.restart(with_signal)
            self.assertStays(2)
        for layer, reply in leases.items():
            self.assertTrue(client.read(reply) == self.layers[layer])
        client.close()
        self.await_leased(0)

    def test_released_on_the_way(self):
        """A client that comes back with one of its layers, because it released the other one."""
        client, leases = self.client_of("b.0", "b.1")
        self.daemon.process.send_signal(signal.SIGSTOP)
        client.send_call("Release", {"lease": leases["b.0"]["lease"]}, oneway=True)
        self.daemon.restart()
        again, taken = self.client_of("b.1", fill=leases["b.1"]["fill"])
        self.assertStays(2)
        client.close()
        self.await_leased(1)
        self.assertTrue(again.read(taken["b.1"]) == self.layers["b.1"])
        again.close()
        self.await_leased(0)

    def test_of_other_clients(self):
        """Leases of a client without views wait for lease-grace, also on a layer that is leased for
        a view, too."""
        client, _ = self.client_of("b.0", "b.1")
        other, leases = self.client_of("b.1", "b.2", is_view=False)
        self.daemon.end()
        client.close()
        other.close()
        self.daemon.start_again()
        self.await_leased(2)
        self.assertStays(2)
        busy = self.assertVarlinkError("Busy", self.daemon.call, "UnloadModel", model="m")
        self.assertEqual({lease["layer"] for lease in busy["leases"]}, {"b.1", "b.2"})


class Library(ViewTestCase):
    """Programs that read views."""

    def settled(self):
        """The arena's figure is in whole pages."""
        held = sum(view["heldBytes"] for view in self.daemon.call("Views")["views"])
        return 0 <= self.leased_bytes() - held < MIB / 2

    def leased_bytes(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def read(self, process, n_bytes):
        process.stdin.write(b"%d\n" % n_bytes)
        process.stdin.flush()

    def test_calls_on_the_way(self):
        """Releases and Acquires that a daemon gets but never reads."""
        self.serve(restarts=True, lease_grace=GRACE)
        process = self.reader("command")
        for _ in range(4):
            self.read(process, 3 * MIB)
            wait_until(lambda: self.leased_bytes() > 0, "leases")
            self.daemon.process.send_signal(signal.SIGSTOP)
            self.read(process, 2 * MIB)
            time.sleep(0.3)  # for what it releases
            self.daemon.end()
            self.daemon.start_again()
            wait_until(self.settled, "only the view's leases to be left")
        process.stdin.close()
        self.assertRight(process)
        wait_until(lambda: self.leased_bytes() == 0, "leases to end")
        self.assertUnharmed()


if __name__ == "__main__":
    unittest.main()
