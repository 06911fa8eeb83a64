"""A warm restart: whatever ended the process, the next one has every layer where it was, and can
load those again that it had not."""
import json
import os
import signal
import unittest

from harness import FFN10, MIB, PAGE, sized_model, wait_until
from leasing import write_model
from service_manager import Reader, RestartTestCase, proc_path
from test_weights import generate, make_cold, sha256

ENDS = (signal.SIGKILL, signal.SIGTERM)
SIZES = [900_000, 1, 700_001, MIB, 4096, 123_456, 800_000, 600_000]


class Residents(RestartTestCase):
    def assertArena(self, after, before):
        """The same, but that a mark above what is resident need not be known any more."""
        self.assertLessEqual(after["highWaterBytes"], before["highWaterBytes"])
        self.assertGreaterEqual(after["highWaterBytes"], after["usedBytes"])
        self.assertEqual(dict(after, highWaterBytes=0), dict(before, highWaterBytes=0))

    def check(self, with_signal, **options):
        service = self.service(capacity="3M", policy="lru", **options)
        layers = self.load_weights("m", SIZES, seed=1, daemon=service)
        zeros = sized_model("z", 300_000, 17)
        service.call("LoadModel", definition=zeros)
        before, n_fds = service.stats(), service.n_fds_at_rest()
        lists = [service.call("List", model=model) for model in "mz"]
        resident = self.resident_of(service, "m")
        self.assertTrue(0 < len(resident) < len(layers))
        service.restart(with_signal)
        self.assertWarm(service)

        after = service.stats()
        self.assertEqual([service.call("List", model=model) for model in "mz"], lists)
        self.assertEqual([m["name"] for m in service.call("List")["models"]], ["m", "z"])
        self.assertArena(after["arena"], before["arena"])
        for key in ("models", "layersLoaded", "bytesLoaded"):
            self.assertEqual(after["scheduler"][key], before["scheduler"][key], key)
        self.assertEqual(after["arena"]["leasedBytes"], 0)
        self.assertTrue(after["monitor"]["aligned"], after)
        self.assertNotEqual(after["daemon"]["pid"], before["daemon"]["pid"])
        for layer in sorted(resident):
            self.assertEqual(sha256(self.cat(service, "m", layer)), sha256(layers[layer]), layer)
        self.assertEqual(self.cat(service, "z", "l0"), bytes(300_000))
        again = service.stats()["scheduler"]
        self.assertEqual(again["bytesLoaded"], before["scheduler"]["bytesLoaded"])
        self.assertEqual((again["hits"], again["misses"]), (len(resident) + 1, 0))
        self.assertBytes(service, "m", layers)  # and those that have to be loaded again
        self.assertGreater(service.stats()["scheduler"]["bytesLoaded"], again["bytesLoaded"])
        self.assertEqual(service.n_fds_at_rest(), n_fds)

    def test_after_kill(self):
        self.check(signal.SIGKILL)

    def test_after_a_clean_end(self):
        self.check(signal.SIGTERM)

    def test_with_commit_load(self):
        self.check(signal.SIGKILL, commit="load")

    def test_with_a_socket_of_its_own(self):
        """What is left of it is no hindrance."""
        self.check(signal.SIGKILL, listening=False)

    def test_with_huge_pages_where_there_are_some(self):
        self.check(signal.SIGKILL, huge_pages="auto")

    def test_the_order_of_use_is_kept(self):
        service = self.service(capacity=4 * MIB, policy="lru")
        for name in "abcd":
            service.call("LoadModel", definition=sized_model(name, MIB))
        service.restart()
        for name, gone in zip("efg", "abc"):
            service.call("LoadModel", definition=sized_model(name, MIB))
            self.assertEqual(self.resident_of(service, gone), set(), gone)
            self.assertEqual(service.stats()["scheduler"]["layersLoaded"], 4)

    def test_the_high_water_mark_is_what_was_in_use(self):
        for commit in ("load", "boot"):
            with self.subTest(commit=commit):
                service = self.service(capacity="8M", commit=commit)
                service.call("LoadModel", definition=sized_model("m", MIB, MIB))
                before = service.stats()["arena"]
                self.assertEqual(before["highWaterBytes"], 2 * MIB)
                service.restart()
                after = service.stats()["arena"]
                self.assertEqual(after["highWaterBytes"], 2 * MIB)
                self.assertEqual(after["committedBytes"], before["committedBytes"])
                self.assertEqual(os.fstat(service.store.fd("arena")).st_size,
                                 2 * MIB if commit == "load" else 8 * MIB)

    def test_a_layer_in_several_extents(self):
        service = self.service(capacity=16 * PAGE, policy="lru")
        for i in range(8):
            service.call("LoadModel", definition=sized_model("gap%d" % i, PAGE))
            service.call("LoadModel", definition=sized_model("stays%d" % i, PAGE))
        for i in range(8):
            service.call("UnloadModel", model="gap%d" % i)
        layers = self.load_weights("m", [6 * PAGE], seed=2, daemon=service)
        before = service.call("List", model="m")["layers"]
        self.assertGreater(before[0]["extents"], 2)
        for with_signal in ENDS:
            service.restart(with_signal)
            self.assertEqual(service.call("List", model="m")["layers"], before)
            self.assertBytes(service, "m", layers)
        self.assertEqual(service.stats()["scheduler"]["misses"], 0)
        self.assertUnharmed(service)
        for model in service.call("List")["models"]:
            service.call("UnloadModel", model=model["name"])
        self.assertEqual(service.stats()["arena"]["largestFreeBytes"], 16 * PAGE)

    def test_many_layers_of_many_models(self):
        service = self.service(capacity="32M")
        for i in range(40):
            service.call("LoadModel", definition=sized_model("m%02d" % i, *[i * 100 + 1] * 100))
        before = service.stats()
        service.restart()
        after = service.stats()
        self.assertArena(after["arena"], before["arena"])
        self.assertEqual(after["scheduler"]["layersLoaded"], 4000)
        self.assertEqual([m["name"] for m in service.call("List")["models"]],
                         ["m%02d" % i for i in range(40)])

    def test_nothing_was_loaded(self):
        service = self.service()
        for with_signal in ENDS * 2:
            service.restart(with_signal)
            self.assertWarm(service)
        self.assertEqual(service.store.names(), ["arena", "ledger"])
        self.assertEqual(service.store.stored, 2)  # once, not at every start

    def test_a_start_that_is_killed_itself(self):
        service = self.service(capacity="3M", policy="lru")
        layers = self.load_weights("m", SIZES[:3], seed=1, daemon=service)
        for _ in range(5):
            service.end()
            service.start_again(ready=False)
        service.restart()
        self.assertWarm(service)
        self.assertEqual(self.resident_of(service, "m"), set(layers))
        self.assertBytes(service, "m", layers)

    def test_without_a_store(self):
        for store_max in (None, 0, 1):
            with self.subTest(store_max=store_max):
                service = self.service(capacity="3M", store_max=store_max)
                layers = self.load_weights("m", SIZES[:3], seed=1, daemon=service)
                self.assertEqual(service.store.stored, 0)
                self.assertBytes(service, "m", layers)
                service.restart()
                self.assertFalse(service.is_warm())
                self.assertEqual(service.call("List")["models"], [])

    def test_a_simulation_has_nothing_to_do_with_it(self):
        service = self.service(simulate=True)
        service.call("LoadModel", definition=sized_model("m", MIB))
        self.assertEqual(service.store.stored, 0)


