"""File systems that are full, and a disk that fails for a while: it is said, harms nothing, and is over by itself."""
import contextlib
import errno
import os
import subprocess
import unittest

from harness import EDGEMINDD, EMCTL, MIB, TestCase, clean_environment, run, sized_model, wait_until
from leasing import LeaseTestCase, write_model
from machine import IS_ROOT
from slow_files import MNT_DETACH, SlowFiles, UMOUNT_NOFOLLOW, libc


class SmallFileSystem:
    """A tmpfs that can be filled, to the last block and the last inode."""

    def __init__(self, test):
        self.path = test.directory()
        if libc.mount(b"small", str(self.path).encode(), b"tmpfs", 0, b"size=256k,nr_inodes=12,mode=755") < 0:
            raise unittest.SkipTest("needs to mount a tmpfs")
        test.addCleanup(libc.umount2, str(self.path).encode(), MNT_DETACH | UMOUNT_NOFOLLOW)
        self.filling = []

    def fill(self):
        with contextlib.suppress(OSError), open(self.path / "filling", "wb", buffering=0) as file:
            self.filling.append(self.path / "filling")
            while file.write(bytes(4096)) == 4096:
                pass
        with contextlib.suppress(OSError):
            for n in range(100):
                (self.path / str(n)).touch(exist_ok=False)
                self.filling.append(self.path / str(n))
        assert os.statvfs(self.path).f_bfree == 0 and os.statvfs(self.path).f_ffree == 0

    def free(self):
        while self.filling:
            self.filling.pop().unlink()


