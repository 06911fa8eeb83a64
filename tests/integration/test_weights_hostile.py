"""Weight files that are wrong, are no files, cannot be read, or change while they are: each gets its
error, and leaves nothing behind."""
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import unittest

from harness import MIB, PAGE, TIMEOUT, memory_file, sanitized, wait_until
from test_weights import WeightsTestCase, generate, make_cold
import wire

OVERHEAD_MAX = 16 * MIB  # beyond the arena, at rest
HEADER_MAX = 16 * MIB
N_READS = 8  # at most, of a layer of 3 MiB or of a header


def safetensors(members, data=b"", length=None):
    """A file of this header (an object or its text), whatever it says."""
    text = members if isinstance(members, bytes) else json.dumps(members).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape,
            "data_offsets": [begin, end]}


def gguf(tensors, data=b"", metadata=b"", n_tensors=None, n_metadata=0, version=3, alignment=32):
    """`tensors`: (name, dims, type, offset), as they stand in the file."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                                  n_metadata), metadata]
    for name, dims, kind, offset in tensors:
        parts += [generate.gguf_string(name), struct.pack("<I", len(dims)),
                  *(struct.pack("<Q", size) for size in dims), struct.pack("<IQ", kind, offset)]
    text = b"".join(parts)
    return text + bytes(-len(text) % alignment) + data


class HostileTestCase(WeightsTestCase):
    """After every test the daemon serves others, holds nothing of what it refused, no descriptor and
    no memory, and an innocent model still has its bytes."""

    options = {"capacity": "20M"}

    def setUp(self):
        super().setUp()
        self.files = self.disk()
        tensors = generate.model("safetensors", blocks=3, block_bytes=100000)
        self.innocent = generate.write_safetensors(str(self.files / "innocent"), tensors)
        self.c = self.client()
        self.c.load_model(self.files / "innocent", name="innocent")
        with self.c.leased("innocent", "lm_head"):
            pass
        self.n_fds = self.daemon.n_fds_at_rest()
        self.addCleanup(self.check_unharmed)

    def check_unharmed(self):
        if self.daemon.process.poll() is not None:
            self.fail("the daemon is gone")
        self.assertBytes(self.c, "innocent", self.innocent)
        self.assertEqual([m["name"] for m in self.daemon.call("List")["models"]], ["innocent"])
        self.assertFds(self.n_fds)
        stats = self.assertUnharmed()
        self.assertEqual(stats["arena"]["usedBytes"], sum(
            layer["footprintBytes"] for layer in self.c.call("List", model="innocent")["layers"]))
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes(), OVERHEAD_MAX)

    def refuse(self, data, *errors, method="LoadModel", name="bad"):
        """Sends a file of these bytes and returns the refusal's parameters."""
        with memory_file(data) as file:
            return self.refuse_fd(file.fileno(), *errors, method=method, name=name)

    def refuse_fd(self, fd, *errors, method="LoadModel", name="bad"):
        with self.assertRaises(wire.VarlinkError) as caught:
            self.c.call(method, {"definitionFileDescriptor": 0, "name": name}, [fd])
        self.assertIn(caught.exception.error, errors or ("InvalidDefinition",), caught.exception)
        found = caught.exception.parameters
        if caught.exception.error == "InvalidDefinition":
            self.assertNotEqual(found["message"], "")
            for text in (found["message"], found["path"]):
                self.assertNotRegex(text, "[\0-\x1f\x7f]")
        return found


