"""Usage: what each model is used for, and that only models that have changed are listed."""
import time

from harness import MIB, sized_model
from leasing import LeaseTestCase


class Usage(LeaseTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(capacity="4M", policy="lru", simulate=True)

    def usage(self, since=None):
        return self.daemon.call("Usage", **({} if since is None else {"since": since}))

    def test_counted(self):
        before = time.time() * 1e6
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        client = self.connect()
        client.call("LoadLayer", model="m", layer="l0")
        [model] = self.usage()["models"]
        self.assertGreaterEqual(model.pop("usedAtUsec"), before - 1e6)
        self.assertEqual(model, {
            "name": "m", "layers": 2, "residentLayers": 2, "bytes": 2 * MIB, "leases": 0, "runs": 0,
            "residentBytes": 2 * MIB, "leasedBytes": 0, "loadingBytes": 0, "streamedBytes": 0,
            "hits": 1, "misses": 2, "bytesLoaded": 2 * MIB, "passes": 0})

    def test_only_what_has_changed(self):
        for name in ("a", "b", "c"):
            self.daemon.call("LoadModel", definition=sized_model(name, MIB))
        all_of_them = self.usage()
        self.assertEqual([m["name"] for m in all_of_them["models"]], ["a", "b", "c"])
        self.assertEqual((all_of_them["total"], all_of_them["more"]), (3, False))
        since = all_of_them["change"]
        self.assertEqual(self.usage(since),
                         {"models": [], "total": 3, "change": since, "more": False})
        self.daemon.call("UnloadLayer", model="b", layer="l0")
        changed = self.usage(since)
        self.assertEqual([(m["name"], m["residentLayers"]) for m in changed["models"]], [("b", 0)])
        self.daemon.call("UnloadModel", model="a")
        gone = self.usage(changed["change"])
        self.assertEqual((gone["models"], gone["total"]), ([], 2))
        self.assertEqual(self.usage(1 << 62)["models"], [])

    def test_a_hundred_in_a_reply(self):
        for i in range(205):
            self.daemon.call("LoadModel", definition=sized_model("m%d" % i, 4096))
        found, since, more = [], 0, True
        while more:
            reply = self.usage(since)
            self.assertLessEqual(len(reply["models"]), 100)
            found += [m["name"] for m in reply["models"]]
            since, more = reply["change"], reply["more"]
        self.assertEqual(found, ["m%d" % i for i in range(205)])

    def test_passes_and_leases(self):
        daemon = self.start(capacity="4M", policy="next-use")
        daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        client = self.client(daemon)
        run = client.call("BeginRun", model="m")["run"]
        for _ in range(5):
            client.lease("Next", run=run)
        [model] = daemon.call("Usage")["models"]
        self.assertEqual((model["passes"], model["runs"], model["leases"], model["leasedBytes"]),
                         (2, 1, 1, MIB))
        client.call("EndRun", run=run)
        [model] = daemon.call("Usage")["models"]
        self.assertEqual((model["passes"], model["runs"], model["leases"], model["leasedBytes"]),
                         (2, 0, 0, 0))
