"""Weight files that are wrong or are no files: each gets its error, and leaves nothing behind."""
import json
import os
import socket
import struct
import unittest

from harness import MIB, PAGE, memory_file, sanitized, wait_until
from hostile_weights import HEADER_MAX, HostileTestCase, gguf, safetensors, tensor
from weight_files import generate
import wire


class Headers(HostileTestCase):
    def test_truncated_at_every_byte(self):
        """The file is truncated anywhere, in its header or its data."""
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
        """At places throughout a header of many pages; the length in the file is right, or too
        large."""
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
        """They are refused before memory is allocated for them, whether or not the file is that
        long."""
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
        """A model that is too large for the arena, or whose name is taken, is never visible in
        part."""
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
        # With another name, or with the contents of another file.
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


if __name__ == "__main__":
    unittest.main()
