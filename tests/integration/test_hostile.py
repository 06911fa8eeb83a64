"""Bad input gets a clear error; nothing is lost, no descriptor or memory leaks, and no other client
is affected. Each test checks this at its end."""
import json
import os
import socket
import unittest

import wire
from harness import memory_file, sized_model
from hostile import INVALID, MESSAGE_MAX, HostileTestCase


class Messages(HostileTestCase):
    def test_not_a_call(self):
        """Ends that connection, and no other."""
        for message in (b"", b"{", b"}", b"[]", b"3", b'"x"', b"null", b"{}", b"garbage",
                        b"\xff\xfe", b'{"method": "io.edgemind.manager.Stats"', b"{'method': 'x'}",
                        b'{"method": "io.edgemind.manager.Stats",}',
                        b'{"method": "io.edgemind.manager.Stats"} x',
                        b'{"method": "io.edgemind.manager.Stats"}{}',
                        b'{"method": 3}', b'{"method": null}', b'{"method": ["Stats"]}',
                        b'{"parameters": {}}',
                        b'{"method": "io.edgemind.manager.Stats", "method": "x"}',
                        b'{"method": "io.edgemind.manager.Stats", "more": 1}',
                        b'{"method": "io.edgemind.manager.Stats", "more": "true"}',
                        b'{"method": "io.edgemind.manager.Stats", "more": true, "oneway": true}',
                        b'{"method": "io.edgemind.manager.Stats", "upgrade": true, "more": true}',
                        b'{"method": "io.edgemind.manager.St\xe4ts"}',
                        b'{"method": "io.edgemind.manager.\xc0\x80"}',
                        b'{"method": "io.edgemind.manager.\xed\xa0\x80"}'):
            with self.subTest(message=message), self.daemon.connect() as c:
                c.send(message + b"\0")
                self.assertTrue(c.at_end())

    def test_depth(self):
        def nested(depth):  # the message is one level, its parameters the next
            return (b'{"method": "io.edgemind.manager.Stats", "parameters": {"x": '
                    + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}}\0")
        with self.daemon.connect() as c:
            c.send(nested(32))
            self.assertVarlinkError(INVALID, c.result, "Stats")
            c.send(nested(33))
            self.assertRefused(c)
        with self.daemon.connect() as c:  # also if it never closes
            c.send(b'{"method":"x","parameters":{"a":' + b'{"a":' * 10000 + b"\0")
            self.assertRefused(c)

    def test_length(self):
        call = b'{"method": "io.edgemind.manager.Stats"}'
        with self.daemon.connect() as c:
            c.send(call + b" " * (MESSAGE_MAX - len(call)) + b"\0")
            self.assertIn("arena", c.result("Stats"))
            c.send(call + b" " * (MESSAGE_MAX + 1 - len(call)) + b"\0")
            self.assertRefused(c)
        with self.daemon.connect() as c:  # without an end
            try:
                for _ in range(64):
                    c.send(b" " * MESSAGE_MAX)
            except OSError:
                pass
            self.assertRefused(c)

    def test_nul_inside(self):
        """A raw NUL splits the message; an escaped one is not a valid name."""
        with self.daemon.connect() as c:
            c.send(b'{"method": "io.edgemind.manager.Sta\0ts"}\0')
            self.assertTrue(c.at_end())
        for message in (b'{"method": "io.edgemind.manager.Stats\\u0000"}',
                        b'{"method": "io.edgemind.manager.List", "parameters": {"model":"\\u0000"}}',
                        b'{"method": "io.edgemind.manager.List", "parameters": {"a\\u0000b": 1}}'):
            with self.subTest(message=message), self.daemon.connect() as c:
                c.send(message + b"\0")
                self.assertRefused(c)

    def test_integers(self):
        for number in (b"-1", b"1.5", b"1e3", b"1.0", b"-0.0", b'"0"', b"true", b"[0]", b"{}",
                       b"2147483648", b"4294967296", b"9223372036854775807",
                       b"9223372036854775808", b"18446744073709551616", b"1" * 400, b"1e400",
                       b"-9223372036854775809", b"01", b"+1", b".5", b"0x1", b"NaN", b"Infinity"):
            with self.subTest(number=number), self.daemon.connect() as c, \
                    memory_file(sized_model("m", 1)) as file:
                c.send(b'{"method": "io.edgemind.manager.LoadModel", '
                       b'"parameters": {"definitionFileDescriptor": ' + number + b"}}\0",
                       fds=[file.fileno()])
                self.assertRefused(c, "LoadModel")

    def test_unknown_and_wrong_parameters(self):
        with self.daemon.connect() as c:
            for method, parameters, key in (
                    ("Stats", {"x": 1}, "x"), ("Reset", {"x": None}, "x"),
                    ("List", {"Model": "a"}, "Model"), ("List", {"model": 3}, "model"),
                    ("LoadLayer", {"model": "m"}, "layer"),
                    ("LoadLayer", {"model": "m", "layer": ["l"]}, "layer"),
                    ("LoadModel", {"definition": {}}, "definition"),
                    ("LoadModel", {"definition": "{}", "onFull": 3}, "onFull"),
                    ("UnloadModel", {}, "model"), ("SetPolicy", {"policy": {}}, "policy")):
                with self.subTest(method=method, parameters=parameters):
                    found = self.assertVarlinkError(INVALID, c.call, method, parameters)
                    self.assertEqual(found, {"parameter": key})
            for parameters in ({}, {"definition": "{}", "path": "m"},
                               {"definition": "{}", "definitionFileDescriptor": 0}):
                with self.subTest(parameters=parameters):
                    self.assertVarlinkError(INVALID, c.call, "LoadModel", parameters)
        for parameters in (b"[]", b"3", b'"x"', b"true"):
            with self.subTest(parameters=parameters), self.daemon.connect() as c:
                c.send(b'{"method": "io.edgemind.manager.Stats", "parameters": ' + parameters
                       + b"}\0")
                self.assertRefused(c)

    def test_names(self):
        with self.daemon.connect() as c:
            for method in ("Stats.", ".Stats", "io.edgemind.manager.", "..",
                           "io.edgemind.manager.é", "x" * 10000, "io.edgemind.manager.Stats\n"):
                with self.subTest(method=method[:40]):
                    self.assertIn("error", self.raw(c, method))
            self.assertIn("error", self.raw(c, "Stats"))
            self.assertVarlinkError("NotFound", c.call, "List", model="n" * 30000)
            self.assertVarlinkError("NotFound", c.call, "List", model="\u2028\U0001f600\x01")

    def raw(self, connection, method):
        connection.send(json.dumps({"method": method}).encode() + b"\0")
        return connection.reply(method if "." in method else "x." + method)


