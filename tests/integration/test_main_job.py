"""The main job: emctl loads ffn10 into an arena of 50 MiB. Every decision and every refusal."""
import json
import unittest

from harness import FFN10, MIB, PAGE, TestCase, sized_model, whole_pages

EVEN, ODD = 8396800, 8392704  # bytes of ffn10's layers: 1024 -> 2048 and 2048 -> 1024, f32, bias
TWO = whole_pages(EVEN) + whole_pages(ODD)
FREE = 50 * MIB - 3 * TWO  # of ffn10's ten layers, 50 MiB hold six


def layers_of(daemon, model):
    return daemon.call("List", model=model)["layers"]


def resident(daemon, model):
    return [layer["name"] for layer in layers_of(daemon, model) if layer["state"] == "resident"]


def dense(first, last):
    return ["dense_%d" % i for i in range(first, last + 1)]


class Ffn10(TestCase):
    options = {"capacity": "50M"}

    def load(self, *words):
        return self.daemon.emctl("load-model", *words, FFN10)

    def test_evict(self):
        self.assertExit(0, self.load())
        stats = json.loads(self.assertExit(0, self.daemon.emctl("stats", "--json")).out)
        scheduler = stats["scheduler"]
        self.assertEqual(scheduler["decisions"],
                         {"loaded": 10, "mustUnload": 1, "outOfMemory": 0, "busy": 0})
        expected = {"policy": "flush-all", "onFull": "evict", "models": 1, "layersLoaded": 4,
                    "layersLoading": 0, "hits": 0, "misses": 10, "evictions": 6, "flushes": 1,
                    "loads": 10, "reloads": 0, "bytesLoaded": 5 * (EVEN + ODD)}
        self.assertEqual({key: scheduler[key] for key in expected}, expected)
        arena = stats["arena"]
        expected = {"capacityBytes": 50 * MIB, "usedBytes": 2 * TWO,
                    "freeBytes": 50 * MIB - 2 * TWO, "leasedBytes": 0,
                    "committedBytes": 50 * MIB, "highWaterBytes": 3 * TWO, "pageBytes": PAGE,
                    "largestFreeBytes": 50 * MIB - 2 * TWO, "backing": "plain-pages",
                    "commit": "boot"}
        self.assertEqual({key: arena[key] for key in expected}, expected)
        self.assertEqual(resident(self.daemon, "ffn10"), dense(6, 9))
        self.assertEqual(stats["daemon"]["pid"], self.daemon.pid)
        self.assertUnharmed()

    def test_ask(self):
        self.assertExit(5, self.load("--on-full=ask"))
        self.assertEqual(resident(self.daemon, "ffn10"), dense(0, 5))
        self.assertEqual(self.daemon.call("List")["models"],
                         [{"name": "ffn10", "layers": 10, "residentLayers": 6,
                           "bytes": 5 * (EVEN + ODD), "residentBytes": 3 * (EVEN + ODD),
                           "deletedFiles": 0, "hits": 0, "misses": 7, "evictions": 0, "loads": 6,
                           "reloads": 0, "bytesLoaded": 3 * (EVEN + ODD), "views": 0}])
        found = self.assertVarlinkError("MustUnload", self.daemon.call, "LoadLayer", model="ffn10",
                                        layer="dense_6", onFull="ask")
        self.assertEqual((found["requestedBytes"], found["availableBytes"], found["capacityBytes"]),
                         (whole_pages(EVEN), FREE, 50 * MIB))
        self.assertEqual(found["victimsTotal"], 6)
        self.assertEqual(sorted(v["layer"] for v in found["victims"]), dense(0, 5))
        self.assertEqual({v["model"] for v in found["victims"]}, {"ffn10"})
        self.assertEqual(sum(v["bytes"] for v in found["victims"]), 3 * (EVEN + ODD))
        self.assertExit(5, self.daemon.emctl("load-layer", "--on-full=ask", "ffn10", "dense_6"))
        self.assertEqual(resident(self.daemon, "ffn10"), dense(0, 5))
        scheduler = self.daemon.stats()["scheduler"]
        self.assertEqual(scheduler["decisions"]["loaded"], 6)
        self.assertEqual(scheduler["decisions"]["mustUnload"], 3)
        self.assertEqual(scheduler["evictions"], 0)
        # The same request, but with eviction.
        self.assertExit(0, self.daemon.emctl("load-layer", "--on-full=evict", "ffn10", "dense_6"))
        self.assertEqual(resident(self.daemon, "ffn10"), dense(6, 6))

    def test_lru(self):
        self.assertExit(0, self.daemon.emctl("set-policy", "lru"))
        self.assertEqual(self.daemon.stats()["scheduler"]["policy"], "lru")
        self.assertExit(0, self.load())
        self.assertEqual(resident(self.daemon, "ffn10"), dense(4, 9))
        scheduler = self.daemon.stats()["scheduler"]
        self.assertEqual((scheduler["evictions"], scheduler["flushes"]), (4, 0))
        self.assertEqual(scheduler["decisions"]["mustUnload"], 4)
        # After a hit dense_4 is the most recently used, and dense_5 is evicted.
        self.assertExit(0, self.daemon.emctl("load-layer", "ffn10", "dense_4"))
        self.assertExit(0, self.daemon.emctl("load-layer", "ffn10", "dense_1"))
        self.assertEqual(resident(self.daemon, "ffn10"), ["dense_1", "dense_4"] + dense(6, 9))
        scheduler = self.daemon.stats()["scheduler"]
        self.assertEqual((scheduler["hits"], scheduler["loads"], scheduler["reloads"]), (1, 11, 1))
        model, = self.daemon.call("List")["models"]
        for key in ("hits", "misses", "evictions", "loads", "reloads", "bytesLoaded"):
            self.assertEqual(model[key], scheduler[key], key)

    def test_hit_unload_reset(self):
        self.assertExit(0, self.load())
        hit = self.daemon.call("LoadLayer", model="ffn10", layer="dense_9")
        self.assertEqual(hit, {"hit": True, "bytes": ODD, "mustUnload": False, "evicted": 0,
                               "zeroBytes": ODD})
        self.assertExit(0, self.daemon.emctl("unload-layer", "ffn10", "dense_7"))
        self.assertExit(0, self.daemon.emctl("unload-layer", "ffn10", "dense_7"))  # no error
        self.assertEqual(resident(self.daemon, "ffn10"), ["dense_6", "dense_8", "dense_9"])
        self.assertExit(0, self.daemon.emctl("reset"))
        self.assertEqual(resident(self.daemon, "ffn10"), [])
        arena = self.daemon.stats()["arena"]
        self.assertEqual((arena["usedBytes"], arena["extents"]), (0, 0))
        self.assertEqual(arena["largestFreeBytes"], 50 * MIB)
        self.assertEqual(self.daemon.call("Reset"), {"evicted": 0})
        miss = self.daemon.call("LoadLayer", model="ffn10", layer="dense_0")
        self.assertEqual(miss, {"hit": False, "bytes": EVEN, "mustUnload": False, "evicted": 0,
                                "zeroBytes": EVEN})
        self.assertExit(0, self.daemon.emctl("unload-model", "ffn10"))
        self.assertEqual(self.daemon.call("List")["models"], [])
        self.assertExit(0, self.load())

    def test_list(self):
        self.assertExit(0, self.load())
        out = self.assertExit(0, self.daemon.emctl("list")).out
        self.assertIn("ffn10", out)
        out = self.assertExit(0, self.daemon.emctl("list", "ffn10")).out
        for name in dense(0, 9):
            self.assertIn(name, out)
        layers = layers_of(self.daemon, "ffn10")
        self.assertEqual([layer["name"] for layer in layers], dense(0, 9))
        for i, layer in enumerate(layers):
            there = i >= 6
            size = EVEN if i % 2 == 0 else ODD
            self.assertEqual(layer, {"name": "dense_%d" % i, "tensors": 2, "bytes": size,
                                     "state": "resident" if there else "absent",
                                     "footprintBytes": whole_pages(size) if there else 0,
                                     "extents": 1 if there else 0})

    def test_already_loaded_not_found(self):
        self.assertExit(0, self.load())
        self.assertExit(10, self.load())
        text = FFN10.read_text()
        self.assertEqual(self.assertVarlinkError("AlreadyLoaded", self.daemon.call, "LoadModel",
                                                 definition=text), {"model": "ffn10"})
        for verb, method in (("unload-model", "UnloadModel"), ("list", "List")):
            self.assertExit(7, self.daemon.emctl(verb, "nope"))
            self.assertEqual(self.assertVarlinkError("NotFound", self.daemon.call, method,
                                                     model="nope"),
                             {"kind": "model", "name": "nope"})
        for verb, method in (("load-layer", "LoadLayer"), ("unload-layer", "UnloadLayer")):
            self.assertExit(7, self.daemon.emctl(verb, "ffn10", "nope"))
            self.assertEqual(self.assertVarlinkError("NotFound", self.daemon.call, method,
                                                     model="ffn10", layer="nope"),
                             {"kind": "layer", "name": "nope"})
            self.assertVarlinkError("NotFound", self.daemon.call, method, model="nope", layer="l")

    def test_layer_larger_than_the_arena(self):
        self.assertExit(0, self.load())
        before = self.daemon.stats()
        path = self.daemon.directory / "big.json"
        path.write_text(sized_model("big", MIB, 50 * MIB + 1, MIB))
        result = self.assertExit(4, self.daemon.emctl("load-model", path))
        self.assertIn("l1", result.err)
        found = self.assertVarlinkError("OutOfMemory", self.daemon.call, "LoadModel",
                                        definition=path.read_text())
        self.assertEqual(found, {"requestedBytes": 50 * MIB + PAGE, "capacityBytes": 50 * MIB,
                                 "availableBytes": before["arena"]["freeBytes"], "layer": "l1"})
        after = self.daemon.stats()
        self.assertEqual(before["arena"], after["arena"])
        for key in ("models", "layersLoaded", "hits", "misses", "evictions", "flushes",
                    "bytesLoaded"):
            self.assertEqual(before["scheduler"][key], after["scheduler"][key], key)
        self.assertEqual(after["scheduler"]["decisions"]["outOfMemory"], 2)
        # A layer of exactly the arena's size fits, and everything else is evicted.
        path.write_text(sized_model("exact", 50 * MIB))
        self.assertExit(0, self.daemon.emctl("load-model", path))
        self.assertEqual(self.daemon.stats()["arena"]["freeBytes"], 0)

    def test_weights_that_are_not_there(self):
        """It is refused clearly, and never counts as a model without weights."""
        path = self.daemon.directory / "weights.json"
        path.write_text(json.dumps({"name": "w", "layers": [{"name": "l", "bytes": 1}],
                                    "weights": "w.safetensors"}))
        result = self.daemon.emctl("load-model", path)
        self.assertNotEqual(result.code, 0, result)
        self.assertIn("weights", result.err)
        self.assertEqual(self.daemon.call("List")["models"], [])

    def test_placement_guarantee(self):
        """A layer fits if and only if there are enough free pages, wherever they are."""
        pages = 50 * MIB // PAGE
        hole = pages // 100
        self.daemon.call("LoadModel", definition=sized_model("holes", *[hole * PAGE] * 100))
        for i in range(1, 100, 2):
            self.daemon.call("UnloadLayer", model="holes", layer="l%d" % i)
        free = self.daemon.stats()["arena"]["freeBytes"]
        self.assertEqual(free, 50 * hole * PAGE)
        self.assertVarlinkError("MustUnload", self.daemon.call, "LoadModel", onFull="ask",
                                definition=sized_model("over", free + 1))
        self.assertEqual(self.daemon.stats()["arena"]["freeBytes"], free)
        self.daemon.call("LoadModel", onFull="ask", definition=sized_model("fits", free))
        layer = layers_of(self.daemon, "fits")[0]
        self.assertEqual((layer["footprintBytes"], layer["extents"]), (free, 50))
        arena = self.daemon.stats()["arena"]
        self.assertEqual((arena["freeBytes"], arena["largestFreeBytes"]), (0, 0))


class OnFull(TestCase):
    options = {"on_full": "ask", "policy": "lru"}

    def test_the_daemons_setting_holds(self):
        self.assertExit(5, self.daemon.emctl("load-model", FFN10))
        self.assertEqual(self.daemon.call("SetPolicy"), {"policy": "lru", "onFull": "ask"})
        self.assertEqual(self.daemon.call("SetPolicy", onFull="evict"),
                         {"policy": "lru", "onFull": "evict"})
        self.assertEqual(self.daemon.call("SetPolicy", policy="flush-all"),
                         {"policy": "flush-all", "onFull": "evict"})
        self.assertExit(0, self.daemon.emctl("load-layer", "ffn10", "dense_6"))
        self.assertEqual(resident(self.daemon, "ffn10"), ["dense_6"])
        for wrong in ({"policy": "belady"}, {"policy": "LRU"}, {"policy": ""}):
            self.assertVarlinkError("org.varlink.service.InvalidParameter", self.daemon.call,
                                    "SetPolicy", wrong)
        self.assertVarlinkError("org.varlink.service.InvalidParameter", self.daemon.call,
                                "LoadLayer", model="ffn10", layer="dense_1", onFull="maybe")


if __name__ == "__main__":
    unittest.main()
