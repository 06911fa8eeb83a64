"""A client that leases everything and sleeps: the others are told who it is, and the daemon lives
on."""
import os
import pwd
import unittest

from harness import MIB, NOBODY, group_of, needs_root, sized_model
from leasing import LeaseTestCase, Process, hold

UNNAMED = 54321  # a user without an entry


def sleeper(test, layers, **other_user):
    """A process that has leased these layers of m."""
    process = Process(test, hold, test.daemon, [("m", layer) for layer in layers], **other_user)
    process.hear()
    return process


class Sleeper(LeaseTestCase):
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", *[MIB] * 4))
        self.all = ["l%d" % i for i in range(4)]

    def refusals(self):
        """What every method that needs room or takes something away is told."""
        yield self.assertVarlinkError("Busy", self.daemon.call, "LoadModel",
                                      definition=sized_model("n", 1))
        for method, parameters in (("LoadLayer", {"model": "n", "layer": "l0"}),
                                   ("Acquire", {"model": "n", "layer": "l0"}),
                                   ("Acquire", {"model": "n", "layer": "l0", "waitUsec": 0}),
                                   ("UnloadLayer", {"model": "m", "layer": "l2"}),
                                   ("UnloadModel", {"model": "m"}), ("Reset", {})):
            yield self.assertVarlinkError("Busy", self.daemon.call, method, parameters)

    def test_everybody_else_is_told(self):
        holder = sleeper(self, self.all)
        user = pwd.getpwuid(os.getuid()).pw_name
        for busy in self.refusals():
            self.assertHolders(busy, holder.pid, self.all)
            self.assertEqual({lease["user"] for lease in busy["leases"]}, {user})
            self.assertEqual({lease["model"] for lease in busy["leases"]}, {"m"})
            self.assertEqual({lease["bytes"] for lease in busy["leases"]}, {MIB})
        # What it holds can still be shared.
        client = self.client()
        for layer in self.all:
            client.lease(model="m", layer=layer)
        client.close()
        self.assertUnharmed()
        holder.kill()
        self.client().lease(model="n", layer="l0")

    def test_only_what_is_held_stands_in_the_way(self):
        holder = sleeper(self, ["l1", "l3"])
        self.daemon.call("LoadModel", definition=sized_model("half", 2 * MIB))
        self.assertVarlinkError("Busy", self.daemon.call, "LoadModel",
                                definition=sized_model("more", 2 * MIB + 1))
        self.assertHolders(self.assertVarlinkError("Busy", self.daemon.call, "Reset"), holder.pid,
                           ["l1", "l3"])
        holder.kill()

    def test_a_thousand_leases(self):
        """More than a reply tells one by one."""
        with self.client() as client:
            for _ in range(1500):
                client.send_call("Acquire", {"model": "m", "layer": "l0"})
            for _ in range(1500):
                client.leased_reply()
            busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
            self.assertEqual((len(busy["leases"]), busy["leasesTotal"]), (1000, 1500))


@needs_root
class OtherUsers(LeaseTestCase):
    def test_are_named(self):
        group, gid = group_of()
        self.daemon = self.start(capacity="4M", socket_group=group)
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        named = sleeper(self, ["l0"], user=NOBODY, groups=[gid])
        unnamed = sleeper(self, ["l1"], user=UNNAMED, groups=[gid])
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        self.assertEqual({(lease["layer"], lease["user"], lease["pid"])
                          for lease in busy["leases"]},
                         {("l0", pwd.getpwuid(NOBODY).pw_name, named.pid),
                          ("l1", str(UNNAMED), unnamed.pid)})
        for process in (named, unnamed):
            process.kill()


if __name__ == "__main__":
    unittest.main()