class Headers(HostileTestCase):
    def test_truncated_at_every_byte(self):
        """The file ends anywhere before its end, header or data."""
        files = {
            "safetensors": safetensors({"__metadata__": {"format": "pt"}, "a.b": tensor(0, 7),
                                        "c": tensor(7, 19, "F32", [3])}, bytes(19)),
            "gguf": gguf([("a.b", [4], 0, 0), ("c", [32, 2], 2, 32)], bytes(68),
                         generate.gguf_string("general.alignment") + struct.pack("<II", 4, 32),
                         n_metadata=1)}
        for kind, data in files.items():
            self.c.call("Plan", {"definitionFileDescriptor": 0, "name": "good"},
                        [self.memory(data)])
            for n in range(len(data)):
                with self.subTest(kind=kind, n=n):
                    self.refuse(data[:n], method="LoadModel" if n % 2 else "Plan")
            self.assertFds(self.n_fds)

    def memory(self, data):
        file = memory_file(data)
        self.addCleanup(file.close)
        self.n_fds = self.daemon.n_fds_at_rest()
        return file.fileno()

    def test_a_real_header_truncated(self):
        """At places all over a header of many pages; the length says what is there, or more."""
        tensors = generate.model("safetensors", blocks=300, block_bytes=64)
        generate.write_safetensors(str(self.files / "w"), tensors)
        data = (self.files / "w").read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        self.assertGreater(length, 10 * PAGE)
        for n in [*range(0, length, length // 97), PAGE - 8, PAGE, 4 * PAGE + 1, length - 1]:
            self.refuse(data[:8 + n])
            self.refuse(struct.pack("<Q", n) + data[8:])
        generate.write_gguf(str(self.files / "g"), generate.model("gguf", 300, 64), vocabulary=500)
        data = (self.files / "g").read_bytes()
        for n in range(0, 40000, 397):
            self.refuse(data[:n])

    def test_length_of_the_header(self):
        body = safetensors({"a": tensor(0, 4)}, bytes(4))
        for length in (1 << 63, (1 << 64) - 1, (1 << 63) - 1, (1 << 64) - 8, 1 << 40, HEADER_MAX + 1,
                       HEADER_MAX, len(body), len(body) - 7, 0, 1):
            with self.subTest(length=length):
                self.refuse(struct.pack("<Q", length) + body[8:])
        with memory_file(struct.pack("<Q", HEADER_MAX + 1) + b"{") as file:
            file.truncate(1 << 40)  # long enough for what it says
            self.assertIn("header", str(self.refuse_fd(file.fileno())))

    def test_ranges(self):
        huge = (1 << 63) - 1
        for members, n_data in (
                ({"a": tensor(0, 8), "b": tensor(4, 12)}, 12),  # overlap
                ({"a": tensor(0, 8), "b": tensor(0, 8)}, 8),
                ({"a": tensor(8, 0, shape=[8])}, 8),  # backwards
                ({"a": tensor(4, 0, shape=[0])}, 8),
                ({"a": tensor(0, 9)}, 8),  # outside
                ({"a": tensor(1 << 40, (1 << 40) + 1)}, 8),
                ({"a": tensor(huge - 1, huge)}, 8),
                ({"a": tensor(0, huge)}, 8),
                ({"a": tensor(0, 8, "F32", [1 << 62])}, 8),  # overflows
                ({"a": tensor(0, 8, "F64", [1 << 61, 8])}, 8),
                ({"a": tensor(0, 8, "U8", [1 << 32, 1 << 32, 1 << 32])}, 8),
                ({"a": tensor(0, 0, "F64", [1 << 32, 1 << 32])}, 0),
                ({"a": tensor(0, 8, "F32", [3])}, 8),  # not as many
                ({"a": tensor(0, 8), "b": tensor(9, 10)}, 10),  # a hole
                ({"a": tensor(0, 8)}, 9),  # something behind
                ({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 8]}}, 8),
                ({"a": {"dtype": "U8", "shape": [1.5], "data_offsets": [0, 8]}}, 8),
                ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [-8, 0]}}, 8),
                ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 1 << 63]}}, 8),
                ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 1e300]}}, 8),
                ({"a": {"dtype": "U8", "shape": [8], "data_offsets": [0]}}, 8),
                ({"a": {"dtype": "U8", "shape": [1] * 100, "data_offsets": [0, 1]}}, 1),
                ({"a": {"dtype": "U8", "shape": [8]}}, 8),
                ({"a": []}, 8), ({"a": None}, 8), ({}, 0)):
            with self.subTest(members=str(members)[:100]):
                found = self.refuse(safetensors(members, bytes(n_data)))
                if members:
                    self.assertIn(found["path"], ("a", "b", "data", "header"))
        f32, q4_0, n = 0, 2, (1 << 64) - 32
        for tensors, n_data in (
                ([("a", [8], f32, 0), ("b", [8], f32, 0)], 64),
                ([("a", [16], f32, 0), ("b", [8], f32, 32)], 96),
                ([("a", [8], f32, 64)], 64), ([("a", [9], f32, 0)], 32), ([("a", [8], f32, n)], 32),
                ([("a", [1 << 63], f32, 0)], 32), ([("a", [1 << 32, 1 << 31], f32, 0)], 32),
                ([("a", [(1 << 64) - 1], f32, 0)], 32), ([("a", [31], q4_0, 0)], 32),
                ([("a", [16, 2], q4_0, 0)], 32), ([("a", [8], f32, 4)], 64),
                ([("a", [1, 1, 1, 1, 1], f32, 0)], 32), ([("a", [8], 99, 0)], 32),
                ([("a", [8], 4, 0)], 32), ([("a", [8], (1 << 32) - 1, 0)], 32), ([], 0)):
            with self.subTest(tensors=tensors):
                found = self.refuse(gguf(tensors, bytes(n_data)))
                if tensors:
                    self.assertIn(found["path"], ("a", "b"))

    def test_names_and_types(self):
        for text in (b'{"a":%s,"a":%s}' % ((json.dumps(tensor(0, 4)).encode(),) * 2),
                     b'{"a":%s,"\\u0061":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}' %
                     json.dumps(tensor(0, 4)).encode(),
                     b'{"a":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}}'):
            self.refuse(safetensors(text, bytes(8)))
        self.assertEqual(self.refuse(gguf([("a", [8], 0, 0), ("a", [8], 0, 32)], bytes(64)))["path"],
                         "a")
        for dtype in ("F33", "", "f32", "Q4_0", "F32\n", "x" * 5000, 7, None, ["F32"]):
            found = self.refuse(safetensors({"a": tensor(0, 8, dtype)}, bytes(8)))
            self.assertEqual(found["path"], "a")
        for name in ("", "x" * 256, "a\n", "\x1b[31m", "\x7f", "\x85"):
            self.refuse(safetensors({name: tensor(0, 8)}, bytes(8)))
            self.refuse(gguf([(name, [8], 0, 0)], bytes(32)))
        self.refuse(gguf([("a", [8], 0, 0)], bytes(32)).replace(b"a", b"\xff"))
        self.refuse(safetensors(b'{"\xff":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', bytes(8)))

    def test_gguf_headers(self):
        one = [("a", [8], 0, 0)]
        string = generate.gguf_string
        for data in (
                gguf(one, bytes(32), version=1), gguf(one, bytes(32), version=4),
                gguf(one, bytes(32), version=3 << 24),  # big endian
                gguf(one, bytes(32), n_tensors=2), gguf(one, bytes(32), n_tensors=1 << 63),
                gguf(one, bytes(32), n_tensors=250000), gguf(one, bytes(32), n_metadata=1),
                gguf(one, bytes(32), n_metadata=(1 << 64) - 1),
                gguf(one, bytes(32), string("k") + struct.pack("<I", 13), n_metadata=1),
                gguf(one, bytes(32), string("k") + struct.pack("<IIQ", 9, 8, 1 << 62), n_metadata=1),
                gguf(one, bytes(32), string("k") + struct.pack("<IIQ", 9, 10, 1 << 61), n_metadata=1),
                gguf(one, bytes(32), string("k") + struct.pack("<I", 9) +
                     struct.pack("<IQ", 9, 1) * 1000, n_metadata=1),
                gguf(one, bytes(32), string("k") + struct.pack("<IQ", 8, 1 << 63), n_metadata=1),
                *(gguf(one, bytes(32), string("general.alignment") + struct.pack("<II", 4, n),
                       n_metadata=1) for n in (0, 3, 33, (1 << 32) - 1)),
                *(b"GGUF" + struct.pack("<IQQ", 3, n, m) for n, m in ((1, 0), (0, 1), (0, 0)))):
            self.refuse(data)

    def test_a_million_tensors(self):
        """Refused before memory is taken for them, whether or not the file is that long."""
        before = self.daemon.status()["RssAnon"]
        text = b"{" + b",".join(b'"%x":{}' % i for i in range(1000000)) + b"}"
        self.assertLess(len(text), HEADER_MAX)
        self.assertIn("tensors", self.refuse(safetensors(text))["message"])
        self.assertIn("tensors", self.refuse(gguf([], bytes(100), n_tensors=1000000))["message"])
        with memory_file(gguf([], n_tensors=1000000)) as file:
            file.truncate(1 << 40)
            self.refuse_fd(file.fileno())
        # As many tensors as are allowed, in as many files as that takes, and one more.
        index = {"weight_map": {str(i): "f" for i in range(1000000)}}
        self.refuse(json.dumps(index))
        self.assertRssAnon(before)

    def assertRssAnon(self, before):
        if not sanitized():
            wait_until(lambda: self.daemon.status()["RssAnon"] < before + MIB, "memory given back")

    def test_nothing_shows_of_what_is_refused(self):
        """A model too large for the arena, a name that is taken: nothing half-visible."""
        with self.assertRaises(wire.VarlinkError) as caught:
            generate.write_safetensors(str(self.files / "w"),
                                       [generate.Tensor("t", "U8", (20 * MIB + 1,))])
            self.c.load_model(self.files / "w", name="large")
        self.assertEqual(caught.exception.error, "OutOfMemory")
        with self.assertRaises(wire.VarlinkError) as caught:
            self.c.load_model(self.files / "innocent", name="innocent")
        self.assertEqual(caught.exception.error, "AlreadyLoaded")


