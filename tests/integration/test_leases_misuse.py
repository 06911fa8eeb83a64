"""Leases of other connections, leases that do not exist, and too many leases."""
import os
import resource
import threading
import unittest

import wire
from harness import sized_model
from leasing import Leaser, LeaseTestCase, Process
from machine import NOBODY, group_of, needs_root

INVALID = "org.varlink.service.InvalidParameter"
DENIED = "org.varlink.service.PermissionDenied"
OF_A_CONNECTION, OF_A_USER = 4096, 65536


class Release(LeaseTestCase):
    options = {"capacity": "1M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", 1, 1, 1))
        self.holder = self.client()
        self.lease = self.holder.lease(model="m", layer="l0")["lease"]

    def assertNoLease(self, client, name):
        found = self.assertVarlinkError("NotFound", client.call, "Release", lease=name)
        self.assertEqual(found, {"kind": "lease", "name": name})

    def assertStillHeld(self):
        self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m", layer="l0")

    def test_somebody_elses(self):
        for has_some in (False, True):
            other = self.client()
            if has_some:
                other.lease(model="m", layer="l0")
            self.assertNoLease(other, self.lease)
            other.close()
        self.assertStillHeld()

    def test_twice(self):
        self.holder.call("Release", lease=self.lease)
        self.assertNoLease(self.holder, self.lease)
        # An old name never becomes the name of a new lease.
        for layer in ("l0", "l1", "l0"):
            self.holder.lease(model="m", layer=layer)
            self.assertNoLease(self.holder, self.lease)

    def test_names_that_never_were(self):
        for name in ("", "0", "-1", "-" + self.lease, "+" + self.lease, " " + self.lease,
                     self.lease + " ", self.lease + "x", "0" + self.lease, "0x1", "1e0",
                     self.lease + ".0", str(int(self.lease) + 1), str((1 << 64) + int(self.lease)),
                     str((1 << 64) - 1), "9" * 1000, "lease", "\u0661", "m/l0"):
            with self.subTest(name=name[:30]):
                self.assertNoLease(self.holder, name)
        self.assertStillHeld()

    def test_what_is_no_name(self):
        for parameters in ({}, {"lease": None}, {"lease": int(self.lease)},
                           {"lease": [self.lease]}, {"lease": {}}, {"lease": True},
                           {"lease": self.lease, "model": "m"}):
            with self.subTest(parameters=parameters):
                self.assertVarlinkError(INVALID, self.holder.call, "Release", parameters)
        self.assertStillHeld()


class Descriptors(LeaseTestCase):
    options = {"capacity": "1M"}

    def test_none_left_for_the_arena(self):
        """Refused with an error; the connection, and what it holds, stay."""
        pid = self.daemon.process.pid
        self.daemon.call("LoadModel", definition=sized_model("m", 1, 1))
        holder, other = self.client(), self.client()
        held = holder.lease(model="m", layer="l0")
        other.call("BeginRun", model="m")
        taken = sorted(int(name) for name in os.listdir("/proc/%d/fd" % pid))
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Descriptors below the limit are numbered from the lowest free one on.
        first_free = next(n for n in range(len(taken) + 1) if n >= len(taken) or taken[n] != n)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free, hard))
        failure = self.assertVarlinkError("IOFailed", other.call, "Acquire", model="m", layer="l1")
        self.assertEqual(failure["errnoName"], "EMFILE")
        self.assertEqual(holder.read(held), bytes(1))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        again = other.lease(model="m", layer="l1")
        self.assertEqual(other.read(again), bytes(1))
        holder.release(held)


