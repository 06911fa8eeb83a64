"""The power fails. What memory held is gone: the arena, the ledger, whatever systemd kept. What a disk holds may be
old, cut, zeros, or not there. The daemon starts again, says what it can say, and serves right bytes.

EdgeMind itself writes one kind of file, the picture of `emctl map`, and nothing that a start depends on.
"""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from harness import BUILD, EDGEMINDD, EMCTL, EMULATED, FFN10, MIB, clean_environment, run, wait_until
from machine import needs_root
from service_manager import RestartTestCase
from slow_files import MNT_DETACH, libc
from weight_files import WeightsTestCase, generate
import wire

TENSORS = [generate.Tensor("blk.%d.w" % i, "I8", (size,)) for i, size in enumerate((300, 1, 513, 96))]


class Boot(RestartTestCase):
    """Everything in memory is gone, also a runtime directory that is a tmpfs. On a disk the sockets are left over."""

    def setUp(self):
        super().setUp()
        self.runtime = self.directory() / "run"
        self.sockets = self.runtime / "s", self.runtime / "metrics"
        self.daemon = self.service(listening=False, capacity="4M", policy="lru", socket=self.sockets[0],
                                   metrics_listen=self.sockets[1])
        self.daemon.socket = self.sockets[0]
        self.layers = self.load_weights("m", [700_000, 5, 400_000])

    def lose_power(self):
        self.daemon.end(signal.SIGKILL)
        with self.daemon.store.lock:
            self.daemon.store.drop()

    def assertStartsAnew(self):
        self.daemon.start_again()
        self.assertFalse(self.daemon.is_warm())
        self.assertEqual(self.daemon.call("List")["models"], [])
        self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], 0)
        self.assertBytes(self.daemon, "again", self.load_weights("again", [700_000, 5, 400_000]))
        self.assertBytes(self.daemon, "again", self.layers)  # the same seed, so the same bytes
        self.assertUnharmed()

    def test_sockets_are_left(self):
        for _ in range(2):
            self.lose_power()
            self.assertTrue(all(path.is_socket() for path in self.sockets))
            self.assertStartsAnew()

    def test_runtime_directory_is_gone(self):
        self.lose_power()
        shutil.rmtree(self.runtime)
        self.assertStartsAnew()

    def test_what_is_left_is_no_socket(self):
        """As after a repair of the file system. It is no file of the daemon, so it stays, and the message names it."""
        self.lose_power()
        self.sockets[0].unlink()
        self.sockets[0].write_bytes(bytes(100))
        self.daemon.start_again(ready=False)
        self.assertEqual(self.daemon.process.wait(), 1)  # systemd tries again
        self.assertIn("cannot listen on %s" % self.sockets[0], self.daemon.read_log())
        self.sockets[0].unlink()
        self.daemon.store.drop()
        self.assertStartsAnew()


class Configuration(RestartTestCase):
    """test_config_file.c cuts the file at every byte."""

    def test_cut(self):
        self.daemon = self.service(config="capacity = 4M\nmax-connections = 64", capacity=None)
        said = "conf:2: the last line has no end; if the file was cut, write it again"
        self.assertEqual(self.daemon.read_log().count(said), 1)
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.daemon.read_log().count(said) == 2, "the warning")
        self.daemon.config.write_text("capacity = 4M\nmax-connections = 64\n")
        self.daemon.restart()
        self.assertNotIn(said, self.daemon.read_log())

    def test_damaged_while_the_daemon_runs(self):
        self.daemon = self.service(config="capacity = 4M\nmax-connections = 64\n", capacity=None)
        layers = self.load_weights("m", [70_000])
        for damaged in (b"capacity = 4M\nmax-conn", bytes(40), None):
            seen = self.daemon.read_log().count("the old configuration stays")
            self.daemon.config.write_bytes(damaged) if damaged else self.daemon.config.unlink()
            self.daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: self.daemon.read_log().count("the old configuration stays") > seen, "a refusal")
        self.assertBytes(self.daemon, "m", layers)

    def test_no_start(self):
        """No capacity would be right, so systemd does not try again."""
        path = self.directory() / "conf"
        for damaged in (b"", b"capac", b"capacity = 4M\0\0\0", bytes(40)):
            path.write_bytes(damaged)
            result = self.assertExit(2, run(EDGEMINDD, "--config=%s" % path, "--socket=%s" % (self.directory() / "s")))
            self.assertRegex(result.err, "capacity|%s:1: " % path)