class Changes(RestartTestCase):
    """What was done before the end is done."""

    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="8M", policy="lru")
        self.layers = {name: self.load_weights(name, [MIB, 700_000, 5], seed=seed)
                       for seed, name in enumerate("ab")}

    def check(self, expected):
        """`expected`: {model: its resident layers}."""
        used = self.daemon.stats()["arena"]["usedBytes"]
        for with_signal in ENDS:
            self.daemon.restart(with_signal)
            self.assertWarm(self.daemon)
            self.assertEqual({m["name"] for m in self.daemon.call("List")["models"]},
                             set(expected))
            for model, resident in expected.items():
                self.assertEqual(self.resident(model), set(resident))
            self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], used)
        for model in expected:
            self.assertBytes(self.daemon, model, self.layers[model])

    def test_unload_layer(self):
        self.daemon.call("UnloadLayer", model="a", layer="b.1")
        self.check({"a": ["b.0", "b.2"], "b": self.layers["b"]})

    def test_reset(self):
        self.daemon.call("Reset")
        self.check({"a": [], "b": []})

    def test_load_after_reset(self):
        self.daemon.call("Reset")
        self.daemon.call("LoadLayer", model="b", layer="b.1")
        self.check({"a": [], "b": ["b.1"]})

    def test_flush(self):
        self.daemon.call("SetPolicy", policy="flush-all")
        self.daemon.call("LoadModel", definition=sized_model("large", 7 * MIB))
        self.layers["large"] = {"l0": bytes(7 * MIB)}
        self.check({"a": [], "b": [], "large": ["l0"]})

    def test_unload_model(self):
        self.daemon.settle()
        self.assertEqual(len(self.daemon.store.names()), 4)
        self.daemon.call("UnloadModel", model="a")
        self.daemon.settle()
        self.assertEqual(len(self.daemon.store.names()), 3)
        self.check({"b": self.layers["b"]})
        self.daemon.call("UnloadModel", model="b")
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])

    def test_a_name_is_used_again(self):
        self.daemon.call("UnloadModel", model="a")
        self.layers["a"] = self.load_weights("a", [5, 6, 300_000], seed=77)
        self.check({"a": self.layers["a"], "b": self.layers["b"]})
        self.daemon.settle()
        names = self.daemon.store.names()
        self.assertEqual(len(set(names)), 4, names)

    def test_policies_are_those_of_the_configuration(self):
        self.daemon.call("SetPolicy", policy="next-use", onFull="ask")
        self.daemon.restart()
        self.assertEqual(self.daemon.stats()["scheduler"]["policy"], "lru")

    def test_a_load_in_flight(self):
        """Not visible at all, or whole."""
        self.daemon.restart(capacity="256M")
        definition = sized_model("large", *[30 * MIB] * 8)
        dropped = 0
        for _ in range(5):
            with self.daemon.connect() as client:
                stream = client.stream("LoadModel", definition=definition)
                done = next(stream)[0]["layersDone"]
                self.daemon.end()
            self.daemon.start_again()
            self.assertWarm(self.daemon)
            layers = self.daemon.call("List", model="large")["layers"]
            states = [layer["state"] for layer in layers]
            n = states.count("resident")
            self.assertGreaterEqual(n, done)
            self.assertEqual(states, ["resident"] * n + ["absent"] * (8 - n))
            arena = self.daemon.stats()["arena"]
            self.assertEqual(arena["usedBytes"], n * 30 * MIB)
            dropped += n < 8
            self.daemon.call("UnloadModel", model="large")
        self.assertGreater(dropped, 0)


