"""Weight files: every byte in the arena is that of the file, however and wherever the file is
read."""
import fcntl
import os
import pathlib
import re
import tempfile
import unittest

from harness import MIB, PAGE, sized_model
from machine import writable_setting
from weight_files import WRITE, WeightsTestCase, every_dtype, generate, make_cold, sha256


class EveryByte(WeightsTestCase):
    """Both formats, every dtype; read directly and through the page cache; data that begins on a
    page, on a sector and at odd places; in one run of pages and in many; after a reload."""

    def check_everything(self, daemon, directory, io=None):
        client = self.client(daemon)
        for kind in ("safetensors", "gguf"):
            tensors = every_dtype(kind)
            for shift in (0, 512, 1, 4095, None):
                alignment = {"alignment": 1 if shift in (1, 4095) else 32} if kind == "gguf" else {}
                with self.subTest(kind=kind, shift=shift, directory=str(directory), io=io):
                    path = directory / ("model.%s" % kind)
                    placed = WRITE[kind](str(path), tensors, seed=7, shift=shift, **alignment)
                    if shift is not None:
                        self.assertEqual(placed[0].offset % generate.BLOCK, shift)
                    last = placed[-1]
                    self.assertEqual(last.offset + last.bytes, path.stat().st_size)
                    make_cold(path)
                    self.check_model(client, path, placed)
                    if io and directory_takes_direct(directory):
                        flags = self.source_flags(path, daemon)
                        self.assertEqual(bool(flags & os.O_DIRECT), io == "direct")
                    client.call("UnloadModel", model="m")
        self.assertUnharmed(daemon)

    def check_model(self, client, path, placed):
        loaded = client.load_model(path, name="m")
        self.assertEqual(loaded["resident"], loaded["layersTotal"])
        self.assertBytes(client, "m", placed)
        self.assertEvicted(client, "m")
        self.assertBytes(client, "m", placed)  # Acquire loads them again
        self.assertEvicted(client, "m")
        self.fragment(client)
        self.assertBytes(client, "m", placed)
        layers = client.call("List", model="m")["layers"]
        self.assertGreater(max(layer["extents"] for layer in layers), 10)
        client.call("UnloadModel", model="filler")

    @staticmethod
    def fragment(client):
        """Every second 64 KiB of the arena is taken."""
        n = client.call("Stats")["arena"]["capacityBytes"] >> 16
        client.call("LoadModel", definition=sized_model("filler", *[1 << 16] * n))
        for i in range(0, n, 2):
            client.call("UnloadLayer", model="filler", layer="l%d" % i)

    def check_ways(self, directory, **options):
        for io in ("direct", "buffered", "auto"):
            # Half of it holds every layer, with two pages that are only a part of it.
            daemon = self.start(capacity=8 * MIB + 128 * PAGE, io=io, **options)
            self.check_everything(daemon, directory, io if io != "auto" else None)
            daemon.stop()

    def test_disk(self):
        self.check_ways(self.disk())

    def test_disk_commit_load(self):
        self.check_ways(self.disk(), commit="load")

    def test_tmpfs(self):
        self.check_ways(self.memory())

    def test_overlay(self):
        self.check_ways(self.overlay())


def directory_takes_direct(directory):
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        try:
            fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT)
        except OSError:
            return False
        return True


class LargerPages(WeightsTestCase):
    """The bytes are also right if the arena has huge pages."""

    def check(self, **options):
        directory = self.disk()
        for io in ("direct", "buffered"):
            daemon = self.start(io=io, **options)
            client = self.client(daemon)
            for kind, shift in (("safetensors", 1), ("safetensors", 0), ("gguf", 32)):
                path = directory / ("model.%s" % kind)
                placed = WRITE[kind](str(path), every_dtype(kind), shift=shift)
                client.load_model(path, name="m")
                self.assertBytes(client, "m", placed)
                self.assertEvicted(client, "m")
                self.assertBytes(client, "m", placed)
                client.call("UnloadModel", model="m")
            self.assertUnharmed(daemon)
            backing = daemon.stats()["arena"]["backing"]
            client.close()  # its descriptor keeps the arena's pages
            daemon.stop()
        return backing

    def test_reserved(self):
        pool = pathlib.Path("/proc/sys/vm/nr_hugepages")
        writable_setting(self, pool, str(int(pool.read_text()) + 48))
        free = int(re.search(r"HugePages_Free:\s*(\d+)",
                             pathlib.Path("/proc/meminfo").read_text()).group(1))
        if free < 48:
            self.skipTest("needs 48 huge pages: the machine has only %d left" % free)
        self.assertEqual(self.check(capacity="96M", huge_pages="reserved"), "reserved-huge-pages")

    def test_transparent(self):
        for commit in ("boot", "load"):
            self.check(capacity="12M", huge_pages="auto", commit=commit)


class Reload(WeightsTestCase):
    """More layers than fit: each is loaded again with the same bytes, whatever used its pages
    meanwhile."""

    def test_cycles(self):
        directory = self.disk()
        for kind in ("safetensors", "gguf"):
            for policy in ("lru", "flush-all"):
                daemon = self.start(capacity="4M", policy=policy)
                client = self.client(daemon)
                tensors = generate.model(kind, blocks=12, block_bytes=MIB - 4321)
                placed = WRITE[kind](str(directory / "w"), tensors, shift=4064)
                loaded = client.load_model(directory / "w", name="m")
                self.assertGreater(loaded["mustUnload"], 0)
                self.assertLess(loaded["resident"], loaded["layersTotal"])
                for _ in range(3):
                    self.assertBytes(client, "m", placed)
                self.assertGreater(daemon.stats()["scheduler"]["misses"], 40)
                daemon.stop()

    def test_leased_bytes_stay(self):
        """A leased layer keeps its bytes while all other layers are loaded and evicted."""
        daemon = self.start(capacity="4M", policy="lru")
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=12, block_bytes=MIB - 4321)
        placed = generate.write_safetensors(str(directory / "w"), tensors)
        holder, client = self.client(), self.client()
        client.load_model(directory / "w", name="m")
        with holder.leased("m", "model.layers.3") as (reply, data):
            for _ in range(2):
                self.assertBytes(client, "m", placed)
            again = b"".join(os.pread(holder.arena, s["length"], s["offset"])
                             for s in reply["segments"])
            self.assertEqual(sha256(again), sha256(data))
            self.assertGreater(daemon.stats()["arena"]["leasedBytes"], 0)
        self.assertEqual(daemon.stats()["arena"]["leasedBytes"], 0)

    def client(self, daemon=None):
        return super().client(daemon or self.daemons[-1])

    def test_the_descriptor_shows_all_and_changes_nothing(self):
        """The arena's descriptor is read-only, and stays so."""
        self.start(capacity="4M")
        directory = self.disk()
        generate.write_safetensors(str(directory / "w"), [generate.Tensor("t", "U8", (9,))])
        client = self.client()
        client.load_model(directory / "w", name="m")
        with client.leased("m", "t"):
            with self.assertRaises(OSError):
                os.pwrite(client.arena, b"x", 0)
            with self.assertRaises(OSError):
                os.ftruncate(client.arena, 0)
            self.assertEqual(fcntl.fcntl(client.arena, fcntl.F_GETFL) & os.O_ACCMODE, os.O_RDONLY)


if __name__ == "__main__":
    unittest.main()
