"""The base of the tests of edgemind.py. TEST_NUMPY=no imports it as if NumPy were not installed."""
import os
import pathlib
import re
import sys
import unittest

from harness import ROOT, TestCase

sys.path[:0] = [str(ROOT / "client" / "python"), str(ROOT / "tests")]
if os.environ.get("TEST_NUMPY") == "no":
    sys.modules["numpy"] = None  # importing it raises ImportError
import edgemind  # noqa: E402
import generate_weights as generate  # noqa: E402

needs_numpy = unittest.skipUnless(edgemind.numpy, "needs NumPy")


class ClientTestCase(TestCase):
    def client(self, daemon=None, **options):
        client = edgemind.Connection((daemon or self.daemon).socket, **options)
        self.addCleanup(client.close)
        return client

    def write(self, name, data, directory=None):
        path = (directory or self.directory()) / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def patch(self, owner, name, value):
        self.addCleanup(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def load(self, client, name, *sizes):
        """A model with weights; its layers' bytes."""
        path = self.directory() / (name + ".safetensors")
        placed = generate.write_safetensors(
            path, [generate.Tensor("model.layers.%d.w" % i, "I8", (size,))
                   for i, size in enumerate(sizes)], seed=name)
        client.load_model(path)
        data = path.read_bytes()
        return [data[tensor.offset:tensor.offset + tensor.bytes] for tensor in placed]

    def assertGone(self, view):
        """The view refuses every use."""
        for use in (lambda: view[0], lambda: bytes(view), lambda: len(view)):
            with self.assertRaises(ValueError):
                use()

    def assertEnded(self, client):
        with self.assertRaises(OSError):
            client.call("Stats")



def own_mappings():
    """This process's mappings of an arena: (address range, permissions, Rss, Pss)."""
    found = []
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            found.append([*line.split()[:2], 0, 0] if "/memfd:" in line else None)
        elif found[-1] and line.startswith(("Rss:", "Pss:")):
            found[-1][2 if line.startswith("Rss:") else 3] = int(line.split()[1]) * 1024
    return [mapping for mapping in found if mapping]



def own_fds():
    return sorted(os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                  if os.path.exists("/proc/self/fd/" + fd))
