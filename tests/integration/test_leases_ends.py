"""Leases end with their connection, however it ends: its process is killed while calls are pending,
a child has inherited it, or it is half-closed. Nothing remains."""
import ctypes
import mmap
import os
import random
import signal
import socket
import struct
import time
import unittest

import wire
from harness import MIB, TIMEOUT, sized_model, wait_until
from leasing import Leaser, LeaseTestCase, Process, chosen_seed, hold
from machine import needs_root

KIB = 1 << 10
SYS_CLONE3 = 435  # on every architecture


def hand_over(pipe, daemon):
    """A client process that gives its connection to the test and ends."""
    with Leaser(daemon) as client:
        client.call("List")
        socket.send_fds(pipe.socket, [b"x"], [client.socket.fileno()])


def process_with_pid(pid):
    """A child with that pid, which does nothing (clone3(2))."""
    wanted = ctypes.c_int(pid)
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    libc = ctypes.PyDLL(None, use_errno=True)
    made = libc.syscall(SYS_CLONE3, arguments, len(arguments))
    if made == 0:
        while True:
            libc.pause()
    if made < 0:
        raise unittest.SkipTest("cannot choose a pid: " + os.strerror(ctypes.get_errno()))
    return made


def end_process(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Tally:
    """A number for each of several processes. Only that process writes it, and all can read it."""

    def __init__(self, n):
        self.memory = mmap.mmap(-1, 8 * n)
        self.numbers = memoryview(self.memory).cast("Q")

    def __getitem__(self, i):
        return self.numbers[i]

    def __setitem__(self, i, value):
        self.numbers[i] = value

    def total(self):
        return sum(self.numbers)


def churn(pipe, daemon, n_layers, seed, tally, i):
    """A client process that leases and releases for ever, several calls at a time, and counts the
    pairs."""
    rng, leases = random.Random(seed), []
    with Leaser(daemon) as client:
        while True:
            methods = []
            for _ in range(rng.randrange(1, 6)):
                if leases and (rng.random() < 0.5 or len(leases) > 3):
                    client.send_call("Release", {"lease": leases.pop()})
                    methods.append("Release")
                else:
                    wait = {"waitUsec": rng.randrange(1, 20_000)} if rng.random() < 0.2 else {}
                    layer = "l%d" % rng.randrange(n_layers)
                    client.send_call("Acquire", dict(wait, model="m", layer=layer))
                    methods.append("Acquire")
            for method in methods:
                try:
                    if method == "Acquire":
                        leases.append(client.leased_reply()["lease"])
                    else:
                        client.result("Release")
                        tally[i] += 1
                except wire.VarlinkError as refused:
                    assert refused.error == "Busy", refused


class Killed(LeaseTestCase):
    CLIENTS, PAIRS, KILLS, LAYERS = 32, 10_000, 250, 48

    def test_at_random_moments(self):
        seed = chosen_seed()
        rng = random.Random(seed)
        daemon = self.daemon = self.start(capacity="8M", policy="lru", log_level="warning",
                                          max_connections_per_user=self.CLIENTS + 8)
        sizes = [rng.randrange(1, 400 * KIB) for _ in range(self.LAYERS)]
        daemon.call("LoadModel", definition=sized_model("m", *sizes))
        n_fds = daemon.n_fds_at_rest()
        tally = Tally(self.CLIENTS + self.KILLS)

        def start(i):
            return Process(self, churn, daemon, self.LAYERS, seed + i, tally, i)

        with self.subTest(seed=seed):
            clients = [start(i) for i in range(self.CLIENTS)]
            for n in range(self.KILLS):
                pairs = n * self.PAIRS // self.KILLS
                wait_until(lambda: tally.total() >= pairs or self.ended(clients), "pairs")
                victim = clients.pop(rng.randrange(len(clients)))
                self.assertIsNone(self.ended([victim]), "ended by itself")
                victim.kill()
                clients.append(start(self.CLIENTS + n))
            wait_until(lambda: tally.total() >= self.PAIRS or self.ended(clients), "pairs")
            self.assertIsNone(self.ended(clients), "ended by itself")
            for client in clients:  # all at once
                os.kill(client.pid, signal.SIGKILL)
            for client in clients:
                self.assertEqual(client.wait(), -signal.SIGKILL)
            self.assertNothingLeft(n_fds)
            self.assertEqual(daemon.stats()["control"]["connections"], 1)

    @staticmethod
    def ended(clients):
        """The first process that has ended without a request."""
        for client in clients:
            if os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return client
        return None


def bequeath(pipe, daemon):
    """A client process that leases a layer and forks a child, which inherits the connection and
    stays."""
    client = Leaser(daemon)
    client.lease(model="m", layer="l0")
    child = os.fork()
    if child:
        pipe.say(child)
        signal.pause()
    pipe.hear()
    pipe.say(client.call("List")["total"])  # the child has the connection, too
    pipe.hear()
    os._exit(0)


class HeldOpen(LeaseTestCase):
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB, 4 * MIB))
        self.n_fds = self.daemon.n_fds_at_rest()

    def assertHeld(self, pid):
        for _ in range(3):
            busy = self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m",
                                           layer="l0")
            self.assertHolders(busy, pid, ["l0"])

    def test_by_a_child_that_inherited_it(self):
        """A connection belongs to the process that made it, so its leases end when that process
        dies."""
        client = Process(self, bequeath, self.daemon)
        child = client.hear()
        self.assertHeld(client.pid)
        client.kill()
        self.assertNothingLeft(self.n_fds)
        os.kill(child, 0)  # the child is still there, and so is its copy of the socket
        self.assertIn("process %d has ended, but another process" % client.pid,
                      self.daemon.read_log())
        os.kill(child, signal.SIGKILL)

    @needs_root  # which may choose a pid
    def test_by_a_process_that_has_its_pid_now(self):
        """The process that made the connection has ended; a later one with its number does not
        count."""
        client = Process(self, hand_over, self.daemon)
        _, fds, _, _ = socket.recv_fds(client.socket, 1, 1)
        client.end()
        connection = socket.socket(fileno=fds[0])
        connection.settimeout(TIMEOUT)
        self.addCleanup(connection.close)
        self.addCleanup(end_process, process_with_pid(client.pid))
        connection.sendall(b'{"method":"io.edgemind.manager.Acquire",'
                           b'"parameters":{"model":"m","layer":"l0"}}\0')
        self.assertIn(b'"lease"', connection.recv(1 << 16))
        self.assertNothingLeft(self.n_fds)

    def test_not_by_a_child_that_ends(self):
        """Only the process that made the connection counts."""
        client = self.client()
        client.lease(model="m", layer="l0")
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(1.5)
        self.assertHeld(os.getpid())
        client.close()
        self.assertNothingLeft(self.n_fds)

    def test_by_a_descriptor_in_flight(self):
        """A socket that was sent to another process but not received yet counts as open, and is
        closed with its queue."""
        left, right = socket.socketpair()
        with self.client() as client:
            client.lease(model="m", layer="l0")
            socket.send_fds(left, [b"x"], [client.socket.fileno()])
        self.assertHeld(os.getpid())
        left.close()
        right.close()
        self.assertNothingLeft(self.n_fds)

    def test_half_closed(self):
        """No more calls: the leases end as soon as the calls before are answered."""
        client = self.client()
        client.lease(model="m", layer="l0")
        client.send_call("Acquire", {"model": "m", "layer": "l1"})
        client.send_call("Acquire", {"model": "m", "layer": "none"})
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(client.leased_reply()["layer"], "l1")
        self.assertVarlinkError("NotFound", client.result, "Acquire")
        self.assertTrue(client.at_end())
        self.assertNothingLeft(self.n_fds)

    def test_half_closed_while_it_waits(self):
        """It is still served; only then the lease ends."""
        holder = Process(self, hold, self.daemon, [("m", "l2")])
        holder.hear()
        client = self.client()
        self.send_waiting(client, "m", "l0")
        self.send_waiting(self.client(), "m", "l1")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertNoReply(client)
        self.assertEqual(self.waiting(), 2)
        holder.say()
        self.assertEqual(client.leased_reply()["layer"], "l0")
        self.assertTrue(client.at_end())
        wait_until(lambda: len(self.resident("m")) == 2, "both layers")
        holder.kill()

    def test_the_daemon_ends(self):
        """With leases, waits and runs: cleanly."""
        holder, waiter, runner = self.client(), self.client(), self.client()
        holder.lease(model="m", layer="l2")
        run = runner.call("BeginRun", model="m")["run"]
        runner.send_call("Next", {"run": run, "waitUsec": 60_000_000})
        self.wait_for_waiting(1)
        self.send_waiting(waiter, "m", "l1")
        self.daemon.stop()
        for client in (holder, waiter, runner):
            self.assertTrue(client.at_end())
        holder.close()


if __name__ == "__main__":
    unittest.main()
