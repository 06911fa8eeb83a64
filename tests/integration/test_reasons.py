"""Every eviction says who asked for what, and under which policy."""
import json
import os
import pwd
import subprocess
import time
import unittest

from harness import EMCTL, MIB, TestCase, clean_environment, sanitized, sized_model

OUT_OF_MEMORY, BUSY, NOT_FOUND = "OutOfMemory", "Busy", "NotFound"


class Events(TestCase):
    options = {"capacity": "4M", "policy": "lru"}

    def watch(self):
        watcher = self.connect()
        watcher.send_call("Watch", more=True)
        self.assertEqual(watcher.result("Watch")["events"], [])
        return watcher

    def until(self, watcher, name):
        """The next event of that name."""
        while True:
            for event in watcher.result("Watch")["events"]:
                if event["event"] == name:
                    return event

    def assertFrom(self, event, method, pid=None):
        self.assertEqual((event["method"], event["pid"], event["uid"], event["user"]),
                         (method, pid or os.getpid(), os.geteuid(), str(os.geteuid())))

    def test_eviction(self):
        watcher = self.watch()
        self.daemon.call("LoadModel", definition=sized_model("a", MIB, 3 * MIB))
        self.assertFrom(self.until(watcher, "model-added"), "LoadModel")
        loaded = self.until(watcher, "layer-loaded")
        self.assertEqual({"user", "uid", "pid", "method", "policy"} & set(loaded), set())
        self.daemon.call("LoadModel", definition=sized_model("b", MIB))
        event = self.until(watcher, "layer-evicted")
        self.assertFrom(event, "LoadModel")
        self.assertEqual((event["model"], event["layer"], event["to"], event["policy"]),
                         ("a", "l0", "b/l0", "lru"))
        self.daemon.call("UnloadLayer", model="a", layer="l1")
        event = self.until(watcher, "layer-evicted")
        self.assertFrom(event, "UnloadLayer")
        self.assertNotIn("policy", event)
        self.assertNotIn("to", event)
        self.daemon.call("SetPolicy", policy="flush-all")
        self.assertFrom(self.until(watcher, "policy-changed"), "SetPolicy")
        self.daemon.call("SetPolicy", onFull="ask")
        self.assertFrom(self.until(watcher, "on-full-changed"), "SetPolicy")
        self.daemon.call("Reset")
        self.assertFrom(self.until(watcher, "flushed"), "Reset")
        self.daemon.call("UnloadModel", model="a")
        self.assertFrom(self.until(watcher, "model-removed"), "UnloadModel")

    def test_leases_and_runs(self):
        self.daemon.call("SetPolicy", policy="next-use")
        self.daemon.call("LoadModel", definition=sized_model("a", *[MIB] * 4))
        self.daemon.call("LoadModel", definition=sized_model("b", *[MIB] * 8))
        watcher, client = self.watch(), self.connect()
        client.call("Acquire", model="a", layer="l0")
        self.assertFrom(self.until(watcher, "layer-evicted"), "Acquire")
        run = client.call("BeginRun", model="a")["run"]
        for _ in range(4):
            client.call("Next", run=run)
        # Also what is read ahead, after the reply.
        self.assertFrom(self.until(watcher, "layer-evicted"), "Next")

    def test_emctl_is_named(self):
        """emctl shows the event, one JSON object a line, with emctl's own pid as the requester."""
        self.daemon.call("LoadModel", definition=sized_model("a", MIB))
        environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket)
        with subprocess.Popen([EMCTL, "watch", "--json"], env=environment,
                              stdout=subprocess.PIPE, text=True) as watcher:
            self.addCleanup(watcher.kill)
            self.assertEqual(json.loads(watcher.stdout.readline()), {"events": [], "missed": 0})
            with subprocess.Popen([EMCTL, "unload-layer", "a", "l0"], env=environment,
                                  stdout=subprocess.PIPE) as unloader:
                unloader.wait()
            event = json.loads(watcher.stdout.readline())["events"][0]
            self.assertEqual(event["event"], "layer-evicted")
            self.assertFrom(event, "UnloadLayer", unloader.pid)
            self.assertRegex(event["message"], r"^l0 of a evicted, 1\.0 MiB, on request of user "
                             r"%d \(pid %d\) with UnloadLayer$" % (os.geteuid(), unloader.pid))
            watcher.terminate()

    def test_reload_has_no_requester(self):
        daemon = self.start(capacity="4M", config="policy = lru\n", policy=None)
        watcher = self.connect(daemon)
        watcher.send_call("Watch", more=True)
        watcher.result("Watch")
        daemon.config.write_text("policy = next-use\n")
        daemon.process.send_signal(1)
        event = self.until(watcher, "policy-changed")
        self.assertEqual({"user", "uid", "pid", "method"} & set(event), set())


