"""Weights stream through a much smaller arena: the memory that this takes, how other clients are
served meanwhile, how progress is reported, and what remains when the client hangs up."""
import itertools
import json
import os
import pickle
import select
import signal
import time
import unittest

from harness import MIB, TIMEOUT, sanitized, wait_until
from test_memory import rss_slack
from weight_files import Client, WeightsTestCase, file_bytes, generate, make_cold, sha256
import wire

OVERHEAD_MAX = 8 * MIB
SAMPLES = 20  # at least


class Child:
    """Runs a function in a separate process, so that no interpreter lock disturbs the measurement.
    The function gets a descriptor that becomes readable when it must stop."""

    def __init__(self, function):
        self.reader, writer = os.pipe()
        stopping, self.stopper = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.stopper)
                with open(writer, "wb") as out:
                    pickle.dump(function(stopping), out)
            finally:
                os._exit(0)
        os.close(writer)
        os.close(stopping)

    def is_done(self):
        return bool(select.select([self.reader], [], [], 0)[0])

    def result(self):
        os.close(self.stopper)
        with open(self.reader, "rb") as data:
            data = data.read()
        os.waitpid(self.pid, 0)
        return pickle.loads(data)


def sample(daemon, stopping):
    """Reads the kernel's figures for the daemon a few hundred times per second."""
    samples, arena = [], daemon.arena_path()
    while len(samples) <= SAMPLES or not select.select([stopping], [], [], 0.002)[0]:
        samples.append((daemon.status(), os.stat(arena).st_blocks * 512))
    return samples


def ask(daemon, over):
    """Calls Stats until `over`. Returns the latency of each call in usec, and how much was loaded
    by then."""
    answers = []
    with daemon.connect() as connection:
        while not over(answers):
            begin = time.perf_counter()
            connection.send_call("Stats")
            reply = connection.receive()
            usec = (time.perf_counter() - begin) * 1e6
            answers.append((usec, json.loads(reply)["parameters"]["scheduler"]["bytesLoaded"]))
    return answers


def percentile(answers, part):
    return sorted(usec for usec, _ in answers)[int(len(answers) * part)]


class Stream(WeightsTestCase):
    """1 GiB through 256 MiB."""

    def check_stream(self, path, placed, **options):
        capacity = 256 * MIB
        daemon = self.start(capacity=capacity, **options)
        total = sum(tensor.bytes for tensor in placed)

        def load(_):
            with Client(daemon) as client:
                begin = time.perf_counter()
                loaded = client.load_model(path, name="m")
                return loaded, time.perf_counter() - begin

        idle = ask(daemon, lambda answers: len(answers) == 2000)
        sampler = Child(lambda stopping: sample(daemon, stopping))
        loader = Child(load)
        try:
            answers = ask(daemon, lambda _: loader.is_done())
        finally:
            samples = sampler.result()
            loaded, seconds = loader.result()
        self.assertEqual(loaded["bytesDone"], total)

        # Memory, as the kernel tells it.
        self.assertGreater(len(samples), SAMPLES)
        for status, arena_bytes in samples:
            self.assertLessEqual(status["RssShmem"], capacity + rss_slack(status))
            self.assertLessEqual(arena_bytes, capacity)
        anonymous = max(status["RssAnon"] for status, _ in samples)
        overhead = max(status["VmRSS"] - status["RssShmem"] for status, _ in samples)
        if not sanitized():
            self.assertLess(overhead, OVERHEAD_MAX)

        # The loop never waited for the load: answers came all along it.
        meanwhile = [answer for answer in answers if 0 < answer[1] < total]
        self.assertGreater(len(meanwhile), 50)
        self.assertGreater(len({loaded for _, loaded in meanwhile}), 128 / 4)
        print("%s: %.2f GB/s; Stats p99 %.0f us idle, %.0f us in %d answers; overhead %.1f MiB, "
              "of it %.1f MiB anonymous" % (
                  options, total / seconds / 1e9, percentile(idle, 0.99),
                  percentile(meanwhile, 0.99), len(meanwhile), overhead / MIB, anonymous / MIB),
              flush=True)

        # What is there now is right.
        client = self.client(daemon)
        resident = [layer["name"] for layer in client.call("List", model="m")["layers"]
                    if layer["state"] == "resident"]
        self.assertGreater(len(resident), 1)
        for name in resident[-3:]:
            with client.leased("m", name) as (reply, data):
                for tensor in reply["tensors"]:
                    wanted = next(t for t in placed if t.name == tensor["name"])
                    found = data[tensor["offset"]:tensor["offset"] + tensor["bytes"]]
                    self.assertEqual(sha256(found), sha256(file_bytes(wanted)))
        client.close()
        monitor = daemon.wait_sample()
        self.assertTrue(monitor["aligned"], monitor)
        self.assertUnharmed(daemon)
        daemon.stop()

    def test_1_gib_through_256_mib(self):
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=128, block_bytes=8 * MIB)
        placed = generate.write_safetensors(str(directory / "w"), tensors, shift=1000)
        # Just written, so warm, until the last.
        for options in ({"io": "buffered", "commit": "load"}, {"io": "auto", "policy": "lru"},
                        {"io": "direct"}):
            with self.subTest(options=options):
                if options["io"] == "direct":
                    make_cold(directory / "w")
                self.check_stream(directory / "w", placed, **options)