class Acquire(LeaseTestCase):
    options = {"capacity": "1M"}

    def test_what_does_not_exist(self):
        self.daemon.call("LoadModel", definition=sized_model("m", 1))
        client = self.client()
        for model, layer, kind, name in (("none", "l0", "model", "none"), ("", "l0", "model", ""),
                                         ("m", "l1", "layer", "l1"), ("m", "", "layer", ""),
                                         ("m", "L0", "layer", "L0")):
            found = self.assertVarlinkError("NotFound", client.call, "Acquire", model=model,
                                            layer=layer)
            self.assertEqual(found, {"kind": kind, "name": name})
        client.lease(model="m", layer="l0")
        client.close()
        self.daemon.call("UnloadModel", model="m")
        self.assertVarlinkError("NotFound", self.daemon.call, "Acquire", model="m", layer="l0")

    def test_parameters(self):
        self.daemon.call("LoadModel", definition=sized_model("m", 1))
        for parameters in ({}, {"model": "m"}, {"layer": "l0"}, {"model": "m", "layer": 0},
                           {"model": None, "layer": "l0"}, {"model": ["m"], "layer": "l0"},
                           {"model": "m", "layer": "l0", "onFull": "evict"}):
            with self.subTest(parameters=parameters):
                self.assertVarlinkError(INVALID, self.daemon.call, "Acquire", parameters)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    def test_oneway(self):
        """If a reply is never sent, its lease ends with the connection. The descriptor then comes
        with the next reply."""
        self.daemon.call("LoadModel", definition=sized_model("m", 1, 1))
        n_fds = self.daemon.n_fds_at_rest()
        client = self.client()
        client.send_call("Acquire", {"model": "m", "layer": "l0"}, oneway=True)
        client.send_call("Acquire", {"model": "m", "layer": "l1"})
        reply = client.result("Acquire")
        self.assertEqual((reply["layer"], reply.get("arenaFileDescriptor")), ("l1", 0))
        self.assertEqual(len(client.fds), 1)
        client.close()
        self.assertNothingLeft(n_fds)


    def test_oneway_release(self):
        """Thousands of releases in a row, some of them twice or for leases of others: none is
        answered, each wrong one counts as an error, and the calls after them get their own
        answers."""
        self.daemon.call("LoadModel", definition=sized_model("m", 1, 1))
        client, other = self.client(), self.client()
        names = take(client, OF_A_CONNECTION)
        others = other.lease(model="m", layer="l1")["lease"]
        errors = self.daemon.stats()["control"]["errors"]
        for name in names:
            client.send_call("Release", {"lease": name}, oneway=True)
        for name in (names[7], others, "no", ""):
            client.send_call("Release", {"lease": name}, oneway=True)
        client.send_call("Release", {"lease": 1}, oneway=True)
        self.assertEqual(client.call("Stats")["control"]["errors"], errors + 5)
        footprint = self.footprint("m")["l1"]
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], footprint)
        other.call("Release", lease=others)


class Limits(LeaseTestCase):
    options = {"capacity": "1M", "log_level": "warning"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", 1, 1))
        self.n_fds = self.daemon.n_fds_at_rest()

    def assertLimit(self, client, maximum):
        found = self.assertVarlinkError("LimitExceeded", client.call, "Acquire", model="m",
                                        layer="l0")
        self.assertEqual(found["maximum"], maximum)
        self.assertIn("lease", found["limit"])

    def test_of_a_connection(self):
        client = self.client()
        names = take(client, OF_A_CONNECTION)
        self.assertLimit(client, OF_A_CONNECTION)
        client.call("Release", lease=names[1234])
        client.lease(model="m", layer="l1")
        self.assertLimit(client, OF_A_CONNECTION)
        other = self.client()  # has a limit of its own
        other.lease(model="m", layer="l0")
        for one in (client, other):
            one.close()
        self.assertNothingLeft(self.n_fds)

    def test_of_a_user(self):
        clients = [self.client() for _ in range(OF_A_USER // OF_A_CONNECTION)]
        names = [take(client, OF_A_CONNECTION) for client in clients]
        last = self.client()
        self.assertLimit(last, OF_A_USER)
        self.assertEqual(len(set().union(*names)), OF_A_USER)
        for name in names[0][:3]:
            clients[0].call("Release", lease=name)
        take(last, 3)
        self.assertLimit(last, OF_A_USER)
        self.assertLimit(clients[0], OF_A_USER)
        for client in clients + [last]:
            client.close()
        self.assertNothingLeft(self.n_fds)


@needs_root
class OtherUsers(LeaseTestCase):
    def setUp(self):
        super().setUp()
        group, self.gid = group_of()
        self.daemon = self.start(capacity="1M", socket_group=group)
        self.daemon.call("LoadModel", definition=sized_model("m", 1))

    def test_one_users_leases_are_not_anothers(self):
        clients = [self.client() for _ in range(OF_A_USER // OF_A_CONNECTION)]
        for client in clients:
            take(client, OF_A_CONNECTION)
        member = Process(self, lease_once, self.daemon, user=NOBODY, groups=[self.gid])
        self.assertEqual(member.hear(), "l0")
        member.end()

    def test_strangers(self):
        """A user who may connect only because of the socket's mode may not lease."""
        self.daemon.socket.chmod(0o666)
        stranger = Process(self, lease_once, self.daemon, user=NOBODY)
        self.assertEqual(stranger.hear(), DENIED)
        stranger.end()


def lease_once(pipe, daemon):
    """A client process: says which layer it got, or which error."""
    with Leaser(daemon) as client:
        try:
            pipe.say(client.lease(model="m", layer="l0")["layer"])
        except wire.VarlinkError as refused:
            pipe.say(refused.error)


def take(client, n):
    """Leases m's l0 so often, with many calls on the way, and returns the leases' names."""
    call = b'{"method":"io.edgemind.manager.Acquire","parameters":{"model":"m","layer":"l0"}}\0'
    names = [client.lease(model="m", layer="l0")["lease"]]
    sender = threading.Thread(target=client.socket.sendall, args=(call * (n - 1),))
    sender.start()
    for _ in range(n - 1):
        reply = client.receive()
        _, found, rest = reply.partition(b'"lease":"')
        assert found, reply
        names.append(rest[:rest.index(b'"')].decode())
    sender.join()
    return names


if __name__ == "__main__":
    unittest.main()
