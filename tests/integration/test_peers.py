"""Bad peers and too many peers: slow ones, ones that never read, crowds. Memory stays bounded, and
all other clients are served."""
import array
import json
import select
import socket
import time
import unittest

import wire
from harness import MIB, TIMEOUT, sanitized, sized_model, wait_until
from hostile import HostileTestCase
from machine import IS_ROOT


def can_connect(daemon):
    try:
        return daemon.stats()
    except (EOFError, OSError, wire.VarlinkError):
        return None


class Limits(HostileTestCase):
    def test_models(self):
        with self.daemon.connect() as c:
            for i in range(1023):  # with the innocent one: 1,024
                c.call("LoadModel", definition=sized_model("m%d" % i, 1))
            found = self.assertVarlinkError("LimitExceeded", c.call, "LoadModel",
                                            definition=sized_model("m", 1))
            self.assertEqual(found, {"limit": "models", "maximum": 1024})
            for i in range(1023):
                c.call("UnloadModel", model="m%d" % i)

    def test_overhead(self):
        """A daemon that uses more memory beside the arena than overhead-limit refuses new work."""
        daemon = self.start(overhead_limit="1M")
        found = self.assertVarlinkError("LimitExceeded", daemon.call, "LoadModel",
                                        definition=sized_model("m", 1))
        self.assertEqual(found, {"limit": "overhead-limit", "maximum": MIB})
        self.assertUnharmed(daemon)


class Peers(HostileTestCase):
    def test_slow_peers(self):
        """A message may take ten seconds from its first byte to its NUL, even if bytes keep
        coming."""
        call = b'{"method": "io.edgemind.manager.Stats"}' + b" " * 1000
        silent, trickling = self.daemon.connect(), [self.daemon.connect() for _ in range(5)]
        try:
            start = time.monotonic()
            ended, position = set(), 0
            while len(ended) < len(trickling) and time.monotonic() < start + 10 + TIMEOUT:
                for c in set(trickling) - ended:
                    try:
                        c.socket.send(call[position:position + 1])
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                position += 1
                readable, _, _ = select.select(list({c.socket for c in trickling}
                                                    - {c.socket for c in ended}), [], [], 1)
                for c in trickling:
                    if c.socket in readable:
                        self.assertTrue(c.at_end())
                        ended.add(c)
                self.daemon.stats()
            self.assertEqual(len(ended), len(trickling))
            self.assertGreaterEqual(time.monotonic() - start, 9)
            self.assertIn("arena", silent.call("Stats"))  # a peer that has begun no message may stay
        finally:
            for c in [silent, *trickling]:
                c.close()

    def fill(self, connection, data):
        """Sends copies of `data` until the socket accepts no more for a while, or the peer ends."""
        connection.socket.settimeout(0.3)
        try:
            for _ in range(20000):
                connection.socket.sendall(data)
        except (socket.timeout, BrokenPipeError, ConnectionResetError):
            return
        self.fail("the daemon takes whatever comes while nobody reads its replies")

    def test_never_reads(self):
        """Pending output is bounded, and the daemon stops reading meanwhile."""
        call = json.dumps({"method": wire.qualified("Stats")}).encode() + b"\0"
        listing = json.dumps({"method": wire.qualified("List"), "parameters": {"model": "innocent"},
                              "more": True}).encode() + b"\0"
        before = self.daemon.overhead_bytes()
        connections = [self.daemon.connect() for _ in range(4)]
        try:
            for c, data in zip(connections, (call, listing, call * 100, listing * 100)):
                self.fill(c, data)
                self.daemon.stats()
            if not sanitized():
                self.assertLess(self.daemon.overhead_bytes() - before, 24 * MIB)
        finally:
            for c in connections:
                c.close()

    def test_watcher_that_never_reads(self):
        """A slow watcher learns how many events it missed, and is closed; the others get every
        event."""
        deaf = self.daemon.connect()
        try:
            deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.send_call("Watch", more=True)
            with self.daemon.connect() as c:
                c.call("SetPolicy", policy="lru")
                layers = [{"name": "l%d" % i + "x" * 200, "bytes": 1} for i in range(2000)]
                self.daemon.load(json.dumps({"name": "noise", "layers": layers}))
                for _ in range(5):
                    c.call("Reset")
                    c.call("UnloadModel", model="noise")
                    self.daemon.load(json.dumps({"name": "noise", "layers": layers}))
                c.call("UnloadModel", model="noise")
                for layer in ("l0", "l1"):
                    c.call("LoadLayer", model="innocent", layer=layer)
            missed, reply = 0, deaf.reply("Watch")
            while reply is not None and "error" not in reply:
                missed = reply["parameters"]["missed"]
                if not reply.get("continues"):
                    break
                reply = deaf.reply("Watch")
            self.assertGreater(missed, 0)
        finally:
            deaf.close()

    def test_hang_ups(self):
        """At every moment of a call's life."""
        call = json.dumps({"method": wire.qualified("Stats")}).encode() + b"\0"
        for i in range(0, len(call) + 1, 3):
            self.hang_up(call[:i])
        for _ in range(100):
            self.hang_up(call * 20)
        watch = json.dumps({"method": wire.qualified("Watch"), "more": True}).encode() + b"\0"
        for _ in range(50):
            self.hang_up(watch, linger=array.array("i", [1, 0]))
        wait_until(lambda: can_connect(self.daemon), "a free place")

    def hang_up(self, data, linger=None):
        with self.daemon.connect() as c:
            if linger:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            try:
                c.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # there are too many earlier connections, so this one was not accepted


class Crowds(HostileTestCase):
    options = {"capacity": "20M", "max_connections": 20, "max_connections_per_user": 8,
               "model_dir": "/usr/share"}

    def open_many(self, n):
        """Opens connections, and returns those that are served. All are closed after the test."""
        served = []
        for _ in range(n):
            c = self.connect()
            try:
                c.send_call("Stats")
                if "error" not in (c.reply("Stats") or {"error": 1}):
                    served.append(c)
            except (BrokenPipeError, ConnectionResetError):
                pass
        return served

    def test_limits(self):
        served = self.open_many(60)
        self.assertEqual(len(served), 20 + 4 if IS_ROOT else 8)  # four connections are reserved for root
        for c in served:  # accepted connections are still served
            c.call("List")
        for c in served:
            c.close()
        wait_until(lambda: can_connect(self.daemon), "a free place")


class ThreeHundred(HostileTestCase):
    options = {"capacity": "20M", "model_dir": "/usr/share"}
    open_many = Crowds.open_many

    def test_three_hundred(self):
        served = self.open_many(300)
        self.assertEqual(len(served), 256 + 4 if IS_ROOT else 32)
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes(), self.overhead_max)
        for c in served:
            c.close()
        wait_until(lambda: can_connect(self.daemon), "a free place")


if __name__ == "__main__":
    unittest.main()