class Files(HostileTestCase):
    def opened(self, path, flags):
        fd = os.open(path, flags | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return fd

    def test_no_regular_files_and_unreadable_ones(self):
        fifo, regular = self.files / "fifo", self.files / "innocent"
        os.mkfifo(fifo)
        sockets = socket.socketpair()
        for one in sockets:
            self.addCleanup(one.close)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        definition = {"name": "d", "weights": "w", "layers": [
            {"name": "l", "tensors": [{"name": "t", "dtype": "u8", "shape": [1]}]}]}
        index = {"weight_map": {"t": "w"}}
        for fd, reason in (
                (self.opened(fifo, os.O_RDWR), "regular"), (self.opened(fifo, os.O_PATH), "regular"),
                (self.opened(self.files, os.O_RDONLY), "regular"),
                (self.opened("/dev/zero", os.O_RDONLY), "regular"),
                (self.opened("/dev/null", os.O_WRONLY), "regular"),
                (sockets[0].fileno(), "regular"), (reader, "regular"), (writer, "regular"),
                (self.opened(regular, os.O_WRONLY), "reading"),
                (self.opened(regular, os.O_WRONLY | os.O_APPEND), "reading"),
                (self.opened(regular, os.O_PATH), "reading")):
            with self.subTest(fd=os.readlink("/proc/self/fd/%d" % fd), reason=reason):
                self.assertIn(reason, self.refuse_fd(fd)["message"])
                self.assertIn(reason, self.refuse_fd(fd, method="Plan")["message"])
                for text in (definition, index):
                    with self.assertRaises(wire.VarlinkError) as caught:
                        self.c.call("LoadModel", {
                            "definition": json.dumps(text), "name": "bad",
                            "weights": [{"path": "w", "fileDescriptor": 0}]}, [fd])
                    self.assertEqual(caught.exception.error, "InvalidDefinition")
                    self.assertIn("w: ", caught.exception.parameters["message"])
                    self.assertIn(reason, caught.exception.parameters["message"])

    def test_weights_that_did_not_come(self):
        generate.write_sharded(str(self.files), generate.model("safetensors"), shards=3)
        index = self.files / "model.safetensors.index.json"
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        for came in ([], shards[:1], shards[1:], shards[:-1]):
            missing = next(name for name in shards if name not in came)
            with self.assertRaises(wire.VarlinkError) as caught:
                self.c.load_model(index, came, name="bad")
            self.assertEqual(caught.exception.error, "InvalidDefinition")
            self.assertIn(missing, caught.exception.parameters["message"])
        # Under another name, or as another's contents.
        for first, second in ((0, 0), (1, 0)):
            with open(self.files / shards[first], "rb") as one, \
                    open(self.files / shards[second], "rb") as other, open(index, "rb") as file:
                weights = [{"path": name, "fileDescriptor": i + 1}
                           for i, name in enumerate(shards[:2])]
                with self.assertRaises(wire.VarlinkError) as caught:
                    self.c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "bad",
                                              "weights": weights},
                                [file.fileno(), one.fileno(), other.fileno()])
                self.assertEqual(caught.exception.error, "InvalidDefinition")

    def test_wrong_indices(self):
        with open(self.files / "innocent", "rb") as file:
            for weights in ([{"path": "w", "fileDescriptor": 0}], [{"path": "w"}],
                            [{"path": "w", "fileDescriptor": 2}], [{"fileDescriptor": 1}], [7],
                            [{"path": "w", "fileDescriptor": -1}], {"path": "w"},
                            [{"path": "w", "fileDescriptor": 1 << 40}]):
                for n in (1, 2, 3):
                    with self.assertRaises(wire.VarlinkError):
                        self.c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "bad",
                                                  "weights": weights}, [file.fileno()] * n)

    def test_pairs_that_do_not_fit(self):
        """A definition and weights of another model, and text where weights should be."""
        layers = [{"name": "l", "tensors": [{"name": "lm_head.weight", "dtype": "i8",
                                             "shape": [65536]}]}]
        text = json.dumps({"name": "d", "weights": "w", "layers": layers})

        def load(text, data):
            with memory_file(data) as file:
                self.c.call("LoadModel", {"definition": text, "weights": [
                    {"path": "w", "fileDescriptor": 0}]}, [file.fileno()])

        good = (self.files / "innocent").read_bytes()
        load(text, good)
        self.c.call("UnloadModel", model="d")
        for wrong, data in ((text.replace("65536", "65535"), good), (text.replace("i8", "u8"), good),
                            (text.replace("lm_head", "head"), good), (text, text), (text, b""),
                            (text, good[:-1]),
                            (json.dumps({"name": "d", "weights": "w",
                                         "layers": [{"name": "l", "bytes": 8}]}), good)):
            with self.assertRaises(wire.VarlinkError) as caught:
                load(wrong, data)
            self.assertEqual(caught.exception.error, "InvalidDefinition")


