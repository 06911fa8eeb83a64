"""What the tests of weight files share: clients that pass files to the daemon and read what they
lease, places to put files, and what the arena must hold."""
import array
import contextlib
import hashlib
import os
import pathlib
import re
import socket
import sys

from harness import BUILD, INTERFACES, MIB, ROOT, TIMEOUT, TestCase, run
from machine import IS_ROOT
import wire

sys.path.insert(0, str(ROOT / "tests"))
import generate_weights as generate  # noqa: E402

DISK_FILE_SYSTEMS = ("ext2/ext3", "ext4", "xfs", "btrfs", "f2fs")
WRITE = {"safetensors": generate.write_safetensors, "gguf": generate.write_gguf}
DTYPES = {"safetensors": generate.SAFETENSORS_DTYPES, "gguf": generate.GGUF_DTYPES}
BLOCK = {"safetensors": "model.layers", "gguf": "blk"}


class Client(wire.Varlink):
    """A connection that keeps the descriptors that come with replies."""

    def __init__(self, daemon):
        self.fds = []
        super().__init__(daemon.socket, INTERFACES, TIMEOUT)

    def receive(self):
        while b"\0" not in self.buffer:
            data, rights, _, _ = self.socket.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 8),
                                                     socket.MSG_CMSG_CLOEXEC)
            for _, _, numbers in rights:
                fds = array.array("i")
                fds.frombytes(numbers)
                self.fds.extend(fds)
            if not data:
                assert not self.buffer, "the daemon ended inside a message"
                return None
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return message

    def close(self):
        super().close()
        while self.fds:
            os.close(self.fds.pop())

    @contextlib.contextmanager
    def leased(self, model, layer):
        """The layer's Acquire reply and its bytes, read through the arena's descriptor."""
        reply = self.call("Acquire", model=model, layer=layer)
        assert (reply.get("arenaFileDescriptor") is not None) == (not hasattr(self, "arena")), reply
        if not hasattr(self, "arena"):
            self.arena = self.fds[reply["arenaFileDescriptor"]]
        yield reply, b"".join(os.pread(self.arena, s["length"], s["offset"])
                              for s in reply["segments"])
        self.call("Release", lease=reply["lease"])

    def load_model(self, path, weights=(), method="LoadModel", flags=os.O_RDONLY, **parameters):
        """Calls LoadModel with descriptors of a file and of the weight files that it names."""
        with self.passed(path, weights, flags) as (sources, fds):
            return self.call(method, dict(parameters, **sources), fds)

    @staticmethod
    @contextlib.contextmanager
    def passed(path, weights=(), flags=os.O_RDONLY):
        """A call's parameters and descriptors."""
        path = pathlib.Path(path)
        fds = []
        try:
            for file in (path, *(path.parent / name for name in weights)):
                fds.append(os.open(file, flags | os.O_CLOEXEC))
            named = [{"path": name, "fileDescriptor": i + 1} for i, name in enumerate(weights)]
            yield {"definitionFileDescriptor": 0, "weights": named or None}, fds
        finally:
            for fd in fds:
                os.close(fd)


def file_bytes(placed):
    with open(placed.path, "rb") as file:
        return os.pread(file.fileno(), placed.bytes, placed.offset)


def make_cold(path):
    """Takes a file out of the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def every_dtype(kind):
    """One layer for each dtype, with odd sizes. The first layer takes several reads; the last one
    ends the file at an odd place."""
    tensors = [generate.Tensor("%s.0.large" % BLOCK[kind], "I8", (2 * MIB + 4321,))]
    for i, (name, (elements, size, *_)) in enumerate(DTYPES[kind].items()):
        rows = (9973 + 131 * i) // size
        tensors.append(generate.Tensor("%s.%d.w" % (BLOCK[kind], i + 1), name, (rows, elements)))
    tensors.append(generate.Tensor("%s.%d.w" % (BLOCK[kind], len(tensors)), "I8", (3, 1, 337)))
    return tensors


def disk_directory():
    """A directory on a disk, or None."""
    for directory in ("/var/tmp", BUILD, "/tmp", os.path.expanduser("~")):
        found = run("stat", "-f", "-c", "%T", directory).out.strip()
        if found in DISK_FILE_SYSTEMS and os.access(directory, os.W_OK):
            return str(directory)
    return None


class WeightsTestCase(TestCase):
    def client(self, daemon=None):
        client = Client(daemon or self.daemon)
        self.addCleanup(client.close)
        return client

    def disk(self):
        """A private directory on a disk, where direct reads are possible."""
        parent = disk_directory()
        if not parent:
            self.skipTest("needs a directory on a disk")
        return self.directory(parent)

    def memory(self):
        """A private directory in tmpfs."""
        if run("stat", "-f", "-c", "%T", "/dev/shm").out.strip() != "tmpfs":
            self.skipTest("needs a tmpfs at /dev/shm")
        return self.directory("/dev/shm")

    def overlay(self):
        """A private directory in an overlayfs whose layers are on a disk."""
        if not IS_ROOT:
            self.skipTest("needs root")
        base = self.disk()
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        mounted = run("mount", "-t", "overlay", "overlay", "-o",
                      "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(base),
                      base / "merged")
        if mounted.code:
            self.skipTest("needs to mount an overlay: " + mounted.err.strip())
        self.addCleanup(run, "umount", base / "merged")
        return base / "merged"

    def assertBytes(self, client, model, placed):
        """Checks that every tensor in the arena equals that in the file, and that none is
        missing."""
        expected = {tensor.name: tensor for tensor in placed}
        for layer in client.call("List", model=model)["layers"]:
            with client.leased(model, layer["name"]) as (reply, data):
                self.assertEqual(len(data), reply["bytes"])
                self.assertEqual(layer["bytes"], reply["bytes"])
                self.assertEqual(reply["layer"], layer["name"])
                self.assertEqual(len(reply["tensors"]), layer["tensors"])
                for tensor in reply["tensors"]:
                    wanted = expected.pop(tensor["name"])
                    self.assertEqual((tensor["dtype"], tensor["shape"], tensor["bytes"]),
                                     (wanted.dtype, list(wanted.shape), wanted.bytes))
                    found = data[tensor["offset"]:tensor["offset"] + tensor["bytes"]]
                    self.assertEqual(sha256(found), sha256(file_bytes(wanted)), wanted)
        self.assertEqual(expected, {})

    def assertEvicted(self, client, model):
        client.call("Reset")
        self.assertEqual({layer["state"] for layer in client.call("List", model=model)["layers"]},
                         {"absent"})

    def source_flags(self, path, daemon=None):
        """The open flags of the daemon's descriptor of a file."""
        process = pathlib.Path("/proc/%d" % (daemon or self.daemon).pid)
        for fd in os.listdir(process / "fd"):
            if os.readlink(process / "fd" / fd) == str(path):
                info = (process / "fdinfo" / fd).read_text()
                return int(re.search(r"^flags:\s*(\d+)", info, re.M).group(1), 8)
        self.fail("the daemon has no descriptor of %s" % path)