class Progress(WeightsTestCase):
    options = {"capacity": "48M"}

    def test_monotonic_and_complete(self):
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=20, block_bytes=9 * MIB + 1)
        placed = generate.write_safetensors(str(directory / "w"), tensors)
        total = sum(tensor.bytes for tensor in placed)
        client = self.client()
        with client.passed(directory / "w") as (source, fds):
            replies = list(client.stream("LoadModel", dict(source, name="m"), fds))
        self.assertEqual([continues for _, continues in replies[:-1]], [True] * (len(replies) - 1))
        before = {"bytesDone": 0, "layersDone": 0, "loaded": 0, "hits": 0}
        for reply, continues in replies:
            self.assertEqual((reply["bytesTotal"], reply["layersTotal"]), (total, 23))
            for key in before:
                self.assertGreaterEqual(reply[key], before[key], reply)
            self.assertLessEqual(reply["bytesDone"], total)
            self.assertEqual(reply.get("layer") is not None, continues)
            before = {key: reply[key] for key in before}
        self.assertGreater(len(replies), 5)
        self.assertEqual((before["bytesDone"], before["layersDone"]), (total, 23))

    def test_inside_a_layer(self):
        """A single layer takes long: its bytes are counted as they arrive."""
        directory = self.disk()
        path = directory / "w"
        placed = generate.write_safetensors(str(path), [generate.Tensor("t", "U8", (40 * MIB,))])
        client = self.client()
        client.load_model(path, name="m")
        client.call("UnloadModel", model="m")

        def told():
            with client.passed(path) as (source, fds):
                client.send_call("LoadModel", dict(source, name="m"), fds, more=True)
            # Long enough stopped in the middle for the daemon's clock to tick.
            seen = []
            while True:
                self.daemon.process.send_signal(signal.SIGSTOP)
                time.sleep(0.05)
                self.daemon.process.send_signal(signal.SIGCONT)
                readable, _, _ = select.select([client.socket], [], [], 0.001)
                if readable or client.buffer:
                    reply = client.reply("LoadModel")
                    seen.append(reply["parameters"]["bytesDone"])
                    if not reply.get("continues"):
                        break
            client.call("UnloadModel", model="m")
            self.assertEqual(seen, sorted(seen))
            self.assertEqual(seen[-1], placed[0].bytes)
            return [n for n in seen if 0 < n < placed[0].bytes]
        wait_until(told, "progress inside a layer")


class Several(WeightsTestCase):
    """Models that load at the same time share the loaders, and get their own bytes."""

    options = {"capacity": "160M", "loaders": 2}

    def setUp(self):
        super().setUp()
        self.paths = self.disk()

    def write(self, name, blocks, block_bytes):
        tensors = generate.model("safetensors", blocks, block_bytes, embedding_bytes=0)
        path = self.paths / name
        return path, generate.write_safetensors(str(path), tensors, seed=ord(name[0]))

    def start_together(self, names):
        """Sends LoadModel for each model on a separate connection; the daemon gets all calls at
        once."""
        clients = [self.client() for _ in names]
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            for client, name in zip(clients, names):
                with client.passed(self.paths / name) as (source, fds):
                    client.send_call("LoadModel", dict(source, name=name), fds, more=True)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        return clients

    def loaded_order(self, watcher, n):
        """The models of the next `n` layers that were loaded."""
        order = []
        while len(order) < n:
            reply = watcher.reply("Watch")
            self.assertEqual(reply["parameters"]["missed"], 0)
            order += [event["model"] for event in reply["parameters"]["events"]
                      if event["event"] == "layer-loaded"]
        return order

    def load_until(self, fair, names, n_layers, placed):
        """Loads these models together until the order of their layers was `fair`. A loader that
        does not run for a while may delay one of them, but not every time."""
        watcher = self.daemon.connect()
        self.addCleanup(watcher.close)
        watcher.send_call("Watch", more=True)
        watcher.reply("Watch")

        def load():
            clients = self.start_together(names)
            for client in clients:
                while client.reply("LoadModel").get("continues"):
                    pass
            order = self.loaded_order(watcher, n_layers)
            for name, client in zip(names, clients):
                self.assertBytes(client, name, placed[name])
            self.assertUnharmed()
            for name, client in zip(names, clients):
                client.call("UnloadModel", model=name)
                client.close()
            return fair(order)
        wait_until(load, "loads side by side")

    def test_all_progress(self):
        """No load waits for the end of another: when the first is done, the others have made
        progress."""
        names = "abc"
        placed = {name: self.write(name, 24, 2 * MIB)[1] for name in names}
        def side_by_side(order):
            first_end = min(max(i for i, name in enumerate(order) if name == one) for one in names)
            return all(order[:first_end].count(name) > 6 for name in names) and \
                sum(x != y for x, y in zip(order, order[1:])) > 12
        self.load_until(side_by_side, names, 24 * len(names), placed)

    def test_two_sizes(self):
        """A small model is done long before a large one that was there first."""
        placed = {"large": self.write("large", 60, 2 * MIB)[1],
                  "small": self.write("small", 6, MIB)[1]}
        self.load_until(lambda order: max(i for i, name in enumerate(order) if name == "small") < 40,
                        ["large", "small"], 66, placed)

    def test_more_than_fits(self):
        """Two loads evict each other's layers: both succeed, or get Busy because the other is
        loading."""
        daemon = self.start(capacity="24M", policy="lru")
        self.daemon = daemon
        placed = {name: self.write(name, 10, 4 * MIB)[1] for name in "xy"}
        clients = self.start_together("xy")
        for client in clients:
            try:
                for _ in iter(lambda: client.result("LoadModel").get("layer"), None):
                    pass
            except wire.VarlinkError as refused:
                self.assertEqual(refused.error, "Busy")
        self.assertUnharmed()
        for name, client in zip("xy", clients):
            self.assertBytes(client, name, placed[name])


