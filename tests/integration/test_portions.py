"""Work on many layers, which the daemon does in portions, with other calls between them."""
import json
import os
import signal

from harness import PAGE, TestCase, memory_file, sized_model, wait_until
from leasing import LeaseTestCase, write_model
from service_manager import Service
import wire

N = 2000  # layers of a page; together they fill the arena
PORTION = 64  # SCHEDULER_PORTION


class Portions(TestCase):
    options = {"capacity": N * PAGE, "policy": "lru"}

    def setUp(self):
        super().setUp()
        self.daemon.load(sized_model("large", N * PAGE))
        self.daemon.call("Reset")
        self.daemon.load(sized_model("many", *[PAGE] * N))

    def scheduler(self):
        return self.daemon.stats()["scheduler"]

    def test_all_give_way_for_one(self):
        for policy in ("lru", "next-use", "flush-all"):
            with self.subTest(policy):
                self.daemon.call("SetPolicy", policy=policy)
                self.daemon.call("UnloadModel", model="many")
                self.daemon.load(sized_model("many", *[PAGE] * N))
                before = self.scheduler()
                reply = self.daemon.call("LoadLayer", model="large", layer="l0")
                self.assertEqual((reply["evicted"], reply["mustUnload"]), (N, True))
                after = self.scheduler()
                self.assertEqual(after["evictions"] - before["evictions"], N)
                self.assertEqual(after["layersLoaded"], 1)
                self.assertEqual(after["decisions"]["mustUnload"],
                                 before["decisions"]["mustUnload"] + 1)

    def test_other_calls_come_between(self):
        """A lease that is taken meanwhile holds, and the load is refused. The daemon gets both calls
        at once."""
        with self.connect() as loading, self.connect() as other:
            os.kill(self.daemon.pid, signal.SIGSTOP)
            loading.send_call("LoadLayer", {"model": "large", "layer": "l0"})
            other.send_call("Acquire", {"model": "many", "layer": "l%d" % (N - 1)})
            os.kill(self.daemon.pid, signal.SIGCONT)
            lease = other.result("Acquire")
            self.assertVarlinkError("Busy", loading.result, "LoadLayer")
            self.assertIn(self.scheduler()["evictions"], range(PORTION, N, PORTION))
            other.call("Release", lease=lease["lease"])
            self.assertFalse(loading.call("LoadLayer", model="large", layer="l0")["hit"])

    def test_events_of_a_portion_come_together(self):
        with self.connect() as watching:
            messages = watching.stream("Watch")
            next(messages)
            self.daemon.call("LoadLayer", model="large", layer="l0")
            events, n_messages = [], 0
            while not events or events[-1]["event"] != "layer-loaded":
                events += next(messages)[0]["events"]
                n_messages += 1
        self.assertEqual([event["layer"] for event in events if event["event"] == "layer-evicted"],
                         ["l%d" % i for i in range(N)])
        self.assertLess(n_messages, N // 10)

    def test_unload_beside_a_lease(self):
        """The model is leased while it is unloaded: it stays, with the layers that are left."""
        with self.connect() as unloading, self.connect() as other:
            os.kill(self.daemon.pid, signal.SIGSTOP)
            unloading.send_call("UnloadModel", {"model": "many"})
            other.send_call("Acquire", {"model": "many", "layer": "l%d" % (N - 1)})
            os.kill(self.daemon.pid, signal.SIGCONT)
            other.result("Acquire")
            self.assertVarlinkError("Busy", unloading.result, "UnloadModel")
            self.assertIn(N - self.scheduler()["layersLoaded"], range(PORTION, N, PORTION))
        self.daemon.call("UnloadModel", model="many")
        self.assertEqual(self.scheduler()["layersLoaded"], 0)

    def test_unload_twice(self):
        """Two clients unload the same model at once. One is refused, because the other does so."""
        with self.connect() as first, self.connect() as second:
            os.kill(self.daemon.pid, signal.SIGSTOP)
            first.send_call("UnloadModel", {"model": "many"})
            second.send_call("UnloadModel", {"model": "many"})
            os.kill(self.daemon.pid, signal.SIGCONT)
            errors = [connection.reply("UnloadModel").get("error") for connection in (first, second)]
        self.assertEqual(sorted(errors, key=bool), [None, "io.edgemind.manager.Busy"])
        self.assertUnharmed()

    def test_replace(self):
        """A model of many layers replaces another. A refused one changes nothing."""
        self.assertVarlinkError("OutOfMemory", self.daemon.load,
                                sized_model("many", (N + 1) * PAGE), replace=True)
        self.assertEqual(self.scheduler()["layersLoaded"], N)
        self.daemon.load(sized_model("many", *[2 * PAGE] * (N // 2)), replace=True)
        self.assertEqual(self.scheduler()["layersLoaded"], N // 2)
        with self.connect() as leaving, memory_file(sized_model("many", PAGE)) as file:
            leaving.send_call("LoadModel", {"definitionFileDescriptor": 0, "replace": True},
                              [file.fileno()])
        wait_until(lambda: self.daemon.stats()["scheduler"]["layersLoading"] == 0, "the loads")
        self.daemon.call("UnloadModel", model="many")
        self.assertUnharmed()

    def test_a_client_leaves_in_between(self):
        with self.connect() as loading:
            loading.send_call("LoadLayer", {"model": "large", "layer": "l0"})
        self.daemon.call("UnloadModel", model="many")
        self.daemon.call("UnloadModel", model="large")
        self.assertUnharmed()

    def test_an_unload_whose_client_leaves(self):
        """It ends there: what is left of the model stays. The daemon gets the call and the end at once."""
        leaving = self.connect()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        leaving.send_call("UnloadModel", {"model": "many"})
        leaving.close()
        os.kill(self.daemon.pid, signal.SIGCONT)
        wait_until(lambda: self.scheduler()["layersLoaded"] < N, "the unload")
        self.assertIn(N - self.scheduler()["layersLoaded"], range(PORTION, N, PORTION))
        self.daemon.call("UnloadModel", model="many")
        self.assertEqual(self.scheduler()["layersLoaded"], 0)
        self.assertUnharmed()


class UnreadReplies(LeaseTestCase):
    """Replies with more parts than a client's socket takes, from clients that do not read them."""
    options = {"capacity": "1M", "log_level": "info"}
    N_LAYERS = 16_000

    def setUp(self):
        super().setUp()
        self.path = self.directory() / "w"
        write_model(self.path, [1] * self.N_LAYERS)
        self.client().load_model(self.path, name="m")
        self.n_fds = self.daemon.n_fds_at_rest()

    def begin(self, method):
        client = self.client()
        with open(self.path) as file:
            client.send_call(method, *(({"fileDescriptor": 0}, [file.fileno()]) if method == "FindModel" else
                                       ({"model": "m"},)), more=True)
        wait_until(client.readable, "a part of the reply")
        self.daemon.stats()  # by now the daemon waits until more is read
        return client

    def test_it_leaves(self):
        for method in ("List", "FindModel"):
            self.begin(method).close()
            self.assertFds(self.n_fds)
        self.assertUnharmed()

    def test_the_model_is_gone_meanwhile(self):
        """The rest is an error, also if another model has the name."""
        for again in (False, True):
            for method in ("List", "FindModel"):
                with self.subTest(method=method, again=again):
                    client = self.begin(method)
                    self.daemon.call("UnloadModel", model="m")
                    if again:
                        self.client().load_model(self.path, name="m")

                    def read_all(client=client, method=method):
                        while "continues" in (reply := client.reply(method)):
                            pass
                        raise wire.VarlinkError(reply)
                    self.assertVarlinkError("NotFound", read_all)
                    if not again:
                        self.client().load_model(self.path, name="m")
        self.assertUnharmed()


class LongReplies(TestCase):
    """A layer of many tensors: a worker formats the reply."""
    options = {"capacity": "1M"}

    def setUp(self):
        super().setUp()
        self.tensors = [{"name": "t%d" % i, "dtype": "f32", "shape": [3]} for i in range(3000)]
        self.daemon.load(json.dumps({"name": "m", "layers": [
            {"name": "wide", "tensors": self.tensors}, {"name": "narrow", "bytes": PAGE}]}))

    def test_acquire_and_next(self):
        with self.connect() as connection:
            for method, parameters in (("Acquire", {"model": "m", "layer": "wide"}),
                                       ("Next", {"run": connection.call("BeginRun", model="m")["run"]})):
                connection.send_call(method, parameters)
                connection.send_call("Acquire", {"model": "m", "layer": "narrow"})
                reply = connection.result(method)
                self.assertEqual([t["name"] for t in reply["tensors"]],
                                 [t["name"] for t in self.tensors])
                self.assertEqual(connection.result("Acquire")["layer"], "narrow")

    def test_a_client_leaves_before_the_reply(self):
        for _ in range(10):
            with self.connect() as connection:
                connection.send_call("Acquire", {"model": "m", "layer": "wide"})
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "the leases' end")
        self.daemon.call("UnloadModel", model="m")
        self.assertUnharmed()


class Kills(TestCase):
    def test_killed_between_two_portions(self):
        """The next process finds exactly the layers that had not given way."""
        with Service(capacity=N * PAGE, policy="lru") as daemon:
            daemon.load(sized_model("large", N * PAGE))
            daemon.call("Reset")
            daemon.load(sized_model("many", *[PAGE] * N))
            with daemon.connect() as connection:
                connection.send_call("LoadLayer", {"model": "large", "layer": "l0"})
                while daemon.stats()["scheduler"]["evictions"] == 0:
                    pass
            daemon.restart()
            self.assertTrue(daemon.is_warm(), daemon.read_log())
            with daemon.connect() as connection:
                states = [row["state"] for reply, _ in connection.stream("List", model="many")
                          for row in reply["layers"]]
                large = connection.call("List", model="large")["layers"][0]["state"]
            n_resident = states.count("resident")
            self.assertEqual(states, ["absent"] * (N - n_resident) + ["resident"] * n_resident)
            self.assertEqual(daemon.stats()["arena"]["usedBytes"],
                             (n_resident + N * (large == "resident")) * PAGE)