class Changes(HostileTestCase):
    """The file is not any more what it was when the model was registered."""

    LAYER = 4 * MIB

    def large(self, n_layers):
        """A file that takes no room on the disk."""
        members = {"h.%d.w" % i: tensor(i * self.LAYER, (i + 1) * self.LAYER)
                   for i in range(n_layers)}
        path = self.files / "large"
        path.write_bytes(safetensors(members))
        os.truncate(path, path.stat().st_size + n_layers * self.LAYER)
        return path

    def change_meanwhile(self, change, n_layers=20000):
        """Loads, stops the daemon in the middle of it, changes the file; the load's last reply. So
        many layers take so long that it cannot come to its end before."""
        path = self.large(n_layers)
        with self.c.passed(path) as (source, fds):
            self.c.send_call("LoadModel", dict(source, name="large"), fds, more=True)
        reply = self.c.reply("LoadModel")
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            self.assertIn("parameters", reply)
            change(path)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        while reply.get("continues"):
            reply = self.c.reply("LoadModel")
        return reply

    def check_changed(self, reply):
        self.assertEqual(reply.get("error"), wire.MANAGER + ".SourceChanged", reply)
        self.assertEqual(reply["parameters"]["path"], "large")
        layers = self.layers()
        self.assertLessEqual({layer["state"] for layer in layers}, {"absent", "resident"})
        used = sum(layer["footprintBytes"] for layer in layers)
        used += sum(x["footprintBytes"] for x in self.c.call("List", model="innocent")["layers"])
        self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], used)
        absent = next(layer["name"] for layer in layers if layer["state"] == "absent")
        for method in ("LoadLayer", "Acquire"):
            found = self.assertVarlinkError("SourceChanged", self.c.call, method, model="large",
                                            layer=absent)
            self.assertEqual(found["path"], "large")
        self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], used - sum(
            layer["footprintBytes"] for layer in layers) + sum(
                layer["footprintBytes"] for layer in self.layers()))
        self.c.call("UnloadModel", model="large")

    def layers(self):
        return [layer for part, _ in self.c.stream("List", model="large")
                for layer in part["layers"]]

    def test_shrinks(self):
        self.check_changed(self.change_meanwhile(lambda path: os.truncate(path, 9 * MIB)))

    def test_shrinks_to_nothing(self):
        self.check_changed(self.change_meanwhile(lambda path: os.truncate(path, 0)))

    def test_grows(self):
        self.check_changed(self.change_meanwhile(
            lambda path: os.truncate(path, path.stat().st_size + MIB)))

    def test_is_written(self):
        def write(path):
            with open(path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")
        self.check_changed(self.change_meanwhile(write))

    def test_is_replaced(self):
        """The open file stays what it was: the load ends well, with the old bytes."""
        def replace(path):
            other = path.with_name("other")
            other.write_bytes(b"something else")
            os.rename(other, path)
        reply = self.change_meanwhile(replace, n_layers=256)
        self.assertEqual(reply["parameters"]["layersDone"], 256)
        self.c.call("UnloadModel", model="large")

    def test_touched_then_reloaded(self):
        """What is resident stays usable; what has to come again does not come."""
        path = self.files / "w"
        placed = generate.write_safetensors(str(path), generate.model("safetensors", blocks=2))
        before = path.stat()
        self.c.load_model(path, name="m")
        for change in (lambda: os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1)),
                       lambda: os.utime(path), lambda: os.truncate(path, before.st_size + 1),
                       lambda: path.chmod(0o600)):
            change()
            self.assertTrue(self.c.call("LoadLayer", model="m", layer="lm_head")["hit"])
            self.c.call("UnloadLayer", model="m", layer="lm_head")
            for method in ("LoadLayer", "Acquire", "LoadLayer"):
                found = self.assertVarlinkError("SourceChanged", self.c.call, method, model="m",
                                                layer="lm_head")
                self.assertTrue(found["path"])
            self.assertEqual(next(layer for layer in self.c.call("List", model="m")["layers"]
                                  if layer["name"] == "lm_head")["state"], "absent")
            # Size and time as they were do not make it the old file.
            os.truncate(path, before.st_size)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            self.assertVarlinkError("SourceChanged", self.c.call, "LoadLayer", model="m",
                                    layer="lm_head")
            self.c.call("UnloadModel", model="m")
            self.c.load_model(path, name="m")
            self.assertBytes(self.c, "m", placed)
        self.c.call("UnloadModel", model="m")
        # Registered anew, the new file is as good as any.
        os.utime(path)
        self.c.load_model(path, name="m")
        self.assertBytes(self.c, "m", placed)
        self.c.call("UnloadModel", model="m")

    def test_overwritten_in_place_with_its_time_put_back(self):
        """As rsync --inplace -t does: layers of two versions are never mixed."""
        path = self.files / "w"
        generate.write_safetensors(str(path), generate.model("safetensors", blocks=2))
        self.c.load_model(path, name="m")
        before = path.stat()
        self.c.call("UnloadLayer", model="m", layer="lm_head")
        with open(path, "r+b") as file:
            file.seek(-64, os.SEEK_END)
            file.write(bytes(64))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        self.assertEqual((after.st_size, after.st_mtime_ns), (before.st_size, before.st_mtime_ns))
        for method in ("LoadLayer", "Acquire"):
            self.assertVarlinkError("SourceChanged", self.c.call, method, model="m",
                                    layer="lm_head")
        self.c.call("UnloadModel", model="m")

    def test_one_shard_of_several(self):
        """Is named, and layers of the others still come."""
        generate.write_sharded(str(self.files), generate.model("safetensors", blocks=6), shards=3)
        index = self.files / "model.safetensors.index.json"
        weight_map = json.loads(index.read_text())["weight_map"]
        shards = sorted(set(weight_map.values()))
        self.c.load_model(index, shards, name="m")
        self.c.call("Reset")
        os.utime(self.files / shards[1])
        states = {}
        for layer in self.c.call("List", model="m")["layers"]:
            of = {shard for name, shard in weight_map.items()
                  if name.startswith(layer["name"] + ".")}
            try:
                self.c.call("LoadLayer", model="m", layer=layer["name"])
                self.assertNotIn(shards[1], of)
            except wire.VarlinkError as refused:
                self.assertEqual(refused.error, "SourceChanged")
                self.assertEqual(refused.parameters["path"], shards[1])
                self.assertIn(shards[1], of)
            states[layer["name"]] = of
        self.assertGreater(len(states), 6)
        self.c.call("UnloadModel", model="m")


