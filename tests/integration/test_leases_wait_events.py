"""waitUsec: other events while a call waits."""
import unittest

import wire
from harness import MIB, sized_model, wait_until
from leasing import POLICIES, WAIT_MAX, Leaser, Process, WaitTestCase, wait_in_line


class Meanwhile(WaitTestCase):
    """Other events while a call waits."""

    def test_hanging_up(self):
        """A client that hangs up leaves nothing, whether it is first in the queue or behind
        others."""
        for leaver in range(3):
            holder = self.holder()
            waiters = [self.waiter("m", "l%d" % (i + 1)) for i in range(3)]
            waiters.pop(leaver).close()
            self.wait_for_waiting(2)
            self.assertNoReply(*waiters)
            holder.kill()
            self.assertServedInOrder(*waiters)
            self.assertNothingLeft(self.n_fds)

    def test_killed_while_waiting(self):
        holder = self.holder()
        waiters = [Process(self, wait_in_line, self.daemon, "l%d" % (i % 6)) for i in range(1, 9)]
        wait_until(lambda: self.waiting() >= 6, "waiting clients")
        for waiter in waiters:
            waiter.kill()
        self.wait_for_waiting(0)
        self.assertEqual(self.resident("m"), {"l0"})
        holder.kill()
        self.assertNothingLeft(self.n_fds)

    def test_a_waiter_that_gives_up_is_passed_over(self):
        holder = self.holder()
        impatient, patient = self.client(), self.client()
        impatient.send_call("Acquire", {"model": "m", "layer": "l1", "waitUsec": 50_000})
        self.daemon.stats()  # it has come, and perhaps given up by now
        patient.send_call("Acquire", {"model": "m", "layer": "l2", "waitUsec": WAIT_MAX})
        self.assertVarlinkError("Busy", impatient.result, "Acquire")
        self.wait_for_waiting(1)
        self.assertNoReply(patient)
        holder.say()
        patient.leased_reply()
        holder.kill()

    def test_the_model_is_unloaded(self):
        """Calls that wait for one of the model's layers get NotFound; other calls keep waiting."""
        holder = self.holder()
        with self.assertRaises(wire.VarlinkError):  # registered, though there is no room
            self.daemon.call("LoadModel", definition=sized_model("n", MIB))
        waiter, other = self.waiter("n", "l0"), self.waiter("m", "l1")
        self.assertVarlinkError("Busy", self.daemon.call, "UnloadModel", model="m")
        self.daemon.call("UnloadModel", model="n")
        found = self.assertVarlinkError("NotFound", waiter.result, "Acquire")
        self.assertEqual(found, {"kind": "model", "name": "n"})
        self.assertNoReply(other)
        self.assertEqual(self.waiting(), 1)
        holder.say()
        other.leased_reply()
        holder.kill()

    def test_loads(self):
        """LoadLayer does not wait: it is refused, or served with the memory that is free."""
        holder = self.holder(("s", "l0"))
        waiter = self.waiter("m", "l1")
        self.assertTrue(self.daemon.call("LoadLayer", model="s", layer="l0")["hit"])
        self.assertVarlinkError("Busy", self.daemon.call, "LoadLayer", model="m", layer="l1")
        self.assertVarlinkError("Busy", self.daemon.call, "LoadLayer", model="m", layer="l2",
                                onFull="ask")
        self.daemon.call("LoadLayer", model="s", layer="l1")
        self.daemon.call("UnloadLayer", model="s", layer="l1")
        self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        self.assertNoReply(waiter)
        holder.say()
        waiter.leased_reply()
        holder.kill()

    def test_the_policy_changes(self):
        holder = self.holder()
        waiters = [self.waiter("m", "l%d" % i) for i in (1, 2)]
        for policy in POLICIES:
            self.daemon.call("SetPolicy", policy=policy, onFull="ask")
        self.assertNoReply(*waiters)
        holder.kill()
        self.assertServedInOrder(*waiters)

    def test_a_crowd(self):
        """All clients wait for each other, and all are served in the end."""
        clients = [Process(self, take_turns, self.daemon, i) for i in range(12)]
        for client in clients:
            self.assertEqual(client.hear(), 30)
            client.end()
        self.assertNothingLeft(self.n_fds)


def take_turns(pipe, daemon, i):
    """A client process that leases the whole arena again and again, and releases it."""
    n = 0
    with Leaser(daemon) as client:
        for turn in range(30):
            reply = client.lease(model="m", layer="l%d" % ((i + turn) % 6), waitUsec=WAIT_MAX)
            client.release(reply)
            n += 1
    pipe.say(n)


if __name__ == "__main__":
    unittest.main()
