"""After a warm restart the daemon reads the same weight files, and can load what had been evicted."""
import json
import os
import shutil
import unittest

from harness import FFN10, TIMEOUT
from leasing import write_model
from service_manager import ENDS, SIZES, ColdTestCase, Reader, RestartTestCase
from weight_files import generate, make_cold, sha256


class Sources(RestartTestCase):
    """Layers that were not resident come from the stored descriptors."""

    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="3M", policy="lru")
        self.path = self.directory() / "m.safetensors"
        self.layers = write_model(self.path, SIZES, seed=3)
        self.load(self.path, "m")

    def load(self, path, name, weights=()):
        with Reader(self.daemon) as client:
            client.load_model(path, weights, name=name)

    def check(self):
        for with_signal in ENDS:
            self.daemon.restart(with_signal)
            self.assertWarm(self.daemon)
            self.assertFalse(self.daemon.said("not kept"), self.daemon.read_log())
            self.daemon.call("Reset")
            self.assertBytes(self.daemon, "m", self.layers)

    def test_a_file_that_was_deleted(self):
        self.path.unlink()
        self.check()

    def test_a_file_that_another_was_renamed_over(self):
        other = self.path.with_suffix(".new")
        write_model(other, SIZES, seed=4)
        other.rename(self.path)
        self.check()

    def test_a_file_that_was_moved(self):
        """The file may have been written to and its time restored: resident layers stay, and no
        other layer is loaded from it."""
        resident = self.resident("m")
        absent = sorted(set(self.layers) - resident)
        self.path.rename(self.path.with_suffix(".old"))
        for _ in range(2):
            self.assertVarlinkError("SourceChanged", self.daemon.call, "LoadLayer", model="m",
                                    layer=absent[0])
            self.assertBytes(self.daemon, "m", {layer: self.layers[layer]
                                                for layer in sorted(self.resident("m"))})
            self.daemon.restart()
            self.assertWarm(self.daemon)

    def test_a_file_that_changes(self):
        resident = self.resident("m")
        absent = sorted(set(self.layers) - resident)
        for when in ("before", "after"):
            with self.subTest(when=when):
                if when == "after":
                    self.daemon.restart()
                stat = os.stat(self.path)
                with open(self.path, "r+b") as file:
                    file.seek(-1, os.SEEK_END)
                    file.write(b"x")
                os.utime(self.path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
                if when == "before":
                    self.daemon.restart()
                self.assertVarlinkError("SourceChanged", self.daemon.call, "LoadLayer", model="m",
                                        layer=absent[0])
                self.assertBytes(self.daemon, "m", {layer: self.layers[layer]
                                                    for layer in sorted(self.resident("m"))})
                self.assertUnharmed()

    def test_a_file_that_is_cut_short(self):
        self.daemon.end()
        os.truncate(self.path, 100_000)
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.daemon.call("Reset")
        for layer in self.layers:
            self.assertVarlinkError("SourceChanged", self.daemon.call, "LoadLayer", model="m",
                                    layer=layer)
        self.assertUnharmed()

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_a_file_that_cannot_be_closed_by_a_start_that_fails(self):
        """The exit status is that of the failure."""
        service = self.daemon = self.service(capacity="3M", policy="lru", listening=False)
        self.load(self.path, "m")
        service.end()
        environment, process, prefix, options = service.given
        # After 3 s the daemon ends without the file.
        slowly = ["strace", "-D", "-f", "-o", str(self.directory() / "strace"), "-P", str(self.path),
                  "-e", "trace=close", "-e", "inject=close:delay_enter=5000000"]
        service.given = environment, process, [*prefix, *slowly], options
        service.start_again(ready=False, socket="/proc/none/s")
        self.assertEqual(service.process.wait(TIMEOUT), 1)
        service.given = environment, process, prefix, options
        service.start_again()
        self.assertWarm(service)
        self.assertBytes(service, "m", self.layers)

    def test_several_files(self):
        directory = self.directory()
        tensors = [generate.Tensor("b.%d.w" % i, "I8", (300_000 + i,)) for i in range(9)]
        placed = generate.write_sharded(str(directory), tensors, shards=4)
        layers = {}
        for tensor in placed:
            with open(tensor.path, "rb") as file:
                layers[tensor.name[:-2]] = os.pread(file.fileno(), tensor.bytes, tensor.offset)
        shards = sorted({os.path.basename(tensor.path) for tensor in placed})
        self.load(directory / "model.safetensors.index.json", "s", shards)
        self.daemon.settle()
        names = self.daemon.store.names()
        self.assertEqual(len(names), 3 + len(shards))
        n_fds = self.daemon.n_fds_at_rest()
        for shard in shards:
            (directory / shard).unlink()
        self.check()
        self.assertBytes(self.daemon, "s", layers)
        self.assertEqual(self.daemon.n_fds_at_rest(), n_fds)
        self.daemon.call("UnloadModel", model="s")
        self.daemon.settle()
        self.assertEqual(len(self.daemon.store.names()), 3)
        self.assertFds(n_fds - len(shards))  # another thread closes them

    def load_twice(self, names):
        """Two models of one open file."""
        with open(self.path, "rb") as file, Reader(self.daemon) as client:
            for name in names:
                client.call("LoadModel", {"definitionFileDescriptor": 0, "name": name},
                            [file.fileno()])

    def test_one_open_file_of_two_models(self):
        """The store keeps it once."""
        self.load_twice("no")
        self.path.unlink()
        self.check()
        for name in ("n", "o"):
            self.assertBytes(self.daemon, name, self.layers)

    def test_one_open_file_of_two_models_and_one_goes(self):
        """The file stays stored until the other model has been unloaded, too."""
        self.daemon.call("UnloadModel", model="m")
        for first, last in ("no", "on"):
            for before in (False, True):
                with self.subTest(first=first, restarted_before=before):
                    self.load_twice("no")
                    if before:
                        self.daemon.restart()
                    self.daemon.call("UnloadModel", model=first)
                    self.daemon.restart()
                    self.assertWarm(self.daemon)
                    self.assertFalse(self.daemon.said("not kept"), self.daemon.read_log())
                    self.daemon.call("Reset")
                    self.assertBytes(self.daemon, last, self.layers)
                    self.daemon.call("UnloadModel", model=last)
                    self.daemon.settle()
                    self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])

    def test_a_file_that_is_opened_twice_is_stored_once(self):
        self.load(self.path, "n")
        self.daemon.settle()
        self.assertEqual(len(self.daemon.store.names()), 3)
        self.daemon.call("UnloadModel", model="m")
        self.daemon.restart()
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "n", self.layers)

    def test_room_for_some_of_the_files(self):
        """They stay stored as long as one of their models is registered; the others are missing."""
        directory = self.directory()
        generate.write_sharded(str(directory), [generate.Tensor("b.%d.w" % i, "I8", (300_000,))
                                                for i in range(4)], shards=4)
        shards = sorted(path.name for path in directory.glob("*.safetensors"))
        self.daemon = self.service(capacity="3M", policy="lru", store_max=4)
        for name in ("a", "b"):
            self.load(directory / "model.safetensors.index.json", name, shards)
        self.assertTrue(self.daemon.said("2 weight files of b are not kept"),
                        self.daemon.read_log())
        self.daemon.call("UnloadModel", model="a")
        self.daemon.settle()
        self.assertEqual(len(self.daemon.store.names()), 4)
        self.daemon.restart()
        self.daemon.call("Reset")
        layers = ["b.%d" % i for i in range(4)]
        codes = [self.daemon.emctl("load-layer", "b", layer).code for layer in layers]
        self.assertEqual(sorted(codes), [0, 0, 1, 1])

    def test_cold_files_are_read_directly_as_before(self):
        make_cold(self.path)
        self.check()

    def test_what_does_not_fit_into_the_store(self):
        """There is a warning, and the model works; after a restart only its resident layers
        work."""
        service = self.daemon = self.service(capacity="3M", policy="lru", store_max=3)
        kept = self.load_weights("kept", [50_000, 60_000], seed=1)
        self.assertFalse(service.said("FileDescriptorStoreMax"))
        layers = self.load_weights("left-out", [70_000, 80_000], seed=2)
        self.assertTrue(service.said("FileDescriptorStoreMax"), service.read_log())
        self.assertIn("left-out", service.read_log())
        service.settle()
        self.assertEqual(len(service.store.names()), 3)
        self.assertEqual(service.store.stored, 3)  # the manager has dropped nothing
        service.call("Reset")
        self.assertBytes(service, "left-out", layers)
        self.assertBytes(service, "kept", kept)

        service.restart()
        self.assertWarm(service)
        self.assertIn("1 weight files were not kept", service.read_log())
        self.assertBytes(service, "left-out", layers)
        self.assertEqual(service.stats()["scheduler"]["misses"], 0)
        service.call("Reset")
        self.assertBytes(service, "kept", kept)
        self.assertVarlinkError("IOFailed", service.call, "LoadLayer", model="left-out",
                                layer="b.0")
        self.assertUnharmed(service)
        service.call("UnloadModel", model="left-out")
        self.assertBytes(service, "left-out", self.load_weights("left-out", [5, 90_000], seed=3))

    def test_room_in_the_store_comes_back(self):
        service = self.daemon = self.service(capacity="3M", store_max=3)
        for seed in range(4):
            layers = self.load_weights("m", [50_000, 60_000], seed=seed)
            self.assertFalse(service.said("FileDescriptorStoreMax"), service.read_log())
            service.restart(ENDS[seed % 2])
            service.call("Reset")
            self.assertBytes(service, "m", layers)
            service.call("UnloadModel", model="m")

    def test_a_definition_with_weights(self):
        """Everything that List shows of a tensor is kept."""
        directory = self.directory()
        path = directory / "ffn.safetensors"
        generate.write_ffn10(str(path))
        definition = json.loads(FFN10.read_text())
        definition["weights"] = path.name
        (directory / "ffn.json").write_text(json.dumps(definition))
        self.daemon.call("UnloadModel", model="m")
        self.daemon.restart(capacity="64M")
        self.load(directory / "ffn.json", None, [path.name])
        name = definition["name"]
        digests = {layer["name"]: sha256(self.cat(self.daemon, name, layer["name"]))
                   for layer in definition["layers"]}
        before = [self.daemon.call("List", model=name)]
        before += [self.daemon.call("List", model=name, layer=layer["name"])
                   for layer in before[0]["layers"]]
        path.unlink()
        self.daemon.restart()
        after = [self.daemon.call("List", model=name)]
        after += [self.daemon.call("List", model=name, layer=layer["name"])
                  for layer in after[0]["layers"]]
        self.assertEqual(after, before)
        self.daemon.call("Reset")
        for layer, digest in digests.items():
            self.assertEqual(sha256(self.cat(self.daemon, name, layer)), digest)


