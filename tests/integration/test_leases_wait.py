"""waitUsec: which calls wait, for how long, in which order they are served, and what remains of a wait.

The daemon reports how many calls wait, so no test guesses when a call has arrived. Times are checked only
against lower bounds.
"""
import os
import signal
import time
import unittest

import wire
from harness import MIB, NOBODY, group_of, needs_root, sized_model, wait_until
from leasing import POLICIES, WAIT_MAX, Leaser, LeaseTestCase, Process, hold

INVALID = "org.varlink.service.InvalidParameter"


class WaitTestCase(LeaseTestCase):
    """Model m: each of l0 to l5 needs the whole arena. Model s: each of l0 to l3 a quarter."""
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        with self.client() as client:
            client.call("LoadModel", definition=sized_model("m", *[4 * MIB] * 6))
            client.call("LoadModel", definition=sized_model("s", *[MIB] * 4))
            client.call("Reset")
        self.n_fds = self.daemon.n_fds_at_rest()

    def holder(self, *layers):
        """A process that has leased these layers."""
        process = Process(self, hold, self.daemon, layers or [("m", "l0")])
        process.hear()
        return process

    def waiter(self, model, layer, usec=WAIT_MAX):
        client = self.client()
        self.send_waiting(client, model, layer, usec)
        return client

    def assertServedInOrder(self, *clients):
        """Each client is served while those after it wait. When it hangs up, the next one is
        served."""
        for i, client in enumerate(clients):
            client.leased_reply()
            self.assertNoReply(*clients[i + 1:])
            self.assertEqual(self.waiting(), len(clients) - i - 1)
            client.close()


class Deadline(WaitTestCase):
    def test_busy_at_the_deadline(self):
        holder = self.holder()
        for usec in (1, 1000, 300_000):
            before = time.monotonic()
            busy = self.assertVarlinkError("Busy", self.daemon.call, "Acquire", model="m",
                                           layer="l1", waitUsec=usec)
            self.assertGreaterEqual(time.monotonic() - before, usec / 1e6)
            self.assertHolders(busy, holder.pid, ["l0"])
        self.assertEqual(self.waiting(), 0)
        holder.kill()
        self.assertNothingLeft(self.n_fds)

    def test_each_has_its_own(self):
        """The wait of a later call may end earlier."""
        holder = self.holder()
        patient = self.waiter("m", "l1")
        self.assertVarlinkError("Busy", self.client().call, "Acquire", model="m", layer="l2",
                                waitUsec=10_000)
        self.assertNoReply(patient)
        holder.say()
        self.assertEqual(patient.leased_reply()["layer"], "l1")

    def test_no_wait(self):
        """Without waitUsec, or with none to spend, the answer comes at once."""
        self.holder()
        for parameters in ({}, {"waitUsec": 0}, {"waitUsec": None}):
            self.assertVarlinkError("Busy", self.daemon.call, "Acquire",
                                    dict(parameters, model="m", layer="l1"))

    def test_what_is_no_time(self):
        self.holder()
        for usec in (WAIT_MAX + 1, 1 << 62, (1 << 63) - 1, -1, -WAIT_MAX, 1.5, "1", True, [1], {}):
            with self.subTest(usec=usec):
                found = self.assertVarlinkError(INVALID, self.daemon.call, "Acquire", model="m",
                                                layer="l1", waitUsec=usec)
                self.assertEqual(found, {"parameter": "waitUsec"})
        # The most there may be is taken.
        self.waiter("m", "l1", WAIT_MAX)

    def test_what_cannot_be_waited_for(self):
        self.holder()
        for model, layer in (("none", "l0"), ("m", "none")):
            self.assertVarlinkError("NotFound", self.daemon.call, "Acquire", model=model,
                                    layer=layer, waitUsec=WAIT_MAX)


