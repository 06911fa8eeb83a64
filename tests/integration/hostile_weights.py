"""What the tests of hostile weight files share: files that are made by hand, and the check that the
daemon is unharmed after a refusal."""
import json
import struct

from harness import MIB, memory_file, sanitized, wait_until
from weight_files import WeightsTestCase, generate
import wire

OVERHEAD_MAX = 16 * MIB  # beyond the arena, at rest
HEADER_MAX = 16 * MIB


def safetensors(members, data=b"", length=None):
    """A file of this header (an object or its text), whatever it says."""
    text = members if isinstance(members, bytes) else json.dumps(members).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape,
            "data_offsets": [begin, end]}


def gguf(tensors, data=b"", metadata=b"", n_tensors=None, n_metadata=0, version=3, alignment=32):
    """`tensors`: (name, dims, type, offset), in the order of the file."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                                  n_metadata), metadata]
    for name, dims, kind, offset in tensors:
        parts += [generate.gguf_string(name), struct.pack("<I", len(dims)),
                  *(struct.pack("<Q", size) for size in dims), struct.pack("<IQ", kind, offset)]
    text = b"".join(parts)
    return text + bytes(-len(text) % alignment) + data


class HostileTestCase(WeightsTestCase):
    """After every test the daemon serves others, has no descriptors or memory of refused files, and
    an innocent model still has its bytes."""

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
            # A thread of low priority gives memory back after the reply.
            wait_until(lambda: self.daemon.overhead_bytes() < OVERHEAD_MAX, "the memory to be given back")

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