@unittest.skipUnless(IS_ROOT, "needs root to mount")
class Full(TestCase):
    def setUp(self):
        super().setUp()
        self.small = SmallFileSystem(self)
        self.socket = self.small.path / "s"
        self.empty = self.directory() / "conf"
        self.empty.touch()

    def test_no_room_for_the_socket(self):
        """The daemon refuses to start, with the status after which systemd tries again; as soon as there is
        room it starts."""
        self.small.fill()
        result = run(EDGEMINDD, "--capacity=4M", "--socket=%s" % self.socket, "--config=%s" % self.empty)
        self.assertRegex(self.assertExit(1, result).err, "(?m)%s.*No space left on device$" % self.socket)
        self.assertEqual(sorted(self.small.path.glob("s*")), [])
        self.small.free()
        self.start(capacity="4M", socket=self.socket)
        self.assertEqual(self.call("Stats")["scheduler"]["models"], 0)

    def call(self, *words, **parameters):
        daemon = self.daemons[-1]
        daemon.socket = self.socket
        return daemon.call(*words, **parameters)

    def test_it_fills_up_while_the_daemon_runs(self):
        daemon = self.start(capacity="4M", socket=self.socket)
        self.small.fill()
        self.call("LoadModel", definition=sized_model("m", MIB, 3 * MIB))
        with open(self.small.filling[-1], "wb") as full:
            done = subprocess.run([EMCTL, "list"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
                                  env=clean_environment(EDGEMIND_SOCKET=self.socket))
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"No space left on device", done.stderr)
            done = subprocess.run([EMCTL, "cat", "m", "l0"], stdout=full, stderr=subprocess.PIPE, timeout=60,
                                  check=False, env=clean_environment(EDGEMIND_SOCKET=self.socket))
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"No space left on device", done.stderr)
        picture = self.small.path / "map.svg"
        result = run(EMCTL, "map", "--svg=%s" % picture, env=clean_environment(EDGEMIND_SOCKET=self.socket))
        self.assertIn("No space left on device", self.assertExit(1, result).err)
        self.assertFalse(picture.exists())
        daemon.socket = self.socket
        self.assertUnharmed(daemon)
        daemon.stop()
        self.assertFalse(self.socket.exists())

    def test_no_room_for_the_log(self):
        """Lines are lost while the file system of the log is full, and nothing else; then lines come again."""
        log = open(self.small.path / "log", "ab")
        self.addCleanup(log.close)
        daemon = self.start(capacity="4M", log_level="debug", prefix=(
            "sh", "-c", 'exec "$@" 2>>%s' % log.name, "sh"))
        self.small.fill()
        full = os.fstat(log.fileno()).st_size
        for _ in range(200):
            daemon.call("LoadModel", definition=sized_model("m", MIB, 2 * MIB))
            daemon.call("UnloadModel", model="m")
        self.assertLessEqual(os.fstat(log.fileno()).st_size, full + 4096)
        self.assertUnharmed(daemon)
        self.small.free()
        daemon.call("LoadModel", definition=sized_model("again", MIB))
        wait_until(lambda: b"again" in (self.small.path / "log").read_bytes(), "a line about the model")

    def test_a_download_that_had_no_room(self):
        """Its file is refused as damaged, and accepted when it is whole."""
        daemon = self.start(capacity="4M", model_dir=self.small.path)
        whole = self.directory() / "whole"
        layers = write_model(whole, [100_000])
        path = self.small.path / "w"
        path.write_bytes(b"")
        self.small.fill()
        self.assertVarlinkError("InvalidDefinition", daemon.call, "LoadModel", path="w", name="m")
        self.small.free()
        for n_bytes in (100, whole.stat().st_size // 2):
            path.write_bytes(whole.read_bytes()[:n_bytes])
            self.assertVarlinkError("InvalidDefinition", daemon.call, "LoadModel", path="w", name="m")
        path.write_bytes(whole.read_bytes())
        daemon.call("LoadModel", path="w", name="m")
        self.assertEqual(run(EMCTL, "--socket", daemon.socket, "list", "m", "--json").code, 0)
        self.assertEqual(len(layers), 1)


@unittest.skipUnless(IS_ROOT, "needs root to mount")
class BrokenDisk(LeaseTestCase):
    """Reads fail as long as an operator needs to find the cable, while clients try again and again."""

    options = {"capacity": "20M", "log_level": "info", "policy": "next-use"}
    TRIES = 200

    def test_it_recovers(self):
        path = self.directory() / "w"
        layers = write_model(path, [2 * MIB] * 4)
        files = SlowFiles(self.directory(), {"w": path.read_bytes()})
        self.addCleanup(files.close)
        admin, client = self.client(), self.client()
        admin.call("LoadModel", {"definitionFileDescriptor": 0, "name": "m"}, [files.open("w")])
        admin.call("UnloadLayer", model="m", layer="b.2")
        admin.call("UnloadLayer", model="m", layer="b.3")
        held = client.lease(model="m", layer="b.0")
        admin.release(admin.lease(model="m", layer="b.1"))  # whoever has leased is watched by a descriptor
        fds = self.daemon.n_fds_at_rest()

        files.fail(errno.EIO)
        files.forget("w")
        for _ in range(self.TRIES):
            for method in ("LoadLayer", "Acquire"):
                error = self.assertVarlinkError("IOFailed", admin.call, method, model="m", layer="b.3")
                self.assertEqual(error["errnoName"], "EIO")
            run_id = client.call("BeginRun", model="m")["run"]
            for _ in range(2):
                client.call("Next", run=run_id)
            self.assertVarlinkError("IOFailed", client.call, "Next", run=run_id)
            client.call("EndRun", run=run_id)
        self.assertVarlinkError("IOFailed", admin.call, "Plan", {"definitionFileDescriptor": 0, "name": "n"},
                                [files.open("w")])
        self.assertTrue(client.read(held) == layers["b.0"])
        states = {layer["name"]: layer["state"] for layer in admin.call("List", model="m")["layers"]}
        self.assertEqual(states, {"b.0": "resident", "b.1": "resident", "b.2": "absent", "b.3": "absent"})
        # It is said, but not as often as a client tries.
        self.assertEqual(self.daemon.read_log().count("m/b.3 cannot be read: Input/output error"), 1)

        files.fail(0)
        for layer, data in layers.items():
            reply = client.lease(model="m", layer=layer)
            self.assertTrue(client.read(reply) == data, layer)
            client.release(reply)
        client.release(held)
        self.assertRegex(self.daemon.read_log(), r"m can be read again; \d+ loads had failed")
        self.assertUnharmed()
        self.assertEqual(self.daemon.n_fds_at_rest(), fds)


if __name__ == "__main__":
    unittest.main()
