"""The daemon's memory beside the arena stays below overhead-limit, whatever is sent: the largest definitions,
of one user and of several at once. The kernel says what the maximum was."""
import contextlib
import json
import select
import unittest

import wire
from harness import MIB, TestCase, memory_file, sanitized, sized_model, wait_until
from machine import needs_root

LIMIT, REST = 64 * MIB, 8 * MIB
MAX_BYTES, MAX_LAYERS = 16 * MIB, 100_000
MEMBERS = 65534, 65533, 65532
REFUSED = ("LimitExceeded", {"limit": "overhead-limit", "maximum": LIMIT})


def definition(*layers):
    return json.dumps({"name": "hostile", "layers": layers})


def largest():
    """As many layers as are allowed, in as many bytes."""
    text = definition(*({"name": "%0130d" % i, "bytes": 4096} for i in range(MAX_LAYERS)))
    return " " * (MAX_BYTES - len(text)) + text


def many_tensors():
    return definition({"tensors": [{"name": "t%d" % i, "shape": [1]} for i in range(80_000)]})


def many_names():
    """A short text that needs much memory."""
    return definition({"name": "x" * 230, "type": "lstm", "input_size": 1, "hidden_size": 1,
                       "num_layers": 62_000})


def many_layers():
    return definition(*({"bytes": 4096} for _ in range(MAX_LAYERS)))


def index():
    return json.dumps({"weight_map": {"t%d" % i: "file" for i in range(340_000)}})


def numbers():
    return definition(*([0] * 690_000))


def nested():
    return definition(*({"a": {}} for _ in range(116_000)))


def wide_layer():
    return definition(dict({"key%d" % i: [] for i in range(230_000)}, bytes=1))


def strings():
    return definition(*(["s" * 65_000] * 250))


TEXTS = largest, many_tensors, many_names, many_layers, index, numbers, nested, wide_layer, strings


class Overhead(TestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(log_level="warning", overhead_limit=LIMIT)

    def assertBounded(self):
        status = self.daemon.status()
        if not sanitized():
            self.assertLess(status["VmHWM"] - status["RssShmem"], LIMIT)

    def assertGivenBack(self):
        if not sanitized():
            wait_until(lambda: self.daemon.overhead_bytes() < REST, "the memory to be given back")

    def outcome(self, reply):
        """Returns whether the call has succeeded; if not, it was refused in a way that it may be."""
        if "error" not in reply:
            return True
        error = reply["error"].rpartition(".")[2]
        if error != "InvalidDefinition":
            self.assertEqual((error, reply["parameters"]), REFUSED)
        return False

    def send(self, connection, method, file, **parameters):
        connection.send_call(method, dict(parameters, definitionFileDescriptor=0), [file.fileno()])

    def test_one_after_the_other(self):
        for text in TEXTS:
            for method in "Plan", "LoadModel":
                with self.subTest(text=text.__name__, method=method), memory_file(text()) as file, \
                        self.daemon.connect() as connection:
                    self.send(connection, method, file)
                    if self.outcome(connection.reply(method)) and method == "LoadModel":
                        connection.call("UnloadModel", model="hostile")
                    self.assertBounded()
                    self.assertGivenBack()

    def test_largest(self):
        """It is allowed with the default limit, for members, too."""
        with memory_file(largest()) as file:
            member = self.connect_as(MEMBERS[0])
            self.send(member, "Plan", file)
            self.assertEqual(member.reply("Plan")["parameters"]["stepsTotal"], MAX_LAYERS)
            admin = self.connect()
            self.send(admin, "LoadModel", file)
            self.assertEqual(admin.reply("LoadModel")["parameters"]["layersTotal"], MAX_LAYERS)
            # Another one beside it is not, until it is gone.
            self.send(member, "Plan", file)
            self.assertFalse(self.outcome(member.reply("Plan")))
            admin.call("UnloadModel", model="hostile")
            self.assertGivenBack()
            self.send(member, "Plan", file)
            self.assertTrue(self.outcome(member.reply("Plan")))
        self.assertBounded()

    @needs_root  # for several users
    def test_several_users(self):
        """Three members plan as much as they may, and root plans and loads meanwhile. Each of them is served."""
        with memory_file(largest()) as large, memory_file(many_layers()) as flat:
            for _ in range(2):
                planning = [self.connect_as(user) for user in MEMBERS for _ in range(4)]
                for i, connection in enumerate(planning):
                    self.send(connection, "Plan", flat if i % 2 else large)
                admin = self.connect()
                self.send(admin, "Plan", large)
                self.daemon.call("LoadModel", definition=sized_model("small", MIB), replace=True)
                self.assertTrue(self.outcome(admin.reply("Plan")))
                served = [self.outcome(connection.reply("Plan")) for connection in planning]
                for first in range(0, len(served), 4):
                    self.assertTrue(any(served[first:first + 4]), served)
                self.assertBounded()
        self.assertGivenBack()

    @needs_root  # for several users
    def test_unread_replies(self):
        """Eight users and root read nothing, from before the largest plan takes its memory until it is over."""
        layers = [{"name": "l%d" % i, "bytes": 4096} for i in range(1000)]
        self.daemon.load(definition(*layers))
        call = json.dumps({"method": wire.qualified("List"), "parameters": {"model": "hostile"}}).encode() + b"\0"
        sockets = [self.connect_as(user).socket for user in (*range(65520, 65528), 0) for _ in range(4)]
        for socket in sockets:
            socket.setblocking(False)
        planner = self.connect_as(MEMBERS[0])
        with memory_file(largest()) as large:
            self.send(planner, "Plan", large)
            while not select.select([planner.socket], [], [], 0)[0]:
                for socket in select.select([], sockets, [], 0.1)[1]:
                    with contextlib.suppress(BlockingIOError):
                        socket.send(call * 10)
        self.assertTrue(self.outcome(planner.reply("Plan")))
        self.assertBounded()

    def test_low_limit(self):
        daemon = self.start(overhead_limit=20 * MIB, log_level="warning")
        with self.assertRaises(wire.VarlinkError) as caught:
            daemon.load(many_layers(), "Plan")
        self.assertEqual(caught.exception.parameters, {"limit": "overhead-limit", "maximum": 20 * MIB})
        daemon.call("LoadModel", definition=sized_model("small", MIB))
        status = daemon.status()
        self.assertLess(status["VmHWM"] - status["RssShmem"], 20 * MIB)


if __name__ == "__main__":
    unittest.main()