class SourceDescriptors(ColdTestCase):
    """The descriptors of the weight files have changed."""

    def setUp(self):
        super().setUp()
        self.name = next(name for name in self.daemon.store.names() if name.startswith("source-"))

    def check_without(self):
        """The start is warm, and resident layers are there; loads of other layers fail."""
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertIn("not kept", self.daemon.read_log())
        self.assertBytes(self.daemon, "m", self.layers)
        self.assertEqual(self.daemon.stats()["scheduler"]["misses"], 0)
        self.daemon.call("Reset")
        for layer in self.layers:
            self.assertVarlinkError("IOFailed", self.daemon.call, "LoadLayer", model="m",
                                    layer=layer)
        self.assertUnharmed()
        self.daemon.restart()
        self.assertWarm(self.daemon)
        self.assertEqual(self.resident("m"), set())
        self.daemon.call("UnloadModel", model="m")
        self.assertBytes(self.daemon, "m", self.load_weights("m", [9, 99_999], seed=5))

    def replace(self, fd):
        self.daemon.end()
        self.forget(self.name)
        self.put(self.name, fd)
        os.close(fd)

    def test_missing(self):
        self.daemon.end()
        self.forget(self.name)
        self.check_without()

    def test_another_file(self):
        self.replace(os.memfd_create("other"))
        self.check_without()

    def test_cannot_be_read(self):
        path = "/proc/self/fd/%d" % self.stored(self.name)
        self.replace(os.open(path, os.O_WRONLY))
        self.check_without()

    def test_a_path_only(self):
        path = "/proc/self/fd/%d" % self.stored(self.name)
        self.replace(os.open(path, os.O_PATH))
        self.check_without()

    def test_under_another_files_name(self):
        """It is checked like any other."""
        fd = os.dup(self.stored(self.name))
        self.daemon.end()
        self.forget(self.name)
        self.put("source-7-7", fd)
        os.close(fd)
        self.check_without()

    def test_twice(self):
        fd = os.open("/proc/self/fd/%d" % self.stored(self.name), os.O_RDONLY)
        n_fds = self.daemon.n_fds_at_rest()
        self.daemon.end()
        self.put(self.name, fd)
        os.close(fd)
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.assertEqual(self.daemon.n_fds_at_rest(), n_fds)
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "m", self.layers)
        self.daemon.call("UnloadModel", model="m")
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])

    def test_opened_for_writing_too(self):
        path = os.readlink("/proc/self/fd/%d" % self.stored(self.name))
        self.replace(os.open(path, os.O_RDWR))
        self.daemon.start_again()
        self.assertWarm(self.daemon)
        self.daemon.call("Reset")
        self.assertBytes(self.daemon, "m", self.layers)


if __name__ == "__main__":
    unittest.main()