class Weights(WeightsTestCase):
    """A download was being written. Whatever is not refused is served as it is in the file."""

    options = {"capacity": "4M", "log_level": "info"}
    STEP = 11 if EMULATED else 1

    def check(self, damaged, whole, path, weights, placed, whole_from, read=None):
        """`damaged` is cut, or has zeros instead of its end, anywhere. From `whole_from` on the zeros are
        no header, or one that says something else: then `read` tells what, if that many bytes are right."""
        client = self.client()
        for n in range(0, len(whole), self.STEP):
            for zeros in (0, len(whole) - n):
                damaged.write_bytes(whole[:n] + bytes(zeros))
                try:
                    client.load_model(path, weights, name="m")
                except wire.VarlinkError as refused:
                    self.assertEqual(refused.error, "InvalidDefinition")
                else:
                    self.assertTrue(zeros and n >= whole_from, "%d bytes, %d zeros" % (n, zeros))
                    self.assertBytes(client, "m", read(n) if read else placed)
                    client.call("UnloadModel", model="m")
        damaged.write_bytes(whole)
        client.load_model(path, weights, name="m")
        self.assertBytes(client, "m", placed)
        self.assertUnharmed()

    def test_safetensors(self):
        path = self.directory() / "w"
        placed = generate.write_safetensors(str(path), TENSORS)
        self.check(path, path.read_bytes(), path, (), placed, placed[0].offset)

    def test_gguf(self):
        """Its last tensor is empty if the header ends with zeros just where it says the tensor's size."""
        path = self.directory() / "w"
        placed = generate.write_gguf(str(path), TENSORS)
        whole, name = path.read_bytes(), TENSORS[-1].name
        n_dimensions = whole.index(name.encode()) + len(name)
        emptied = [*placed[:-1], placed[-1]._replace(dtype="F32", shape=(0,), bytes=0)]
        self.check(path, whole, path, (), placed, n_dimensions + 1,
                   lambda n: emptied if n <= n_dimensions + 4 else placed)

    def sharded(self):
        directory = self.directory()
        placed = generate.write_sharded(directory, TENSORS)
        index = directory / "model.safetensors.index.json"
        shards = sorted({pathlib.Path(tensor.path) for tensor in placed})
        return placed, index, shards, [shard.name for shard in shards]

    def test_index(self):
        placed, index, _, names = self.sharded()
        self.check(index, index.read_bytes(), index, names, placed, index.stat().st_size)

    def test_shard(self):
        placed, index, shards, names = self.sharded()
        begins = min(tensor.offset for tensor in placed if tensor.path == str(shards[-1]))
        self.check(shards[-1], shards[-1].read_bytes(), index, names, placed, begins)

    def test_definition(self):
        text = FFN10.read_bytes()
        path = self.directory() / "ffn10.json"
        for n in range(0, len(text.rstrip()), self.STEP):
            for zeros in (0, len(text) - n):
                path.write_bytes(text[:n] + bytes(zeros))
                with self.connect() as connection, open(path) as file:
                    self.assertVarlinkError("InvalidDefinition", connection.call, "LoadModel",
                                            {"definitionFileDescriptor": 0}, [file.fileno()])
        self.assertUnharmed()