class Why(TestCase):
    options = {"capacity": "4M", "policy": "lru"}

    def setUp(self):
        super().setUp()
        self.before = time.time()
        self.daemon.call("LoadModel", definition=sized_model("a", MIB, 3 * MIB))
        self.daemon.call("LoadModel", definition=sized_model("b", MIB))

    def why(self, model, layer=None):
        return self.daemon.call("Why", model=model, **({"layer": layer} if layer else {}))

    def test_layer(self):
        reply = self.why("a", "l0")
        self.assertEqual((reply["registered"], reply["layers"], reply["residentLayers"],
                          reply["state"], reply["wasLoaded"], reply["reasonsTotal"]),
                         (True, 2, 1, "absent", True, 1))
        reason, = reply["reasons"]
        self.assertEqual({key: reason[key] for key in
                          ("what", "layer", "to", "policy", "bytes", "pid", "uid", "user", "method")},
                         {"what": "evicted", "layer": "l0", "to": "b/l0", "policy": "lru",
                          "bytes": MIB, "pid": os.getpid(), "uid": os.geteuid(),
                          "user": str(os.geteuid()), "method": "LoadModel"})
        self.assertGreaterEqual(reason["atUsec"], (self.before - 1) * 1e6)
        self.assertLessEqual(reason["atUsec"], (time.time() + 1) * 1e6)
        self.assertLessEqual(reply["sinceAtUsec"], reason["atUsec"])
        self.assertEqual(self.why("b", "l0")["reasons"], [])
        self.assertEqual(self.why("b", "l0")["state"], "resident")

    def test_model(self):
        self.assertEqual([r["layer"] for r in self.why("a")["reasons"]], ["l0"])
        self.daemon.call("Reset")
        self.assertEqual([r["what"] for r in self.why("a")["reasons"]], ["flushed", "evicted"])
        self.assertEqual(self.why("a")["reasons"][0]["layers"], 2)
        self.daemon.call("UnloadModel", model="a")
        reply = self.why("a")
        self.assertFalse(reply["registered"])
        self.assertEqual([(r["what"], r["method"]) for r in reply["reasons"]],
                         [("model-removed", "UnloadModel")])
        self.daemon.call("LoadModel", definition=sized_model("a", MIB))
        self.assertEqual(self.why("a")["reasons"], [])

    def test_refused(self):
        self.assertVarlinkError(OUT_OF_MEMORY, self.daemon.call, "LoadModel",
                                definition=sized_model("big", MIB, 5 * MIB))
        reason, = self.why("big")["reasons"]
        self.assertEqual((reason["what"], reason["decision"], reason["layer"], reason["bytes"]),
                         ("refused", "out-of-memory", "l1", 5 * MIB))
        client = self.connect()
        client.call("Acquire", model="a", layer="l1")
        client.call("Acquire", model="b", layer="l0")
        self.assertVarlinkError(BUSY, self.daemon.call, "LoadLayer", {"model": "a", "layer": "l0"})
        self.assertEqual([(r["what"], r.get("decision")) for r in self.why("a", "l0")["reasons"]],
                         [("refused", "busy"), ("evicted", None)])

    def test_unknown(self):
        self.assertEqual(self.assertVarlinkError(NOT_FOUND, self.why, "nope"),
                         {"kind": "model", "name": "nope"})
        self.assertEqual(self.assertVarlinkError(NOT_FOUND, self.why, "a", "nope"),
                         {"kind": "layer", "name": "nope"})

    def test_many(self):
        """The reply is bounded, and the memory of the decisions has a fixed size."""
        self.daemon.call("Reset")
        self.daemon.call("LoadModel", definition=sized_model("many", *[1] * 1000))
        with self.connect() as client:
            for _ in range(2):
                client.call("SetPolicy", policy="lru")
                for i in range(1000):
                    client.call("UnloadLayer", model="many", layer="l%d" % i)
                    client.call("LoadLayer", model="many", layer="l%d" % i)
        reply = self.why("many")
        self.assertEqual((len(reply["reasons"]), reply["reasonsTotal"]), (100, 2000))
        self.assertEqual(reply["reasons"][0]["layer"], "l999")
        before = self.daemon.overhead_bytes()
        with self.connect() as client:
            for _ in range(9):
                for i in range(1000):
                    client.call("UnloadLayer", model="many", layer="l%d" % i)
                    client.call("LoadLayer", model="many", layer="l%d" % i)
        self.assertEqual(self.why("many")["reasonsTotal"], 10000)
        self.assertGreater(self.why("a")["sinceAtUsec"], self.before * 1e6)
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes() - before, 3 * MIB)

    def test_emctl(self):
        def told(*words):
            return self.assertExit(0, self.daemon.emctl("why", *words)).out
        me = r"%s \(pid %d\)" % (pwd.getpwuid(os.geteuid()).pw_name, os.getpid())
        ago = r"at \d\d:\d\d:\d\d \(\d+ s ago\)"
        self.assertRegex(told("a", "l0"), r"^a/l0 is not in the arena\.\nIt was last used %s\.\n"
                         r"It was evicted %s to make room for b/l0, which %s requested with "
                         r"LoadModel\. Policy: lru\.\n$" % (ago, ago, me))
        self.assertRegex(told("b", "l0"), r"^b/l0 is in the arena\.\nIt was last used %s\.\n$" % ago)
        self.assertRegex(told("a"), r"^a is registered; 1 of its 2 layers are in the arena\.\n"
                         r"l0 was evicted %s to make room" % ago)
        self.assertRegex(told("b"), r"^b is registered; 1 of its 1 layer is in the arena\.\n"
                         r"No layer of it was evicted or refused\.\n")
        self.daemon.call("Reset")
        self.assertRegex(told("a", "l1"), r"\nIt was evicted %s, as one of 2 layers that nobody "
                         r"held, because %s called Reset\.\n$" % (ago, me))
        self.daemon.call("SetPolicy", policy="flush-all")
        self.daemon.call("LoadModel", definition=sized_model("c", 4 * MIB))
        self.daemon.call("LoadLayer", model="b", layer="l0")
        self.assertRegex(told("c", "l0"), r"\nIt was evicted %s, as one of 1 layer that nobody held, "
                         r"to make room for b/l0, which %s requested with LoadLayer\. Policy: "
                         r"flush-all\.\n$" % (ago, me))
        self.daemon.call("UnloadModel", model="a")
        self.assertRegex(told("a"), r"^a is not registered\.\nThe model was unloaded %s because %s "
                         r"called UnloadModel\.\n$" % (ago, me))
        self.assertRegex(self.assertExit(7, self.daemon.emctl("why", "nope")).err, "nope")
        reply = json.loads(told("c", "l0", "--json"))
        self.assertEqual(reply["reasons"][0]["what"], "flushed")

    def test_held_during_a_flush(self):
        """What clients held is not said to be evicted by the flush that it survived."""
        self.daemon.call("SetPolicy", policy="flush-all")
        self.daemon.call("Reset")
        client = self.connect()
        lease = client.call("Acquire", model="b", layer="l0")["lease"]
        self.daemon.call("LoadLayer", model="a", layer="l1")
        self.daemon.call("LoadLayer", model="a", layer="l0")  # flushes l1
        self.assertEqual(self.why("b", "l0")["reasons"], [])
        client.call("Release", lease=lease)
        self.daemon.call("LoadModel", definition=sized_model("c", 4 * MIB))
        self.assertEqual([r["to"] for r in self.why("b", "l0")["reasons"]], ["c/l0"])
        self.assertEqual([r["to"] for r in self.why("a", "l1")["reasons"]], ["a/l0"])


if __name__ == "__main__":
    unittest.main()