class FileDescriptors(HostileTestCase):
    def test_unexpected(self):
        """Descriptors are always closed: with a method that takes none, with garbage, with half a
        message."""
        with open(os.devnull, "rb") as null:
            fds = [null.fileno()] * 100
            for data in (b'{"method": "io.edgemind.manager.Stats"}\0',
                         b'{"method": "io.edgemind.manager.Nope"}\0',
                         b'{"method": "io.edgemind.manager.Stats", "oneway": true}\0',
                         b'{"method": "io.edgemind.manager.LoadModel"}\0',
                         b"junk\0", b"half a mess", b"x" * (MESSAGE_MAX + 1) + b"\0"):
                with self.subTest(data=data[:50]), self.daemon.connect() as c:
                    c.send(data, fds)
                    if data.endswith(b"\0") and b"oneway" not in data:
                        self.assertRefused(c)
                self.assertUnharmed()
            with self.daemon.connect() as c:  # more than one message may carry
                for byte in b'{"method": "io.edgemind.manager.Stats"}':
                    try:
                        c.send(bytes([byte]), fds=[null.fileno()] * 20)
                    except OSError:
                        break
        self.assertFds(self.n_fds)

    def test_wrong_index(self):
        with self.daemon.connect() as c, memory_file(sized_model("m", 1)) as file:
            for index in (1, 2, 253, 1 << 31, (1 << 63) - 1):
                with self.assertRaises(wire.VarlinkError):
                    c.call("LoadModel", {"definitionFileDescriptor": index}, fds=[file.fileno()])
            with self.assertRaises(wire.VarlinkError):
                c.call("LoadModel", {"definitionFileDescriptor": 0})

    def test_not_a_definition_file(self):
        """Descriptors that are not readable regular files are refused at once, and nothing
        blocks."""
        directory = self.directory()
        fifo = directory / "fifo"
        os.mkfifo(fifo)
        regular = directory / "regular"
        regular.write_text(sized_model("m", 1))
        a, b = socket.socketpair()
        opened = [os.open(fifo, os.O_RDWR), os.open(directory, os.O_RDONLY),
                  os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_RDWR),
                  os.open(regular, os.O_WRONLY), os.open(regular, os.O_PATH), a.fileno()]
        try:
            with self.daemon.connect() as c:
                for fd in opened:
                    for method in ("LoadModel", "Plan"):
                        with self.subTest(fd=os.readlink("/proc/self/fd/%d" % fd), method=method):
                            with self.assertRaises(wire.VarlinkError) as caught:
                                c.call(method, {"definitionFileDescriptor": 0}, fds=[fd])
                            self.assertIn(caught.exception.error,
                                          ("IOFailed", INVALID, "InvalidDefinition"))
        finally:
            for fd in opened:
                if fd != a.fileno():
                    os.close(fd)
            a.close()
            b.close()

    def test_a_file_that_changes_size(self):
        with self.daemon.connect() as c:
            with memory_file("") as file:  # empty
                self.assertVarlinkError("InvalidDefinition", c.call, "LoadModel",
                                        {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            with memory_file("") as file:  # 1 TiB of nothing
                file.truncate(1 << 40)
                with self.assertRaises(wire.VarlinkError):
                    c.call("LoadModel", {"definitionFileDescriptor": 0}, fds=[file.fileno()])


class Definitions(HostileTestCase):
    def refuse(self, data, *errors):
        with self.daemon.connect() as c, memory_file(data) as file:
            with self.assertRaises(wire.VarlinkError) as caught:
                c.call("LoadModel", {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            self.assertIn(caught.exception.error, errors or ("InvalidDefinition", "LimitExceeded"))
            return caught.exception.parameters

    def test_a_million_layers(self):
        layers = ",".join('{"name":"%x","bytes":1}' % i for i in range(1000000))
        self.refuse('{"name":"m","layers":[%s]}' % layers)
        # Short enough for the file's limit.
        self.refuse('{"name":"m","layers":[%s0]}' % ("0," * 1000000))
        self.refuse('{"name":"m","layers":[%s{}]}' % ("{}," * 1000000))
        layers = ",".join('{"name":"%x","bytes":1}' % i for i in range(100001))
        self.refuse('{"name":"m","layers":[%s]}' % layers)

    def test_a_hundred_thousand_layers(self):
        """The maximum number of layers, in an arena with far fewer pages."""
        layers = ",".join('{"name":"%x","bytes":1}' % i for i in range(100000))
        self.daemon.load('{"name":"m","layers":[%s]}' % layers, method="Plan")

    def test_zero_and_overflow(self):
        def sizes(*values):
            return '{"name":"m","dtype":"f32","layers":[%s]}' % ",".join(
                '{"name":"l%d",%s}' % pair for pair in enumerate(values))
        for text in (sizes('"bytes":0'), sizes('"bytes":-1'), sizes('"bytes":1.0'),
                     sizes('"bytes":18446744073709551616'), sizes('"bytes":1e18'),
                     sizes('"bytes":' + "9" * 1000), sizes('"bytes":null'), sizes('"bytes":"1"'),
                     sizes('"type":"linear","in_features":0,"out_features":1'),
                     sizes('"type":"linear","in_features":4294967296,"out_features":4294967296'),
                     sizes('"type":"linear","in_features":9223372036854775807,"out_features":3'),
                     sizes('"tensors":[{"name":"t","dtype":"f32","shape":[0]}]'),
                     sizes('"tensors":[{"name":"t","dtype":"f32","shape":[%s1]}]' % ("2," * 40)),
                     sizes('"tensors":[{"name":"t","dtype":"i8","shape":[4294967296,4294967296]}]'),
                     sizes('"tensors":[{"name":"t","dtype":"f99","shape":[1]}]'),
                     sizes('"tensors":[]'), sizes('"tensors":{}')):
            with self.subTest(text=text[:100]):
                found = self.refuse(text, "InvalidDefinition")
                self.assertTrue(found["path"] or found["line"], found)
        # Each is possible, but the sum overflows.
        self.refuse(sizes(*['"bytes":9223372036854775807'] * 3), "InvalidDefinition", "OutOfMemory")
        self.refuse(sizes('"bytes":9223372036854775807'), "OutOfMemory")

    def test_shapes_of_text(self):
        deep = "[" * 40 + "]" * 40
        for data in (b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b'{"name":"m\0","layers":[]}',
                     b"\0" * 100, b'{"name":"\xff","layers":[{"name":"l","bytes":1}]}',
                     b'{"name":"m\\u0000x","layers":[{"name":"l","bytes":1}]}',
                     ('{"name":"m","layers":%s}' % deep).encode(), b"[" * (1 << 20),
                     b'{"a":' * (1 << 20), b"{" + b" " * (17 << 20) + b"}",
                     b'{"name":"' + b"n" * 300 + b'","layers":[{"name":"l","bytes":1}]}',
                     b'{"name":"","layers":[{"name":"l","bytes":1}]}',
                     b'{"name":"m","layers":[{"name":"","bytes":1}]}',
                     b'{"name":"m","layers":[{"name":"l","bytes":1}]} trailing'):
            with self.subTest(data=data[:60]):
                self.refuse(data)


if __name__ == "__main__":
    unittest.main()
