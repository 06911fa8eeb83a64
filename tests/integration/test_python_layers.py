"""edgemind.py's layers: right bytes, no copy, and no use after release."""
import contextlib
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import unittest

from harness import FFN10, MIB, PAGE, clean_environment, run, sized_model
from machine import proc_status, writable_setting
from python_client import ClientTestCase, edgemind, generate, needs_numpy, own_mappings

HUGE = 2 * MIB
FLAT = {"BF16", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3",
        "F6_E3M2"}  # dtypes that even NumPy has no name for


class Layers(ClientTestCase):
    options = {"capacity": "16M"}

    def split(self, client, extents=4):
        """Loads a model "split" of one layer in this many segments. Returns its bytes."""
        self.load(client, "even", *[PAGE] * 2 * extents)
        rest = client.call("Stats")["arena"]["freeBytes"]
        client.call("LoadModel", definition=sized_model("rest", rest))
        for i in range(0, 2 * extents, 2):
            client.call("UnloadLayer", model="even", layer="model.layers.%d" % i)
        # A safetensors file's data does not begin at a page.
        free = client.call("Stats")["arena"]["freeBytes"]
        return self.load(client, "split", free - PAGE + 1)[0]

    def test_bytes(self):
        client = self.client()
        expected = self.load(client, "m", 1, PAGE, 3 * MIB + 17)
        for i, data in enumerate(expected):
            with client.acquire("m", "model.layers.%d" % i) as lease:
                self.assertEqual((lease.name, lease.nbytes), ("model.layers.%d" % i, len(data)))
                self.assertEqual(lease.data, data)
                self.assertEqual((lease.data.format, lease.data.ndim), ("B", 1))
                self.assertIs(lease.data, lease.data)

    def test_read_only(self):
        client = self.client()
        self.load(client, "m", MIB)
        lease = client.acquire("m", "model.layers.0")
        self.assertTrue(lease.data.readonly)
        with self.assertRaises(TypeError):
            lease.data[0] = 1
        tensor = lease.tensors["model.layers.0.w"]
        with self.assertRaises((TypeError, ValueError)):
            tensor[0] = 1
        self.assertTrue(memoryview(tensor).readonly)
        self.assertTrue(all(permissions == "r--s" for _, permissions, *_ in own_mappings()))

    @needs_numpy
    def test_arrays_cannot_be_made_writable(self):
        client = self.client()
        self.load(client, "m", MIB)
        tensor = client.acquire("m", "model.layers.0").tensors["model.layers.0.w"]
        with self.assertRaises(ValueError):
            tensor.flags.writeable = True

    def test_every_dtype(self):
        """Shape, type and each element, or the bytes if there is no such type."""
        tensors = [generate.Tensor("model.layers.0." + name, name, (4, 3, 8))
                   for name in generate.SAFETENSORS_DTYPES]
        tensors += [generate.Tensor("model.layers.0.scalar", "F32", ()),
                    generate.Tensor("model.layers.0.odd", "U8", (1,)),
                    generate.Tensor("model.layers.0.unaligned", "F64", (2, 2))]
        path = self.directory() / "m"
        placed = generate.write_safetensors(path, tensors)
        client = self.client()
        client.load_model(path)
        data = path.read_bytes()
        with client.acquire("m", "model.layers.0") as lease:
            self.assertEqual(set(lease.tensors), {t.name for t in tensors})
            for tensor, where in zip(tensors, placed):
                with self.subTest(tensor=tensor.name):
                    found = lease.tensors[tensor.name]
                    raw = data[where.offset:where.offset + where.bytes]
                    known = edgemind.FORMATS.get(tensor.dtype, (None, None))
                    named = known[0 if edgemind.numpy else 1]
                    self.assertEqual(lease.layout[tensor.name][1:3], (tensor.dtype, tensor.shape))
                    self.assertEqual(lease.layout[tensor.name].nbytes, len(raw))
                    self.assertEqual(found.tobytes(), raw)
                    self.assertEqual(found.shape, tensor.shape if named else (len(raw),))
                    if edgemind.numpy:
                        self.assertIsInstance(found, edgemind.numpy.ndarray)
                        self.assertEqual(found.dtype, named or "u1")
                        self.assertEqual(bool(named), tensor.dtype not in FLAT)
                    else:
                        self.assertIsInstance(found, memoryview)
                        self.assertEqual(found.format, named or "B")

    def test_gguf_blocks(self):
        """Quantised types are bytes."""
        path = self.directory() / "m"
        placed, = generate.write_gguf(path, [generate.Tensor("blk.0.w", "Q4_K", (2, 256))])
        client = self.client()
        client.load_model(path)
        lease = client.acquire("m", "blk.0")
        self.assertEqual(lease.layout["blk.0.w"],
                         edgemind.Tensor("blk.0.w", "Q4_K", (2, 256), 0, 288))
        self.assertEqual(lease.tensors["blk.0.w"].tobytes(),
                         path.read_bytes()[placed.offset:placed.offset + 288])

    def test_tensor_without_elements(self):
        path = self.directory() / "m"
        generate.write_safetensors(path, [generate.Tensor("model.layers.0.none", "F32", (0, 3)),
                                          generate.Tensor("model.layers.0.w", "F32", (2,))])
        client = self.client()
        client.load_model(path)
        found = client.acquire("m", "model.layers.0").tensors["model.layers.0.none"]
        self.assertEqual(found.shape, (0, 3) if edgemind.numpy else (0,))

    def test_a_layer_without_tensors(self):
        client = self.client()
        client.call("LoadModel", definition=sized_model("m", 5000))
        lease = client.acquire("m", "l0")
        self.assertEqual((lease.tensors, lease.layout), ({}, {}))
        self.assertEqual(lease.data, bytes(5000))

    def test_several_segments(self):
        client = self.client()
        expected = self.split(client)
        for _ in range(3):
            with client.acquire("split", "model.layers.0") as lease:
                self.assertGreaterEqual(len(lease._segments), 4)
                self.assertEqual(lease.data, expected)
                self.assertEqual(lease.tensors["model.layers.0.w"].tobytes(), expected)
                self.assertTrue(lease.data.contiguous)
        self.assertGone(lease._parts[0])
        # There is one mapping for each placement, piece by piece, and the mapping of the arena.
        self.assertEqual(len(client._arena.contiguous), 1)
        self.assertLessEqual(len(own_mappings()), 1 + len(lease._segments))
        client.close()
        self.assertEqual(own_mappings(), [])

    def test_several_segments_of_huge_pages(self):
        setting = pathlib.Path("/proc/sys/vm/nr_hugepages")
        meminfo = pathlib.Path("/proc/meminfo")
        if "Hugepagesize:       2048 kB" not in meminfo.read_text():
            self.skipTest("needs 2 MiB huge pages")
        writable_setting(self, setting, str(int(setting.read_text()) + 8))
        if int(re.search(r"HugePages_Free: +(\d+)", meminfo.read_text()).group(1)) < 8:
            self.skipTest("this machine has no 8 huge pages to reserve")
        for commit in ("boot", "load"):
            daemon = self.start(capacity=8 * HUGE, huge_pages="reserved", commit=commit)
            client = self.client(daemon)
            self.load(client, "even", *[HUGE - PAGE] * 8)
            for i in range(0, 8, 2):
                client.call("UnloadLayer", model="even", layer="model.layers.%d" % i)
            expected, = self.load(client, "split", 4 * HUGE - PAGE)
            with client.acquire("split", "model.layers.0") as lease:
                self.assertEqual(len(lease._segments), 4)
                self.assertEqual(lease.data, expected)
            client.close()
            self.assertEqual(own_mappings(), [])
            daemon.stop()

    def test_mappings_that_are_forgotten(self):
        """The cache of mappings is bounded by their segments; mappings in use stay."""
        client = self.client()
        expected = self.split(client)
        self.patch(edgemind, "SEGMENTS_CACHED_MAX", 4)
        with client.acquire("split", "model.layers.0") as lease:
            first = lease.data
            pages = range(0, 8 * PAGE, 2 * PAGE)
            for offset in pages:
                client._arena.view(((offset + 8 * PAGE, PAGE), (offset, PAGE)))
                self.assertLessEqual(len(client._arena.contiguous), 2)
            self.assertNotIn(lease._segments, client._arena.contiguous)
            self.assertEqual(first, expected)

    def test_an_arena_that_is_not_as_described(self):
        client = self.client()
        self.load(client, "m", MIB)
        client.acquire("m", "model.layers.0").data
        for segments in (((0, PAGE - 1), (PAGE, PAGE)), ((0, PAGE), (PAGE + 1, PAGE)),
                         ((16 * MIB, 1),), ((0, PAGE), (16 * MIB, PAGE))):
            with self.subTest(segments=segments), self.assertRaises(ConnectionError):
                client._arena.view(segments)

    def test_no_copy(self):
        """All layers lie in the one mapping, which this process shares with the daemon."""
        client = self.client()
        expected = self.load(client, "m", *[MIB] * 12)
        anonymous = proc_status(os.getpid())["RssAnon"]
        for i in range(60):
            with client.acquire("m", "model.layers.%d" % (i % 12)) as lease:
                self.assertEqual(hashlib.sha256(lease.data).digest(),
                                 hashlib.sha256(expected[i % 12]).digest())
                tensor = lease.tensors["model.layers.%d.w" % (i % 12)]
                self.assertEqual(memoryview(tensor)[5], memoryview(expected[i % 12]).cast("b")[5])
                del tensor
                if edgemind.numpy:
                    self.assertIn(lease.tensors["model.layers.%d.w" % (i % 12)].ctypes.data,
                                  range(*(int(a, 16) for a in own_mappings()[0][0].split("-"))))
        mapping, = own_mappings()
        _, _, rss, pss = mapping
        self.assertGreaterEqual(rss, 12 * MIB)
        # The daemon counts for half of each page, and there is no third process.
        self.assertLessEqual(pss, rss // 2 + 64 * PAGE)
        self.assertLess(proc_status(os.getpid())["RssAnon"] - anonymous, 6 * MIB)

    def test_four_processes_and_the_daemon_share_one_copy(self):
        client = self.client()
        self.load(client, "m", 15 * MIB)
        code = ("import hashlib, sys; sys.path[:0] = %r; import python_client as t\n"
                "with t.edgemind.Connection(%r) as client:\n"
                "    lease = client.acquire('m', 'model.layers.0')\n"
                "    print(hashlib.sha256(lease.data).hexdigest(), flush=True)\n"
                "    sys.stdin.readline()\n"
                "    print(sum(mapping[3] for mapping in t.own_mappings()), flush=True)\n"
                "    sys.stdin.readline()\n" % (sys.path, str(self.daemon.socket)))
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=clean_environment(), text=True)) for _ in range(4)]
            hashes = {other.stdout.readline() for other in others}
            self.assertEqual(len(hashes), 1)
            for other in others:
                print(file=other.stdin, flush=True)
            pss = [int(other.stdout.readline()) for other in others]
            daemon = self.daemon.arena_smaps()["Pss"]
            for other in others:
                print(file=other.stdin, flush=True)
        self.assertEqual([other.returncode for other in others], [0] * 4)
        self.assertLessEqual(sum(pss) + daemon, 16 * MIB + 8 * PAGE)
        self.assertGreater(min(pss), 15 * MIB // 5 - 8 * PAGE)

    def test_an_arena_that_grows(self):
        daemon = self.start(capacity="16M", commit="load")
        client = self.client(daemon)
        held = []
        for name in "abcd":
            expected = self.load(client, name, MIB + 5, MIB)
            for i in range(2):
                lease = client.acquire(name, "model.layers.%d" % i)
                held.append((lease, lease.data, expected[i]))
            for lease, data, expected_bytes in held:
                self.assertEqual(data, expected_bytes)
        self.assertEqual(len(client._arena.whole), os.stat(daemon.arena_path()).st_size)
        for lease, _, _ in held:
            lease.release()
        del held, lease, data
        self.assertEqual(len(own_mappings()), 1)

    def test_use_after_release(self):
        client = self.client()
        self.load(client, "m", MIB)
        with client.acquire("m", "model.layers.0") as lease:
            data, tensors = lease.data, lease.tensors
            tensor = tensors["model.layers.0.w"]
        self.assertTrue(lease.released)
        self.assertGone(data)
        if not edgemind.numpy:
            self.assertGone(tensor)
        self.assertEqual(tensors, {})
        with self.assertRaises(ValueError):
            lease.data
        with self.assertRaises(ValueError):
            lease.tensors
        lease.release()
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)
        # The same layer again is a separate view.
        with client.acquire("m", "model.layers.0") as again:
            self.assertGone(data)
            self.assertEqual(len(again.data), MIB)

    def test_what_cannot_be_taken_back(self):
        """A caller's slices and arrays outlive lease and connection, and so does the mapping."""
        client = self.client()
        expected, = self.load(client, "m", MIB)
        lease = client.acquire("m", "model.layers.0")
        part, tensor = lease.data[7:9], lease.tensors["model.layers.0.w"]
        exporting = memoryview(lease.data)
        lease.release()
        self.assertEqual((part, exporting[7:9]), (expected[7:9], expected[7:9]))
        client.close()
        self.assertEqual(part, expected[7:9])
        if edgemind.numpy:
            self.assertEqual(tensor[7:9].tobytes(), expected[7:9])
        self.assertEqual(len(own_mappings()), 1)
        del part, tensor, exporting
        self.assertEqual(own_mappings(), [])

    def test_until_the_very_end(self):
        """Layers that the process still holds at its exit can be read by the exit handlers."""
        self.load(self.client(), "m", MIB)
        code = ("import atexit, sys; sys.path[:0] = %r\n"
                "atexit.register(lambda: print(len(set(view))))\n"
                "import edgemind; client = edgemind.Connection(%r)\n"
                "view = client.acquire('m', 'model.layers.0').data[:]\n"
                "client.close()" % (sys.path, str(self.daemon.socket)))
        self.assertEqual(run(sys.executable, "-c", code).out, "256\n")

    @needs_numpy
    def test_an_array_made_of_data(self):
        client = self.client()
        expected, = self.load(client, "m", MIB)
        with client.acquire("m", "model.layers.0") as lease:
            found = edgemind.numpy.frombuffer(lease.data, "u1")
        self.assertEqual(found.tobytes(), expected)
        with self.assertRaises(ValueError):
            lease.data

    def test_an_exception_releases(self):
        client = self.client()
        client.call("LoadModel", definition=sized_model("m", MIB))
        with self.assertRaises(KeyError), client.acquire("m", "l0"):
            raise KeyError
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    def test_the_same_layer_twice(self):
        client = self.client()
        expected, = self.load(client, "m", MIB)
        first, second = (client.acquire("m", "model.layers.0") for _ in range(2))
        data = first.data
        first.release()
        self.assertGone(data)
        self.assertEqual(second.data, expected)
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], MIB + PAGE)

    def test_acquire_by_hand(self):
        """The arena comes with the first such reply, whichever method is called."""
        client = self.client()
        expected = self.load(client, "m", MIB, MIB)
        reply = client.call("Acquire", model="m", layer="model.layers.0")
        self.assertEqual(client.acquire("m", "model.layers.1").data, expected[1])
        client.call("Release", lease=reply["lease"])
        with self.assertRaises(edgemind.NotFound) as caught:
            client.call("Release", lease=reply["lease"])
        self.assertEqual(caught.exception.parameters["kind"], "lease")

    def test_simulated(self):
        client = self.client(self.start(capacity="4M", simulate=True))
        client.call("LoadModel", definition=FFN10.read_text().replace("1024", "64")
                    .replace("2048", "128"))
        with client.acquire("ffn10", "dense_0") as lease:
            self.assertEqual(lease.layout["dense_0.weight"].shape, (128, 64))
            for use in (lambda: lease.data, lambda: lease.tensors):
                with self.assertRaises(ValueError):
                    use()


if __name__ == "__main__":
    unittest.main()
