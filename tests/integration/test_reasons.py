"""Every eviction says who asked for what, and under which policy."""
import json
import os
import subprocess
import unittest

from harness import EMCTL, MIB, TestCase, clean_environment, sized_model


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


if __name__ == "__main__":
    unittest.main()