class HangUp(WeightsTestCase):
    options = {"capacity": "64M"}

    def test_in_the_middle(self):
        """Complete layers stay, the partly loaded layer is gone, and the model can be loaded
        further."""
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=24, block_bytes=2 * MIB)
        placed = generate.write_safetensors(str(directory / "w"), tensors)
        other = self.client()
        n_fds = self.daemon.n_fds_at_rest()
        cancelled, started = 0, time.monotonic()
        for i in itertools.count():
            # A load may come to its end before this process comes to hang up.
            if i >= 30 and (cancelled > 5 or time.monotonic() > started + TIMEOUT):
                break
            make_cold(directory / "w")
            with self.daemon.connect() as client:
                with other.passed(directory / "w") as (source, fds):
                    client.send_call("LoadModel", dict(source, name="m"), fds, more=True)
                for _ in range(i % 12):
                    client.reply("LoadModel")
            wait_until(lambda: not other.call("Stats")["scheduler"]["layersLoading"], "the end")
            self.assertUnharmed()
            if not other.call("List")["models"]:
                self.assertFds(n_fds)
                continue
            layers = other.call("List", model="m")["layers"]
            states = [layer["state"] for layer in layers]
            self.assertLessEqual(set(states), {"absent", "resident"})
            self.assertEqual(sum(layer["footprintBytes"] for layer in layers),
                             other.call("Stats")["arena"]["usedBytes"])
            # In execution order: no hole before the last that came.
            n_resident = states.count("resident")
            self.assertEqual(states, ["resident"] * n_resident + ["absent"] * (27 - n_resident))
            cancelled += n_resident < 27
            if i % 10 == 9:
                reader = self.client()
                self.assertBytes(reader, "m", placed)
                reader.close()
            other.call("UnloadModel", model="m")
            self.assertFds(n_fds)
        self.assertGreater(cancelled, 5)

    def test_a_lease_that_is_not_wanted_any_more(self):
        """Hanging up in the middle of Acquire."""
        directory = self.disk()
        placed = generate.write_safetensors(str(directory / "w"),
                                            [generate.Tensor("t", "U8", (48 * MIB,))])
        other = self.client()
        other.load_model(directory / "w", name="m")
        for i in range(10):
            other.call("Reset")
            with self.daemon.connect() as client:
                client.send_call("Acquire", {"model": "m", "layer": "t"})
                if i % 2:
                    other.call("List")
            wait_until(lambda: not other.call("Stats")["scheduler"]["layersLoading"], "the end")
            stats = self.assertUnharmed()
            self.assertEqual(stats["arena"]["leasedBytes"], 0)
        self.assertBytes(other, "m", placed)

    def test_stop_in_the_middle(self):
        directory = self.disk()
        generate.write_safetensors(str(directory / "w"),
                                   generate.model("safetensors", blocks=20, block_bytes=8 * MIB))
        client = self.client()
        with client.passed(directory / "w") as (source, fds):
            client.send_call("LoadModel", dict(source, name="m"), fds, more=True)
        client.reply("LoadModel")
        self.daemon.stop()


if __name__ == "__main__":
    unittest.main()
