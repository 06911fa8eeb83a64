"""What the daemon needs of its own memory to read weight files."""
import json
import pathlib
import struct
import unittest

from harness import MIB, memory_file, sanitized, wait_until
from hostile_weights import HEADER_MAX, HostileTestCase, gguf, safetensors, tensor
from weight_files import generate


PEAK_MAX = 60 * MIB  # overhead-limit, less what the daemon has at rest


class Memory(HostileTestCase):
    """The memory that reading a header takes, all of which is freed."""

    def peak(self, function):
        """How much the daemon's peak memory grew while `function` ran, in bytes."""
        clear = pathlib.Path("/proc/%d/clear_refs" % self.daemon.pid)
        try:
            clear.write_text("5")  # resets VmHWM
        except PermissionError:
            self.skipTest("may not reset the peak")
        before = self.daemon.status()["VmRSS"]
        function()
        return self.daemon.status()["VmHWM"] - before

    def measure(self, what, data, accepted, *errors):
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
                    self.refuse_fd(file.fileno(), *errors)
            peak = self.peak(read)
        print("%s, %.1f MiB: peak %.1f MiB" % (what, len(data) / MIB, peak / MIB), flush=True)
        self.assertLess(peak, PEAK_MAX)
        # A thread of low priority gives it back after the reply.
        wait_until(lambda: self.daemon.status()["RssAnon"] < before + MIB, "the memory to be given back")

    def many_tensors(self, last=b""):
        """A header as long as it may be."""
        members = [b'"h.%d.%048d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
                   % (i % 100, i, i, i + 1) for i in range(140000)]
        text = b"{" + b",".join(members) + last + b"}"
        self.assertLess(len(text), HEADER_MAX)
        return safetensors(text + b" " * (HEADER_MAX - len(text)), bytes(len(members)))

    def test_safetensors_refused(self):
        self.measure("safetensors, refused at its end", self.many_tensors(b',"x":{}'), False)

    def test_safetensors(self):
        self.measure("safetensors, 140,000 tensors", self.many_tensors(), True)

    def test_safetensors_metadata(self):
        """One string as long as the header, and very many small ones."""
        for metadata in ({"a": "x" * (HEADER_MAX - 200)}, {str(i): "" for i in range(1100000)}):
            data = safetensors({"__metadata__": metadata, "a": tensor(0, 1)}, b"x")
            self.assertLess(len(data), HEADER_MAX + 9)
            self.measure("safetensors, %d metadata" % len(metadata), data, True)

    def test_gguf(self):
        vocabulary = b"".join(generate.gguf_string("t%d" % i) for i in range(900000))
        metadata = (generate.gguf_string("tokenizer.ggml.tokens") +
                    struct.pack("<IIQ", 9, 8, 900000) + vocabulary)
        tensors = [("blk.%d.%d" % (i % 100, i), [8], 0, i * 32) for i in range(100000)]
        data = gguf(tensors, bytes(3200000), metadata, n_metadata=1)
        self.measure("GGUF, 100,000 tensors and a vocabulary", data, True)

    def test_definition(self):
        layers = ",".join('{"name":"%06d","bytes":1}' % i for i in range(99999))
        text = '{"name":"m","layers":[%s%s]}' % (layers, ',{"name":"x"}')
        self.measure("definition, refused at its end", text, False)
        shape = ",".join(["1"] * 599000)
        self.measure("definition, one array", '{"name":"m","layers":[%s]}' % shape, False)

    def test_index(self):
        text = json.dumps({"weight_map": {"%040d" % i: "f" for i in range(250000)}})
        self.measure("index", text, False, "LimitExceeded")
        text = json.dumps({"weight_map": {"%040d" % i: "f" for i in range(100000)}})
        self.measure("index, 100,000 tensors", text, False)

    def test_loaded_and_unloaded(self):
        """A model of many tensors, not only planned: gone soon after UnloadModel."""
        if sanitized():
            self.skipTest("a sanitizer's or an emulator's memory is not the daemon's")
        before = self.daemon.status()["RssAnon"]
        for _ in range(3):
            with memory_file(self.many_tensors()) as file:
                self.c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "m"},
                            [file.fileno()])
            known = self.daemon.status()["RssAnon"]
            self.c.call("UnloadModel", model="m")
        wait_until(lambda: self.daemon.status()["RssAnon"] < before + MIB, "the memory")
        after = self.daemon.status()["RssAnon"]
        print("140,000 tensors: %.1f MiB while they are known, %d KiB left" % (
            (known - before) / MIB, (after - before) / 1024), flush=True)


if __name__ == "__main__":
    unittest.main()
