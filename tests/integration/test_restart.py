"""A warm restart: whatever ended the process, the next one has every layer where it was."""
import os
import signal
import unittest

from harness import MIB, PAGE, sized_model, wait_until
from leasing import write_model
from service_manager import ENDS, SIZES, Reader, RestartTestCase, proc_path
from weight_files import sha256


class Residents(RestartTestCase):
    def assertArena(self, after, before):
        """The same, except that a high-water mark above the resident layers may be forgotten."""
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
        self.assertBytes(service, "m", layers)  # and the layers that have to be loaded again
        self.assertGreater(service.stats()["scheduler"]["bytesLoaded"], again["bytesLoaded"])
        self.assertEqual(service.n_fds_at_rest(), n_fds)

    def test_after_kill(self):
        self.check(signal.SIGKILL)

    def test_after_a_clean_end(self):
        self.check(signal.SIGTERM)

    def test_with_commit_load(self):
        self.check(signal.SIGKILL, commit="load")

    def test_with_a_socket_of_its_own(self):
        """The rest of a dead process does no harm."""
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
        service = self.service(capacity=40 * 100 * PAGE)
        for i in range(40):
            service.call("LoadModel", definition=sized_model("m%02d" % i, *[i * PAGE // 40 + 1] * 100))
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
    """Completed actions stay completed."""

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
        """A model is either completely visible or not at all."""
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
    """The manager is slow, and the daemon is killed while it sends a message."""

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
        """Whether it waits for room in the manager's queue."""
        return "unix_wait_for_peer" in proc_path(self.daemon.pid, "wchan").read_text()

    def test_load_model(self):
        """The call is either complete or has no effect."""
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
        """The store has no unknown descriptors."""
        for model in self.daemon.call("List")["models"]:
            self.daemon.call("UnloadModel", model=model["name"])
        self.daemon.settle()
        self.assertEqual(self.daemon.store.names(), ["arena", "ledger"])
        self.assertUnharmed()


if __name__ == "__main__":
    unittest.main()
