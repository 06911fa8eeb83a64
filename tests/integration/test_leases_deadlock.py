"""waitUsec: a call does not wait for layers that only its own connection could release."""
import os
import unittest

import wire
from harness import MIB, sized_model, wait_until
from leasing import WAIT_MAX, WaitTestCase


class Oneself(WaitTestCase):
    """A call does not wait for layers that only its own connection could release."""

    def test_own_leases(self):
        client = self.client()
        client.lease(model="m", layer="l0")
        busy = self.assertVarlinkError("Busy", client.call, "Acquire", model="m", layer="l1",
                                       waitUsec=WAIT_MAX)
        self.assertHolders(busy, os.getpid(), ["l0"])
        # On another connection it is another's.
        waiter = self.waiter("m", "l1")
        client.close()
        waiter.leased_reply()

    def assertBusyOnceReleased(self, layer):
        """Another client holds s.l0, and the client holds a layer of s. The client's call fails at
        once or when the other client releases l0; it does not wait for itself."""
        other = self.holder(("s", "l0"))
        client = self.client()
        client.lease(model="s", layer=layer)
        client.send_call("Acquire", {"model": "m", "layer": "l1", "waitUsec": WAIT_MAX})
        wait_until(lambda: client.readable() or self.waiting() == 1, "the call to arrive")
        other.say()
        busy = self.assertVarlinkError("Busy", client.result, "Acquire")
        self.assertIn(os.getpid(), {lease["pid"] for lease in busy["leases"]})
        other.kill()
        client.close()
        self.assertNothingLeft(self.n_fds)

    def test_when_the_others_have_released(self):
        self.assertBusyOnceReleased("l1")

    def test_a_layer_that_both_hold(self):
        self.assertBusyOnceReleased("l0")

    def test_behind_somebody_whom_they_block(self):
        """No call in the queue can be served until the caller releases layers, and the caller
        itself waits."""
        client = self.client()
        client.lease(model="s", layer="l0")
        first = self.waiter("m", "l1")
        busy = self.assertVarlinkError("Busy", client.call, "Acquire", model="m", layer="l2",
                                       waitUsec=WAIT_MAX)
        self.assertHolders(busy, os.getpid(), ["l0"])
        self.assertNoReply(first)
        client.close()
        first.leased_reply()

    def test_two_who_wait_for_each_other(self):
        """Both get Busy when their time is over."""
        with self.assertRaises(wire.VarlinkError):  # registered, though there is no room
            with self.client() as client:
                client.lease(model="s", layer="l0")
                client.lease(model="s", layer="l1")
                self.daemon.call("LoadModel", definition=sized_model("t", 3 * MIB))
        clients = [self.client(), self.client()]
        for i, client in enumerate(clients):
            client.lease(model="s", layer="l%d" % i)
        for client in clients:
            client.send_call("Acquire", {"model": "t", "layer": "l0", "waitUsec": 100_000})
        for client in clients:
            busy = self.assertVarlinkError("Busy", client.result, "Acquire")
            self.assertHolders(busy, os.getpid(), ["l0", "l1"])
        for client in clients:
            client.close()
        self.assertNothingLeft(self.n_fds)

    def test_one_wait_a_connection(self):
        """Further calls stay in the socket, and are answered in order."""
        holder = self.holder()
        client = self.client()
        self.send_waiting(client, "m", "l1")
        client.send_call("List")
        client.send_call("Acquire", {"model": "m", "layer": "l2", "waitUsec": WAIT_MAX})
        self.assertNoReply(client)
        self.assertEqual(self.waiting(), 1)
        holder.kill()
        self.assertEqual(client.leased_reply()["layer"], "l1")
        self.assertEqual(client.result("List")["total"], 2)
        self.assertVarlinkError("Busy", client.result, "Acquire")  # its own l1 is in the way


if __name__ == "__main__":
    unittest.main()