@needs_root
class Picture(RestartTestCase):
    def mounted(self, image):
        directory = self.directory()
        # Without noauto_da_alloc ext4 itself would care for a file that replaces another one.
        if run("mount", "-o", "loop,noauto_da_alloc", image, directory).code:
            self.skipTest("needs to mount a loop device")
        self.addCleanup(libc.umount2, str(directory).encode(), MNT_DETACH)
        return directory

    def test_old_or_new(self):
        """The disk has what the file system wrote until the power fails."""
        if not shutil.which("mkfs.ext4"):
            self.skipTest("needs mkfs.ext4")
        image = self.directory() / "image"
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        self.assertExit(0, run("mkfs.ext4", "-q", image))
        disk = self.mounted(image)
        self.daemon = self.service(capacity="4M")
        for name in ("old.svg", "new.svg"):
            if name == "old.svg":
                (disk / name).write_text("old")
            subprocess.run(["sync", "-f", disk], check=True)
            self.assertExit(0, self.daemon.emctl("map", "--svg", disk / name))
            with open(disk / ("beside " + name), "w") as other:
                os.fsync(other.fileno())  # the journal, with all names, but not the bytes of other files
            copy = shutil.copyfile(image, self.directory() / "copy")
            with self.subTest(name):
                self.assertRegex((self.mounted(copy) / name).read_text(), r"(?s)^<svg .*</svg>\n$")


class Attributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


@needs_root
@unittest.skipIf(EMULATED, "the emulator needs to write")
class ReadOnly(RestartTestCase):
    """All file systems are read-only, but for the socket's directory: so nothing persistent is written."""

    CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, AT_RECURSIVE, RDONLY, MOUNT_SETATTR = 0x20000, 4096, 16384, 1 << 18, 0x8000, 1, 442

    def set_attributes(self, path, flags, **attributes):
        attributes = Attributes(**attributes)
        return libc.syscall(self.MOUNT_SETATTR, -100, path, flags, ctypes.byref(attributes),
                            ctypes.sizeof(attributes))

    def close_all(self):
        """In the child process."""
        runtime = str(self.runtime).encode()
        if (libc.unshare(self.CLONE_NEWNS) < 0 or libc.mount(None, b"/", None, self.MS_REC | self.MS_PRIVATE, None) < 0 or
                libc.mount(runtime, runtime, None, self.MS_BIND, None) < 0 or
                self.set_attributes(b"/", self.AT_RECURSIVE, set=self.RDONLY) < 0 or
                self.set_attributes(runtime, 0, clear=self.RDONLY) < 0):
            raise OSError(ctypes.get_errno())
        try:
            open("/tmp/not-read-only", "w")
        except OSError:
            return
        raise AssertionError("/tmp can be written")

    def run_closed(self, *words, **environment):
        return self.assertExit(0, run(*words, preexec_fn=self.close_all, env=clean_environment(
            EDGEMIND_SOCKET=self.runtime / "s", **environment)))

    def test_everything_works(self):
        self.runtime = self.directory()
        self.daemon = self.service(listening=False, capacity="4M", policy="lru", socket=self.runtime / "s",
                                   process={"preexec_fn": self.close_all})
        self.daemon.socket = self.runtime / "s"
        path = self.directory() / "m.safetensors"
        generate.write_safetensors(str(path), [generate.Tensor("b.%d.w" % i, "I8", (MIB,)) for i in range(3)])
        for verb in (["load-model", path], ["list", "m"], ["stats"], ["why", "m"], ["views"],
                     ["plan", path, "--capacity=2M"], ["set-policy", "next-use"], ["reset"],
                     ["exec", "--", BUILD / "tests/integration/view_reader", "all", path]):
            self.run_closed(EMCTL, *verb)
        self.daemon.restart()
        self.assertWarm(self.daemon)
        self.assertEqual(self.daemon.call("List")["models"][0]["name"], "m")
        self.assertEqual([entry.name for entry in self.runtime.iterdir()], ["s"])


if __name__ == "__main__":
    unittest.main()
