"""waitUsec: which calls wait, for how long, and in which order they are served.

The daemon reports how many calls wait, so no test guesses when a call has arrived. Times are checked only
against lower bounds.
"""
import signal
import time
import unittest

from harness import MIB, sized_model, wait_until
from leasing import WAIT_MAX, LeaseTestCase, Process, WaitTestCase, hold, wait_in_line
from machine import NOBODY, group_of, needs_root

INVALID = "org.varlink.service.InvalidParameter"


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


if __name__ == "__main__":
    unittest.main()
