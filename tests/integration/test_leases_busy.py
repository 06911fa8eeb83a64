"""A client leases everything and sleeps: the other clients learn who it is, and the daemon
continues."""
import os
import pwd
import time
import unittest

from harness import MIB, sized_model
from leasing import LeaseTestCase, Process, hold
from machine import NOBODY, group_of, needs_root

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
        """The replies to all methods that need room or evict layers."""
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
        for busy in self.refusals():
            self.assertHolders(busy, holder.pid, self.all)
            self.assertEqual({lease["uid"] for lease in busy["leases"]}, {os.getuid()})
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
        """More leases than a reply lists."""
        with self.client() as client:
            for _ in range(1500):
                client.send_call("Acquire", {"model": "m", "layer": "l0"})
            for _ in range(1500):
                client.leased_reply()
            busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
            self.assertEqual((len(busy["leases"]), busy["leasesTotal"]), (1000, 1500))


class Many(LeaseTestCase):
    options = {"capacity": "4M"}

    def test_a_reply_costs_no_more_with_all_leases_of_a_user(self):
        """This once blocked the loop for 36 ms."""
        self.daemon.call("LoadModel", definition=sized_model("m", MIB))
        each, clients = 4096, []
        for _ in range(65536 // each):
            client = self.client()
            clients.append(client)
            for _ in range(each // 64):
                for _ in range(64):
                    client.send_call("Acquire", {"model": "m", "layer": "l0"})
                for _ in range(64):
                    client.leased_reply()
        times = []
        with self.daemon.connect() as c:
            for _ in range(15):
                began = time.monotonic()
                busy = self.assertVarlinkError("Busy", c.call, "Reset")
                times.append(time.monotonic() - began)
            self.assertEqual((len(busy["leases"]), busy["leasesTotal"]), (1000, 65536))
        # Most of it is this test's: it parses and checks a thousand leases.
        print("Busy with 65536 leases: %.1f ms" % (sorted(times)[7] * 1000))
        for client in clients:
            client.close()


@needs_root
class OtherUsers(LeaseTestCase):
    def test_are_named(self):
        group, gid = group_of()
        self.daemon = self.start(capacity="4M", socket_group=group)
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        named = sleeper(self, ["l0"], user=NOBODY, groups=[gid])
        unnamed = sleeper(self, ["l1"], user=UNNAMED, groups=[gid])
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        self.assertEqual({(lease["layer"], lease["uid"], lease["pid"])
                          for lease in busy["leases"]},
                         {("l0", NOBODY, named.pid), ("l1", UNNAMED, unnamed.pid)})
        self.assertEqual({lease["user"] for lease in busy["leases"]},
                         {str(NOBODY), str(UNNAMED)})
        shown = self.daemon.emctl("reset").err  # the client looks the names up
        self.assertIn("held by %s (pid %d)" % (pwd.getpwuid(NOBODY).pw_name, named.pid), shown)
        self.assertIn("held by %s (pid %d)" % (UNNAMED, unnamed.pid), shown)
        for process in (named, unnamed):
            process.kill()


if __name__ == "__main__":
    unittest.main()