class Served(WaitTestCase):
    def test_when_the_holder_releases(self):
        holder = self.holder()
        waiter = self.waiter("m", "l1")
        self.assertNoReply(waiter)
        holder.say()
        self.assertEqual(waiter.leased_reply()["layer"], "l1")
        self.assertEqual(self.resident("m"), {"l1"})
        holder.kill()

    def test_when_the_holder_is_killed(self):
        holder = self.holder()
        waiter = self.waiter("m", "l1")
        holder.kill()
        self.assertEqual(waiter.leased_reply()["layer"], "l1")
        waiter.close()
        self.assertNothingLeft(self.n_fds)

    def test_with_the_right_bytes(self):
        layers = self.load_weights("w", [3 * MIB + 1, 3 * MIB])
        holder = self.holder(("w", "b.0"))
        waiter = self.waiter("w", "b.1")
        holder.say()
        self.assertEqual(waiter.read(waiter.leased_reply()), layers["b.1"])
        holder.kill()

    def test_not_before_enough_is_free(self):
        holder = self.holder(*[("s", "l%d" % i) for i in range(4)])
        waiter = self.waiter("m", "l1")
        for _ in range(3):
            holder.say()
            holder.hear()
            self.assertNoReply(waiter)
        holder.say()
        waiter.leased_reply()
        holder.kill()

    def test_in_the_order_of_the_calls(self):
        holder = self.holder()
        waiters = [self.waiter("m", "l%d" % i) for i in (3, 1, 5, 2, 4)]
        self.assertNoReply(*waiters)
        holder.say()
        self.assertServedInOrder(*waiters)
        holder.kill()
        self.assertNothingLeft(self.n_fds)

    def test_all_for_whom_there_is_room(self):
        holder = self.holder()
        waiters = [self.waiter("s", "l%d" % i) for i in range(4)]
        holder.say()
        self.assertEqual([w.leased_reply()["layer"] for w in waiters], ["l0", "l1", "l2", "l3"])
        holder.kill()

    def test_for_the_same_layer(self):
        """One load serves all calls that wait for it."""
        holder = self.holder()
        waiters = [self.waiter("m", "l1") for _ in range(5)]
        before = self.daemon.stats()["scheduler"]["bytesLoaded"]
        holder.say()
        replies = [waiter.leased_reply() for waiter in waiters]
        self.assertEqual(len({str(reply["segments"]) for reply in replies}), 1)
        self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], before + 4 * MIB)
        holder.kill()

    def test_a_hit_is_never_queued(self):
        holder = self.holder()
        waiter = self.waiter("m", "l1")
        for parameters in ({}, {"waitUsec": 0}, {"waitUsec": WAIT_MAX}):
            client = self.client()
            client.lease(model="m", layer="l0", **parameters)
            client.close()
        self.assertNoReply(waiter)
        self.assertEqual(self.waiting(), 1)
        holder.kill()
        waiter.leased_reply()

    def test_behind_a_load(self):
        """A layer that is being loaded cannot be evicted, like a leased one."""
        self.daemon.stop()
        daemon = self.daemon = self.start(capacity="96M")
        daemon.call("LoadModel", definition=sized_model("m", 90 * MIB, 90 * MIB))
        daemon.call("Reset")
        first, second = self.client(), self.client()
        daemon.process.send_signal(signal.SIGSTOP)
        try:  # both arrive before either is done
            for client, layer in ((first, "l0"), (second, "l1")):
                client.send_call("Acquire", {"model": "m", "layer": layer, "waitUsec": WAIT_MAX})
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        wait_until(lambda: first.readable() or second.readable(), "one of them")
        served, other = (first, second) if first.readable() else (second, first)
        served.leased_reply()
        self.assertNoReply(other)
        served.close()
        other.leased_reply()


@needs_root
class Ranks(LeaseTestCase):
    def test_administrators_first(self):
        """Root that comes last is served before the members who wait; they keep their order."""
        group, gid = group_of()
        self.daemon = self.start(capacity="4M", socket_group=group)
        self.daemon.call("LoadModel", definition=sized_model("m", *[4 * MIB] * 6))
        holder = Process(self, hold, self.daemon, [("m", "l0")])
        holder.hear()
        members = []
        for i in (1, 2):
            members.append(Process(self, wait_in_line, self.daemon, "l%d" % i, user=NOBODY,
                                   groups=[gid]))
            self.wait_for_waiting(i)
        roots = [self.client() for _ in range(2)]
        for i, client in enumerate(roots):
            self.send_waiting(client, "m", "l%d" % (3 + i))
        holder.kill()
        for i, client in enumerate(roots):
            client.leased_reply()
            self.assertNoReply(*roots[i + 1:])
            self.assertEqual(self.waiting(), 3 - i)
            self.assertFalse(any(member.spoken_to() for member in members))
            client.close()
        members[0].hear()
        self.assertEqual(self.waiting(), 1)
        self.assertFalse(members[1].spoken_to())
        members[0].kill()
        members[1].hear()
        members[1].kill()


def wait_in_line(pipe, daemon, layer):
    """A client process that waits for a layer, says that it has it, and keeps it."""
    with Leaser(daemon) as client:
        client.lease(model="m", layer=layer, waitUsec=WAIT_MAX)
        pipe.say()
        pipe.hear()


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