class Faults(HostileTestCase):
    """Reads that fail: the tracer makes them, for one file."""

    options = {"capacity": "20M", "io": "direct"}

    def setUp(self):
        if not shutil.which("strace"):
            self.skipTest("needs strace")
        super().setUp()
        self.path = self.files / "w"
        tensors = generate.model("safetensors", blocks=3, block_bytes=3 * MIB)
        self.placed = generate.write_safetensors(str(self.path), tensors)

    def inject(self, what):
        """Attaches a tracer that injects `what` into reads of the file; returns how to end it."""
        log = self.files / "strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-p", str(self.daemon.pid), "-P", str(self.path), "-o", str(log),
             "-e", "trace=pread64", "-e", "inject=pread64:" + what],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        def end():
            if tracer.poll() is None:
                tracer.terminate()
            tracer.wait(TIMEOUT)
            tracer.stderr.close()
        self.addCleanup(end)
        said = b""
        while b" attached" not in said:  # to every thread
            line = tracer.stderr.readline()
            if not line:
                self.skipTest("cannot trace: " + said.decode().strip())
            said += line
        return end

    def test_reads_that_fail(self):
        self.c.load_model(self.path, name="m")
        self.c.call("UnloadLayer", model="m", layer="model.layers.1")
        for name in ("EIO", "ENOSPC", "EACCES", "ENOMEM"):
            end = self.inject("error=%s:when=1" % name)
            for method in ("LoadLayer", "Acquire"):
                with self.assertRaises(wire.VarlinkError) as caught:
                    # Each thread's first read fails: a call a thread, at most.
                    for _ in range(2):
                        self.c.call(method, model="m", layer="model.layers.1")
                        self.c.call("UnloadLayer", model="m", layer="model.layers.1")
                if method == "LoadLayer":
                    self.assertEqual(caught.exception.error, "IOFailed")
                    self.assertEqual(caught.exception.parameters["errnoName"], name)
                break
            states = {layer["name"]: layer["state"]
                      for layer in self.c.call("List", model="m")["layers"]}
            self.assertEqual(states.pop("model.layers.1"), "absent")
            self.assertEqual(set(states.values()), {"resident"})
            end()
            self.assertEqual(self.daemon.stats()["scheduler"]["layersLoading"], 0)
            self.assertFalse(self.c.call("LoadLayer", model="m", layer="model.layers.1")["hit"])
            self.assertBytes(self.c, "m", self.placed)
            self.c.call("UnloadLayer", model="m", layer="model.layers.1")
        self.c.call("UnloadModel", model="m")

    def test_always(self):
        """During LoadModel: what was there by then stays, the rest is absent, the model stays."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EIO")
        for layer in self.c.call("List", model="m")["layers"]:
            for method in ("LoadLayer", "Acquire"):
                found = self.assertVarlinkError("IOFailed", self.c.call, method, model="m",
                                                layer=layer["name"])
                self.assertEqual(found["errnoName"], "EIO")
        self.assertEqual({layer["state"] for layer in self.c.call("List", model="m")["layers"]},
                         {"absent"})
        self.refuse_fd_of_path("IOFailed")  # nor can the header be read
        end()
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def refuse_fd_of_path(self, *errors):
        with open(self.path, "rb") as file:
            self.refuse_fd(file.fileno(), *errors)

    def test_direct_reads_that_are_refused(self):
        """EINVAL, as from a disk with larger blocks, met by all threads at once: then buffered."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EINVAL:when=1")
        for layer in self.c.call("List", model="m")["layers"]:
            self.c.call("LoadLayer", model="m", layer=layer["name"])
        end()
        self.assertFalse(self.source_flags(self.path) & os.O_DIRECT)
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def test_interrupted_reads(self):
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EINTR:when=1+2")
        for layer in self.c.call("List", model="m")["layers"]:
            self.c.call("LoadLayer", model="m", layer=layer["name"])
        end()
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def test_slow_reads(self):
        """A disk that takes its time holds up nobody else."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("delay_enter=200000")
        slow = self.client()

        def load():
            self.c.call("UnloadLayer", model="m", layer="model.layers.0")
            slow.send_call("LoadLayer", {"model": "m", "layer": "model.layers.0"})

        def plan():  # which reads the header
            with open(self.path, "rb") as file:
                slow.send_call("Plan", {"definitionFileDescriptor": 0, "name": "bad"},
                               [file.fileno()])

        for begin, method in ((load, "LoadLayer"), (plan, "Plan")):
            with self.subTest(method=method):
                n = []

                def others_are_served():
                    """Were they held up, few would be between one read and the next."""
                    begin()
                    n.append(0)
                    while not select.select([slow.socket], [], [], 0)[0]:
                        self.c.call("Stats")
                        n[-1] += 1
                    slow.result(method)
                    return sum(max(0, one - N_READS) for one in n) > 50
                wait_until(others_are_served, "answers during slow reads")
        end()
        self.c.call("UnloadModel", model="m")


class Memory(HostileTestCase):
    """What a header takes while it is read, and that nothing of it is left."""

    def peak(self, function):
        """Bytes by which the daemon's memory grew at its peak while `function` ran."""
        clear = pathlib.Path("/proc/%d/clear_refs" % self.daemon.pid)
        try:
            clear.write_text("5")  # resets VmHWM
        except PermissionError:
            self.skipTest("may not reset the peak")
        before = self.daemon.status()["VmRSS"]
        function()
        return self.daemon.status()["VmHWM"] - before

    def measure(self, what, data, maximum, accepted):
        if sanitized():
            self.skipTest("a sanitizer's or an emulator's memory is not the daemon's")
        before = self.daemon.status()["RssAnon"]
        with memory_file(data) as file:
            if accepted:
                def read():
                    self.c.call("Plan", {"definitionFileDescriptor": 0, "name": "m"},
                                [file.fileno()])
            else:
                def read():
                    self.refuse_fd(file.fileno())
            peak = self.peak(read)
        # The last that was freed on the loop's thread may be given back by the next one.
        self.c.call("List")
        after = self.daemon.status()["RssAnon"]
        print("%s, %.1f MiB: peak %.1f MiB, %d KiB left" % (
            what, len(data) / MIB, peak / MIB, (after - before) / 1024), flush=True)
        self.assertLess(peak, maximum)
        self.assertLess(after, before + MIB)

    def many_tensors(self, last=b""):
        """A header as long as it may be."""
        members = [b'"h.%d.%048d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
                   % (i % 100, i, i, i + 1) for i in range(140000)]
        text = b"{" + b",".join(members) + last + b"}"
        self.assertLess(len(text), HEADER_MAX)
        return safetensors(text + b" " * (HEADER_MAX - len(text)), bytes(len(members)))

    def test_safetensors_refused(self):
        self.measure("safetensors, refused at its end", self.many_tensors(b',"x":{}'), 80 * MIB, False)

    def test_safetensors(self):
        self.measure("safetensors, 140,000 tensors", self.many_tensors(), 128 * MIB, True)

    def test_safetensors_metadata(self):
        """One string as long as the header, and very many small ones."""
        for metadata in ({"a": "x" * (HEADER_MAX - 200)}, {str(i): "" for i in range(1100000)}):
            data = safetensors({"__metadata__": metadata, "a": tensor(0, 1)}, b"x")
            self.assertLess(len(data), HEADER_MAX + 9)
            self.measure("safetensors, %d metadata" % len(metadata), data, 80 * MIB, True)

    def test_gguf(self):
        vocabulary = b"".join(generate.gguf_string("t%d" % i) for i in range(900000))
        metadata = (generate.gguf_string("tokenizer.ggml.tokens") +
                    struct.pack("<IIQ", 9, 8, 900000) + vocabulary)
        tensors = [("blk.%d.%d" % (i % 100, i), [8], 0, i * 32) for i in range(100000)]
        data = gguf(tensors, bytes(3200000), metadata, n_metadata=1)
        self.measure("GGUF, 100,000 tensors and a vocabulary", data, 80 * MIB, True)

    def test_definition(self):
        layers = ",".join('{"name":"%06d","bytes":1}' % i for i in range(99999))
        text = '{"name":"m","layers":[%s%s]}' % (layers, ',{"name":"x"}')
        self.measure("definition, refused at its end", text, 160 * MIB, False)
        shape = ",".join(["1"] * 599000)
        self.measure("definition, one array", '{"name":"m","layers":[%s]}' % shape, 160 * MIB, False)

    def test_index(self):
        text = json.dumps({"weight_map": {"%040d" % i: "f" for i in range(250000)}})
        self.measure("index", text, 160 * MIB, False)

    def test_loaded_and_unloaded(self):
        """A model of many tensors, not only planned: gone with UnloadModel."""
        if sanitized():
            self.skipTest("a sanitizer's or an emulator's memory is not the daemon's")
        before = self.daemon.status()["RssAnon"]
        for _ in range(3):
            with memory_file(self.many_tensors()) as file:
                self.c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "m"},
                            [file.fileno()])
            known = self.daemon.status()["RssAnon"]
            self.c.call("UnloadModel", model="m")
        after = self.daemon.status()["RssAnon"]
        print("140,000 tensors: %.1f MiB while they are known, %d KiB left" % (
            (known - before) / MIB, (after - before) / 1024), flush=True)
        self.assertLess(after, before + MIB)


if __name__ == "__main__":
    unittest.main()
