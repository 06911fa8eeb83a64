"""BeginView, EndView and Views: what a client declares, and what the daemon counts for its
views."""
import os

from harness import MIB, sized_model, wait_until
from leasing import LeaseTestCase, write_model

INVALID = "org.varlink.service.InvalidParameter"


def unmap(client):
    arena, client.arena = client.arena.obj, client.arena.release()
    arena.close()


class Views(LeaseTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(capacity="4M", policy="lru")
        self.daemon.call("LoadModel", definition=sized_model("m", *[MIB] * 5))

    def begin(self, client, **parameters):
        return client.call("BeginView", **{"model": "m", "program": "engine", "bytes": 6 * MIB,
                                           "outsideBytes": MIB, **parameters})["view"]

    def views(self):
        reply = self.daemon.call("Views")
        self.assertEqual(reply["total"], len(reply["views"]))
        return sorted(reply["views"], key=lambda view: view["program"])

    def test_counted(self):
        self.assertEqual(self.views(), [])
        client = self.client()
        first, second = self.begin(client), self.begin(client, program="other")
        expected = {"user": str(os.getuid()), "uid": os.getuid(), "pid": os.getpid(), "model": "m",
                    "bytes": 6 * MIB, "outsideBytes": MIB, "heldBytes": 0, "faults": 0, "hits": 0,
                    "readBytes": 0}
        self.assertEqual(self.views(), [{"program": "engine", **expected},
                                        {"program": "other", **expected}])
        leases = [client.lease(model="m", layer=layer, view=view)
                  for layer, view in (("l4", first), ("l0", first), ("l3", second))]
        client.lease(model="m", layer="l2")
        self.assertEqual(self.views(), [
            {"program": "engine", **expected, "heldBytes": 2 * MIB, "faults": 2, "hits": 1,
             "readBytes": MIB},
            {"program": "other", **expected, "heldBytes": MIB, "faults": 1, "hits": 1}])
        client.release(leases[0])
        self.assertEqual(self.views()[0]["heldBytes"], MIB)
        client.call("EndView", view=first)
        self.assertEqual([view["program"] for view in self.views()], ["other"])
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 3 * MIB)
        client.close()
        wait_until(lambda: self.views() == [], "the view to end with its connection")
        self.assertUnharmed()

    def test_used(self):
        """What a view tells of its uses is taken whole or not at all."""
        client = self.client()
        view = self.begin(client)

        def tell(used, **more):
            return client.call("UpdateView", view=view, outsideBytes=MIB, used=used, **more)

        def used():
            layers = self.daemon.call("List", model="m", used=True)["layers"]
            return [layer.get("usedPercent") for layer in layers]
        before = used()
        tell("32ff00")
        self.assertEqual(used(), [50, before[1], 0, *before[3:]])
        tell("0164", usedFrom=3)
        known = [50, before[1], 0, 1, 100]
        self.assertEqual(used(), known)
        for text, more in (("0", {}), ("65", {}), ("0A", {}), ("0 ", {}), ("-1", {}), ("00" * 6, {}), ("00", {"usedFrom": 5}),
                           ("00", {"usedFrom": 1 << 62}), ("00" * 4097, {}), ("0164zz", {})):
            self.assertVarlinkError(INVALID, tell, text, **more)
        tell("", usedFrom=5)
        self.assertEqual(used(), known)
        self.assertNotIn("usedPercent", self.daemon.call("List", model="m")["layers"][0])
        self.assertUnharmed()

    def test_a_load_whose_model_is_unloaded_while_it_waits_for_views(self):
        holder, loading = self.client(), self.client()
        view = self.begin(holder)
        for i in range(4):
            holder.lease(model="m", layer="l%d" % i, view=view)

        def unloaded_in_time():
            """False if the load had given up."""
            loading.send_call("LoadModel", {"definition": sized_model("n", 2 * MIB)})
            wait_until(lambda: self.waiting() > 0 or loading.readable(), "the load to wait")
            self.daemon.call("UnloadModel", model="n")
            error = loading.reply("LoadModel")["error"]
            self.assertIn(error, ["io.edgemind.manager.NotFound", "io.edgemind.manager.Busy"])
            return error.endswith("NotFound")
        wait_until(unloaded_in_time, "a load that still waits when its model is unloaded")
        self.assertUnharmed()

    def test_told(self):
        """Lists, statistics, plans, watchers and the log know views."""
        def known():
            return (self.daemon.call("List")["models"][0]["views"],
                    self.daemon.call("Plan", model="m")["views"],
                    self.daemon.stats()["views"])

        none = {"count": 0, "bytes": 0, "outsideBytes": 0, "heldBytes": 0, "faults": 0, "hits": 0,
                "readBytes": 0}
        self.assertEqual(known(), (0, 0, none))
        watcher, client = self.client(), self.client()
        events = watcher.stream("Watch", {})
        next(events)
        view, other = self.begin(client), self.begin(client, program="other")
        client.lease(model="m", layer="l0", view=view)
        client.call("UpdateView", view=view, outsideBytes=3 * MIB)
        self.assertEqual(self.views()[0]["outsideBytes"], 3 * MIB)
        for wrong, error in ((6 * MIB + 1, INVALID), (-1, INVALID)):
            self.assertVarlinkError(error, client.call, "UpdateView", view=view, outsideBytes=wrong)
        self.assertVarlinkError("NotFound", client.call, "UpdateView", view="0", outsideBytes=0)
        some = {"count": 2, "bytes": 12 * MIB, "outsideBytes": 4 * MIB, "heldBytes": MIB,
                "faults": 1, "hits": 0, "readBytes": MIB}
        self.assertEqual(known(), (2, 2, some))
        client.call("EndView", view=other)
        self.assertEqual(known()[:2], (1, 1))
        unmap(client)
        client.close()
        wait_until(lambda: self.daemon.stats()["views"]["count"] == 0, "the view to end")
        self.assertEqual(known(), (0, 0, {**none, "faults": 1, "readBytes": MIB}))

        who = {"user": str(os.getuid()), "uid": os.getuid(), "pid": os.getpid(), "model": "m",
               "bytes": 6 * MIB}
        found = []
        while len(found) < 4:
            found += [event for event in next(events)[0]["events"]
                      if event["event"].startswith("view-")]
        for event, name, program, method in zip(
                found, ["view-begun"] * 2 + ["view-ended"] * 2, ("engine", "other") * 2,
                ("BeginView", "BeginView", "EndView", None)):
            expected = {"event": name, **who, **({"method": method} if method else {})}
            self.assertEqual({key: event.get(key) for key in expected}, expected)
            self.assertEqual("method" in event, bool(method))
        self.assertEqual([event["message"].split()[0] for event in found],
                         ["engine", "other", "other", "engine"])
        log = self.daemon.read_log()
        self.assertIn("engine (pid %d) maps 6.0 MiB of m, 1.0 MiB of it outside the arena" %
                      os.getpid(), log)
        self.assertIn("engine (pid %d) no longer maps m: 1 fault, 0 of them hits, 1.0 MiB read, "
                      "3.0 MiB outside the arena" % os.getpid(), log)

    def test_ended_while_a_layer_is_waited_for(self):
        """Calls are answered in order, but a view may have ended when its layer arrives."""
        other, client = self.client(), self.client()
        for layer in ("l0", "l1", "l2", "l3"):
            other.lease(model="m", layer=layer)
        view = self.begin(client)
        client.send_call("Acquire", {"model": "m", "layer": "l4", "view": view,
                                     "waitUsec": 60_000_000})
        client.send_call("EndView", {"view": view})
        wait_until(lambda: self.daemon.stats()["scheduler"]["waiting"] == 1, "it to wait")
        other.close()
        self.assertEqual(client.leased_reply()["layer"], "l4")
        client.result("EndView")
        self.assertEqual(self.views(), [])

    def test_wrong(self):
        client, other = self.client(), self.client()
        view = self.begin(client)
        for parameters, error in (
                ({"model": "n"}, "NotFound"), ({"model": None}, INVALID),
                ({"program": "x" * 256}, INVALID), ({"program": 1}, INVALID),
                ({"bytes": -1}, INVALID), ({"outsideBytes": 6 * MIB + 1}, INVALID)):
            with self.subTest(parameters=parameters):
                self.assertVarlinkError(error, self.begin, client, **parameters)
        for wrong in ("0", "", "x", view + "0"):
            for method, more in (("EndView", {}), ("Acquire", {"model": "m", "layer": "l0"})):
                found = self.assertVarlinkError("NotFound", client.call, method, view=wrong,
                                                **more)
                self.assertEqual(found, {"kind": "view", "name": wrong})
        # A connection cannot use the view of another.
        self.assertVarlinkError("NotFound", other.call, "EndView", view=view)
        self.assertVarlinkError(INVALID, client.call, "Views", model="m")
        self.assertEqual(len(self.views()), 1)

    def test_next(self):
        """The layer that a view will acquire next is read meanwhile, if a place stays free for another view."""
        def resident():
            return [layer["name"] for layer in self.daemon.call("List", model="m")["layers"]
                    if layer["state"] == "resident"]

        client = self.client()
        view = self.begin(client)
        self.daemon.call("Reset")
        client.lease(model="m", layer="l0", view=view, next="l2")
        wait_until(lambda: resident() == ["l0", "l2"], "the next layer")
        self.assertEqual(self.views()[0]["faults"], 1)
        client.lease(model="m", layer="l0", view=view, next="l4")
        self.daemon.call("Stats")
        self.assertEqual(resident(), ["l0", "l2"])  # one at a time
        client.lease(model="m", layer="l2", view=view, ahead=True, next="l4")
        self.assertEqual((self.views()[0]["hits"], self.views()[0]["readBytes"]), (1, 2 * MIB))
        wait_until(lambda: resident() == ["l0", "l2", "l4"], "the next layer")
        client.lease(model="m", layer="l4", view=view, next="l3")
        self.daemon.call("Stats")
        self.assertEqual(resident(), ["l0", "l2", "l4"])  # it would take the free place
        self.assertVarlinkError("NotFound", client.call, "Acquire", model="m", layer="l0", view=view, next="l9")
        self.assertVarlinkError(INVALID, client.call, "Acquire", model="m", layer="l0", next="l1")
        self.assertUnharmed()

    def test_replaced_model(self):
        """A view is of one registration of its model, and of one state of its file."""
        client, sizes, path = self.client(), [MIB, MIB], self.directory() / "weights"
        write_model(path, sizes, seed=1)

        def find():
            with open(path, "rb") as file:
                (reply, _), = client.stream("FindModel", {"fileDescriptor": 0}, [file.fileno()])
                return reply
        client.load_model(path, name="w")
        first = find()["file"]
        view = self.begin(client, model="w", file=first)
        client.release(client.lease(model="w", layer="b.0", view=view))
        client.call("UnloadModel", model="w")
        client.load_model(path, name="w")
        self.assertVarlinkError("NotFound", client.call, "Acquire", model="w", layer="b.0", view=view)
        self.assertEqual(find()["file"], first)
        view = self.begin(client, model="w", file=first)
        client.release(client.lease(model="w", layer="b.0", view=view))
        client.call("UnloadModel", model="w")
        os.utime(path, (1, 1))
        client.load_model(path, name="w")
        self.assertNotEqual(find()["file"], first)
        found = self.assertVarlinkError("NotFound", self.begin, client, model="w", file=first)
        self.assertEqual(found, {"kind": "file", "name": first})
        self.begin(client, model="w", file=find()["file"])

    def test_mapped_without_connection(self):
        """While a client of views has the arena mapped, its layers stay leased, even if its
        connection has ended. Without a view they end with the connection."""
        for has_view in (True, False):
            with self.subTest(has_view=has_view):
                client = self.client()
                more = {"view": self.begin(client)} if has_view else {}
                client.lease(model="m", layer="l4", **more)
                client.close()
                if has_view:
                    wait_until(lambda: "still has the arena mapped" in self.daemon.read_log(), "the log")
                    self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], MIB)
                    found = self.assertVarlinkError("Busy", self.daemon.call, "UnloadModel",
                                                    model="m")
                    self.assertEqual([lease["pid"] for lease in found["leases"]], [os.getpid()])
                    self.assertEqual(self.views(), [])
                    unmap(client)
                wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "the end")
                if not has_view:
                    unmap(client)
        self.assertUnharmed()

    def test_many(self):
        client = self.client()
        for _ in range(64):
            self.begin(client, program="x" * 255)
        found = self.assertVarlinkError("LimitExceeded", self.begin, client)
        self.assertEqual(found, {"limit": "views of a connection", "maximum": 64})
        self.assertEqual(len(self.views()), 64)
        clients = [self.client() for _ in range(16)]
        for one in clients:
            for _ in range(64):
                self.begin(one)
        reply = self.daemon.call("Views")
        self.assertEqual((len(reply["views"]), reply["total"]), (1000, 17 * 64))
        self.assertUnharmed()

    def plans(self, watcher, *views):
        """The kept layers in the next plan of each of these views."""
        found = {}
        for _ in views:
            reply = watcher.result("WatchViews")
            found[reply["view"]] = [i for i in range(4 * len(reply["keep"]))
                                    if int(reply["keep"][i // 4], 16) >> i % 4 & 1]
        return [found[view] for view in views]

    def watch(self, view):
        watcher = self.client()
        watcher.send_call("WatchViews", {"view": view}, more=True)
        self.assertEqual(watcher.result("WatchViews"), {})
        return watcher

    def test_plans(self):
        """All views of a model keep the same layers, and those of all models fit into the arena."""
        self.daemon.call("UnloadModel", model="m")
        self.daemon.call("LoadModel", definition=sized_model("m", *[MIB // 8] * 64))
        self.daemon.call("LoadModel", definition=sized_model("o", *[MIB // 8] * 64))
        client, other = self.client(), self.client()
        first = self.begin(client)
        watcher = self.watch(first)
        plan, = self.plans(watcher, first)
        self.assertEqual(len(plan), 32 - 5)
        self.assertLessEqual(max(b - a for a, b in zip(plan, plan[1:])), 3)
        second = self.begin(client)
        plan, same = self.plans(watcher, first, second)
        self.assertEqual(plan, same)
        self.assertEqual(len(plan), 32 - 6)
        third = self.begin(other, model="o")
        plan, same = self.plans(watcher, first, second)
        self.assertEqual(plan, same)
        self.assertEqual(len(plan), 16 - 6)
        self.assertEqual(len(self.plans(self.watch(third), third)[0]), 16 - 5)
        client.close()
        self.assertEqual(watcher.result("WatchViews"), {})
        self.assertUnharmed()

    def test_plans_wrong(self):
        client = self.client()
        view = self.begin(client)
        self.assertVarlinkError("org.varlink.service.ExpectedMore", client.call, "WatchViews",
                                view=view)
        client.send_call("WatchViews", {"view": view + "0"}, more=True)
        found = self.assertVarlinkError("NotFound", client.result, "WatchViews")
        self.assertEqual(found, {"kind": "view", "name": view + "0"})
        watcher, other = self.watch(view), self.watch(view)
        self.assertEqual(watcher.result("WatchViews"), {"view": view, "keep": "00"})
        self.assertEqual(watcher.result("WatchViews"), {})
        other.close()
        self.begin(client)
        self.assertUnharmed()

    def test_model_goes(self):
        """A view shows what its client declared, even if the model is unloaded."""
        client = self.client()
        self.begin(client)
        self.daemon.call("UnloadModel", model="m")
        self.assertEqual(self.views()[0]["model"], "m")
        self.assertUnharmed()


if __name__ == "__main__":
    import unittest
    unittest.main()