class InTheMiddle(RestartTestCase):
    """The manager is slow, and the daemon killed while it tells it something."""

    def setUp(self):
        super().setUp()
        self.daemon = self.service(capacity="8M", monitor_interval="1h")
        self.path = self.directory() / "m"
        self.layers = write_model(self.path, [300_000, 5])
        self.client = Reader(self.daemon)
        self.addCleanup(self.client.close)

    def kill_in(self, method, parameters, fds=()):
        with self.daemon.store.deaf():
            self.client.send_call(method, parameters, fds)
            wait_until(self.is_sending, "the daemon to wait for its manager")
            self.daemon.process.kill()
            self.daemon.process.wait()
        self.daemon.end()
        self.daemon.start_again()
        self.assertWarm(self.daemon)

    def is_sending(self):
        """Whether it waits for a place in the manager's queue."""
        return "unix_wait_for_peer" in proc_path(self.daemon.pid, "wchan").read_text()

    def test_load_model(self):
        """As if it had not been called, or else complete."""
        with open(self.path, "rb") as file:
            self.kill_in("LoadModel", {"definitionFileDescriptor": 0, "name": "m"}, [file.fileno()])
        if self.daemon.call("List")["models"]:
            self.assertBytes(self.daemon, "m", self.layers)
        self.check_the_rest()

    def test_unload_model(self):
        self.client.load_model(self.path, name="m")
        self.daemon.settle()
        self.kill_in("UnloadModel", {"model": "m"})
        if self.daemon.call("List")["models"]:
            self.assertBytes(self.daemon, "m", self.layers)
            self.daemon.call("Reset")
            self.assertBytes(self.daemon, "m", self.layers)
        self.check_the_rest()

    def check_the_rest(self):
        """Nothing is in the store that nobody knows."""
        for model in self.daemon.call("List")["models"]:
            self.daemon.call("UnloadModel", model=model["name"])
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])
        self.assertUnharmed()


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
        """It might as well have been written to, with its time put back: what is resident stays, and
        nothing else comes from it."""
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
        self.assertEqual(self.daemon.n_fds_at_rest(), n_fds - len(shards))

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
        """The file stays stored until the other has gone, too."""
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
        """They stay stored as long as one of their models is there, and the others are missing."""
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
        """A warning, and a model that works; after a restart what is resident does."""
        service = self.daemon = self.service(capacity="3M", policy="lru", store_max=3)
        kept = self.load_weights("kept", [50_000, 60_000], seed=1)
        self.assertFalse(service.said("FileDescriptorStoreMax"))
        layers = self.load_weights("left-out", [70_000, 80_000], seed=2)
        self.assertTrue(service.said("FileDescriptorStoreMax"), service.read_log())
        self.assertIn("left-out", service.read_log())
        service.settle()
        self.assertEqual(len(service.store.names()), 3)
        self.assertEqual(service.store.stored, 3)  # nothing was offered in vain
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
        """Everything that List tells of a tensor comes back."""
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


if __name__ == "__main__":
    unittest.main()
