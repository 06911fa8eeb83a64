"""Replies that no client reads: the daemon's memory for them is bounded for all peers together, and
a peer with few unread replies is always served."""
import json
import os
import select
import time
import unittest

import wire
from harness import MIB, TestCase, memory_file, sanitized, wait_until
from machine import NOBODY, needs_root

# Of overhead-limit's 64M a sixteenth is for what waits to be read; one user gets half of that, and
# 32 connections may each have half of a message with the daemon.
ONE_USER_MAX = 2 * MIB + 32 * 72 * 1024 + 4 * MIB
# One such definition takes 58 MiB while it is parsed; the other may be a text and a plan.
OVERHEAD_LIMIT = 64 * MIB
ALL_MAX = 4 * MIB + 4 * MIB


@needs_root  # one user's replies that nobody reads stop that user's other calls
class Unread(TestCase):
    options = {"max_connections": 320, "max_connections_per_user": 300}

    def setUp(self):
        super().setUp()
        layers = [{"name": "l%d" % i, "bytes": 4096} for i in range(100)]
        self.daemon.load(json.dumps({"name": "m", "layers": layers}))
        self.before = self.daemon.overhead_bytes()

    def assertBounded(self, most):
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes() - self.before, most)

    def fill(self, connections, data):
        """Sends copies of `data` on each connection until the daemon reads no more for a while."""
        for c in connections:
            c.socket.setblocking(False)
        n_sent, last = 0, time.monotonic()
        while time.monotonic() < last + 0.5:
            for c in select.select([], connections, [], 0.1)[1]:
                try:
                    n_sent += c.socket.send(data)
                    last = time.monotonic()
                except BlockingIOError:
                    pass
            self.assertLess(n_sent, 1 << 30, "the daemon reads on while nobody reads its replies")
        return n_sent

    def fill_as(self, user, call):
        connections = [self.connect_as(user) for _ in range(32)]
        for c in connections:
            c.fileno = c.socket.fileno
        self.fill(connections, (json.dumps(call).encode() + b"\0") * 50)
        return connections

    def test_lists(self):
        """Short replies, each of which takes more memory than its text, and long replies."""
        method = wire.qualified("List")
        for number, parameters in enumerate(({}, {"model": "m"})):
            self.fill_as(NOBODY - number, {"method": method, "parameters": parameters})
            self.assertBounded(ONE_USER_MAX * (number + 1))
            self.daemon.stats()
        with self.connect_as(NOBODY - 2) as other:
            self.assertEqual(len(other.call("List", model="m")["layers"]), 100)

    def test_nothing_is_lost(self):
        """A client that reads late gets all replies."""
        connection = self.fill_as(NOBODY, {"method": wire.qualified("List")})[0]
        connection.socket.settimeout(20)
        for _ in range(500):
            self.assertEqual(connection.reply("List")["parameters"]["total"], 1)

    def test_watchers(self):
        """Watchers miss events when their user has too many unread replies, and learn this when
        they read."""
        watchers = [self.connect_as(NOBODY - i % 2) for i in range(240)]
        for c in watchers:
            c.send_call("Watch", more=True)
        with self.daemon.connect() as root:
            for i in range(1000):
                root.call("SetPolicy", policy="lru" if i % 2 else "flush-all")
        self.assertBounded(ALL_MAX)
        for c in watchers[:2]:
            reply = c.reply("Watch")
            while reply.get("continues"):
                reply = c.reply("Watch")
            self.assertGreater(reply["parameters"]["missed"], 0)

    def test_parsing(self):
        """Two users' definitions of 100,000 layers are parsed one after the other."""
        text = json.dumps({"name": "large", "layers": [
            {"name": "l%d" % i, "bytes": 4096} for i in range(99999)]})
        with memory_file(text) as file:
            for _ in range(3):
                planning = [self.connect_as(NOBODY - i) for i in range(2)]
                for c in planning:
                    c.send_call("Plan", {"definitionFileDescriptor": 0}, [file.fileno()])
                for c in planning:
                    self.assertEqual(c.reply("Plan")["parameters"]["stepsTotal"], 99999)
        status = self.daemon.status()
        if not sanitized():
            self.assertLess(status["VmHWM"] - status["RssShmem"], OVERHEAD_LIMIT)

    def test_hung_up(self):
        """The daemon closes the connection of a client that reads too slowly, and the journal names
        its user."""
        connection = self.fill_as(NOBODY, {"method": wire.qualified("List"),
                                           "parameters": {"model": "m"}})[0]
        start = time.monotonic()
        connection.socket.settimeout(1)
        while time.monotonic() < start + 40:
            try:
                if not connection.socket.recv(4096):
                    break
            except (TimeoutError, ConnectionResetError):
                pass
            if "of user %d" % NOBODY in self.daemon.read_log():
                break
            time.sleep(0.5)
        wait_until(lambda: "hung up on process %d of user" % os.getpid() in self.daemon.read_log(),
                   "a line in the log")
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == 1, "all hung up on")
        self.assertBounded(4 * MIB)


if __name__ == "__main__":
    unittest.main()
