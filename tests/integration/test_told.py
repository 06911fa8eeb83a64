"""Details in replies and events: old and new values, the layer that caused an eviction, and the
figures of a plan."""
import json
import unittest

from harness import MIB, TestCase, memory_file, sized_model


def weight_file(*sizes):
    """A safetensors file with a tensor of ones for each layer."""
    header, offset = {}, 0
    for i, size in enumerate(sizes):
        header["l%d.w" % i] = {"dtype": "U8", "shape": [size],
                               "data_offsets": [offset, offset + size]}
        offset += size
    head = json.dumps(header).encode()
    return memory_file(len(head).to_bytes(8, "little") + head + b"\1" * offset)


class Events(TestCase):
    options = {"capacity": "20M"}

    def watched(self, *calls):
        """The first event of each kind that these calls cause, by name."""
        found = {}
        with self.daemon.connect() as watcher, self.daemon.connect() as c:
            watcher.send_call("Watch", more=True)
            watcher.result("Watch")
            for method, parameters in calls:
                c.call(method, parameters)
            c.call("Reset")
            c.call("LoadModel", definition=sized_model("end", 1))
            c.call("UnloadModel", model="end")
            while found.get("model-removed", {}).get("model") != "end":
                for event in watcher.result("Watch")["events"]:
                    if event["event"] == "model-removed":
                        found[event["event"]] = event
                    else:
                        found.setdefault(event["event"], event)  # the first of its kind
        return found

    def test_settings_change_from_one_value_to_another(self):
        found = self.watched(("SetPolicy", {"policy": "lru"}), ("SetPolicy", {"onFull": "ask"}))
        for name, before, after in (("policy", "flush-all", "lru"), ("on-full", "evict", "ask")):
            event = found[name + "-changed"]
            self.assertEqual((event["from"], event["to"]), (before, after))
            self.assertEqual(event["message"], "%s changed from %s to %s" % (name, before, after))
        self.assertNotIn("policy-changed", self.watched(("SetPolicy", {"policy": "lru"})))

    def test_a_reload_says_it_too(self):
        daemon = self.start(config="on-full = ask\n")
        with daemon.connect() as watcher:
            watcher.send_call("Watch", more=True)
            watcher.result("Watch")
            daemon.config.write_text("on-full = evict\npolicy = next-use\n")
            daemon.process.send_signal(1)
            found = {}
            while "reloaded" not in found:
                found.update((e["event"], e) for e in watcher.result("Watch")["events"])
        self.assertEqual(found["on-full-changed"]["from"], "ask")
        self.assertEqual(found["on-full-changed"]["to"], "evict")
        self.assertEqual(found["policy-changed"]["to"], "next-use")

    def test_layers_give_way_to_a_layer(self):
        loads = [("LoadModel", {"definition": sized_model("m", 8 * MIB, 8 * MIB)}),
                 ("LoadModel", {"definition": sized_model("n", 9 * MIB)})]
        event = self.watched(("SetPolicy", {"policy": "lru"}), *loads)["layer-evicted"]
        self.assertEqual(event["to"], "n/l0")
        self.assertIn("to make room for n/l0", event["message"])

    def test_all_give_way_to_a_layer(self):
        with self.daemon.connect() as watcher:
            watcher.send_call("Watch", more=True)
            watcher.result("Watch")
            self.daemon.load(sized_model("m", 12 * MIB))
            self.daemon.load(sized_model("n", 9 * MIB))
            found = {}
            while "flushed" not in found:
                found.update((e["event"], e) for e in watcher.result("Watch")["events"])
        self.assertEqual(found["flushed"]["to"], "n/l0")
        self.assertIn("1 layer evicted, 12.0 MiB, to make room for n/l0",
                      found["flushed"]["message"])

    def test_an_eviction_on_request_names_no_successor(self):
        event = self.watched(("LoadModel", {"definition": sized_model("m", MIB)}),
                             ("UnloadLayer", {"model": "m", "layer": "l0"}))["layer-evicted"]
        self.assertIsNone(event.get("to"))
        self.assertIn("on request", event["message"])


class Replies(TestCase):
    options = {"capacity": "20M"}

    def test_a_load_says_how_many_bytes_are_zeros(self):
        self.assertEqual(self.daemon.load(sized_model("zeros", MIB, MIB))["zeroBytes"], 2 * MIB)
        with self.daemon.connect() as c, weight_file(MIB, MIB) as file:
            found = c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "w"},
                           fds=[file.fileno()])
        self.assertEqual((found["bytesTotal"], found["zeroBytes"]), (2 * MIB, 0))
        for model, zeros in (("zeros", MIB), ("w", 0)):
            for hit in (True, False):
                found = self.daemon.call("LoadLayer", model=model, layer="l1")
                self.assertEqual((found["hit"], found["bytes"], found["zeroBytes"]), (hit, MIB, zeros))
                self.daemon.call("UnloadLayer", model=model, layer="l1")
            result = self.assertExit(0, self.daemon.emctl("load-layer", model, "l1"))
            self.assertEqual("zeros:" in result.out, bool(zeros), result.out)
            self.assertEqual("/s)" in result.out, not zeros, result.out)

    def test_a_plan_says_which_rates_it_assumes(self):
        self.daemon.load(sized_model("m", MIB, MIB))
        with self.daemon.connect() as c:
            found = c.call("Plan", model="m")
            self.assertIsNone(found.get("diskBytesPerSecond"))
            found = c.call("Plan", model="m", passes=1, diskBytesPerSecond=12345, computeUsec=678)
            self.assertEqual((found["diskBytesPerSecond"], found["computeUsec"]), (12345, 678))
            found = c.call("Plan", model="m", passes=1)
            self.assertGreater(found["diskBytesPerSecond"], 0)  # as measured
            self.assertIsNone(found.get("computeUsec"))  # no run has gone through it
        self.assertIsInstance(found["passes"][0]["usec"], int)

    def test_a_file_that_was_replaced_or_deleted_is_told(self):
        daemon = self.start(capacity="20M", monitor_interval="20ms")
        directory = self.directory()
        with weight_file(MIB, MIB) as file:
            data = file.read()
        for name in ("replaced", "deleted", "stays"):
            (directory / name).write_bytes(data)
        with daemon.connect() as watcher, daemon.connect() as c:
            for name in ("replaced", "deleted", "stays"):
                with open(directory / name, "rb") as file:
                    c.call("LoadModel", {"definitionFileDescriptor": 0, "name": name},
                           fds=[file.fileno()])
            with weight_file(MIB) as memory:
                c.call("LoadModel", {"definitionFileDescriptor": 0, "name": "memory"},
                       fds=[memory.fileno()])
            self.assertEqual([m["deletedFiles"] for m in c.call("List")["models"]], [0] * 4)
            watcher.send_call("Watch", more=True)
            watcher.result("Watch")
            (directory / "deleted").unlink()
            (directory / "new").write_bytes(data[::-1])
            (directory / "new").rename(directory / "replaced")
            found = []
            while len(found) < 2:
                found += [e for e in watcher.result("Watch")["events"]
                          if e["event"] == "file-deleted"]
            self.assertEqual({e["model"] for e in found}, {"deleted", "replaced"})
            models = {m["name"]: m["deletedFiles"] for m in c.call("List")["models"]}
            self.assertEqual(models, {"replaced": 1, "deleted": 1, "stays": 0, "memory": 0})
            self.assertEqual(c.call("Stats")["scheduler"]["deletedFiles"], 2)
            # The daemon serves it from the open file.
            c.call("UnloadLayer", model="deleted", layer="l0")
            self.assertFalse(c.call("LoadLayer", model="deleted", layer="l0")["hit"])
        self.assertIn("of model deleted was deleted or replaced by another", daemon.read_log())


if __name__ == "__main__":
    unittest.main()
