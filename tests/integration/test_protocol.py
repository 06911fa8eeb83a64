"""The daemon's Varlink: calls, flags, order, streams, descriptors and typed errors."""
import json
import os
import socket
import unittest

import wire
from harness import FFN10, INTERFACE_FILE, INTERFACES, MIB, TestCase, memory_file, sized_model

INVALID = "org.varlink.service.InvalidParameter"


class Calls(TestCase):
    options = {"capacity": "20M"}

    def test_service_interface(self):
        with self.daemon.connect() as c:
            info = c.call("org.varlink.service.GetInfo")
            self.assertEqual(sorted(info["interfaces"]), [wire.MANAGER, wire.SERVICE])
            self.assertEqual(info["url"], "https://edgemind.io")  # the project's own
            self.assertTrue(info["vendor"] and info["product"] and info["version"])
            self.assertEqual(info["version"], c.call("Stats")["daemon"]["version"])
            served = c.call("org.varlink.service.GetInterfaceDescription", interface=wire.MANAGER)
            self.assertEqual(served["description"].strip(), INTERFACE_FILE.read_text().strip())
            served = c.call("org.varlink.service.GetInterfaceDescription", interface=wire.SERVICE)
            interface = wire.Interface(served["description"])
            self.assertEqual(interface.methods, INTERFACES[wire.SERVICE].methods)
            for name in ("InterfaceNotFound", "MethodNotFound", "MethodNotImplemented",
                         "InvalidParameter"):
                self.assertEqual(interface.errors[name], INTERFACES[wire.SERVICE].errors[name])

    def test_a_layer_of_no_model(self):
        found = self.assertVarlinkError("org.varlink.service.InvalidParameter", self.daemon.call, "List", layer="l0")
        self.assertEqual(found, {"parameter": "layer"})

    def test_service_errors(self):
        with self.daemon.connect() as c:
            for interface in ("io.edgemind", "nope", "IO.EDGEMIND.MANAGER"):
                found = self.assertVarlinkError("org.varlink.service.InterfaceNotFound", c.call,
                                                "org.varlink.service.GetInterfaceDescription",
                                                interface=interface)
                self.assertEqual(found, {"interface": interface})
            found = self.assertVarlinkError("org.varlink.service.InterfaceNotFound", c.call,
                                            "com.example.None.Call")
            self.assertEqual(found, {"interface": "com.example.None"})
            for method in ("io.edgemind.manager.Nope", "io.edgemind.manager.stats",
                           "org.varlink.service.Stats"):
                found = self.assertVarlinkError("org.varlink.service.MethodNotFound", c.call,
                                                method)
                self.assertEqual(found, {"method": method})
            for parameters in ({}, {"interface": 3}, {"interface": None}):
                found = self.assertVarlinkError(INVALID, c.call,
                                                "org.varlink.service.GetInterfaceDescription",
                                                parameters)
                self.assertEqual(found, {"parameter": "interface"})

    def test_absent_null_and_empty_parameters_are_the_same(self):
        with self.daemon.connect() as c:
            for parameters in (b"", b', "parameters": null', b', "parameters": {}'):
                c.send(b'{"method": "io.edgemind.manager.List"' + parameters + b"}\0")
                self.assertEqual(c.result("List")["models"], [])
            self.assertEqual(c.call("List", {"model": None})["total"], 0)  # a null one is absent

    def test_explicit_false_flags(self):
        with self.daemon.connect() as c:
            c.send_call("Stats", {}, more=False, oneway=False, upgrade=False)
            self.assertIn("arena", c.result("Stats"))
            c.send_call("Stats", {}, more=True, oneway=False)
            reply = c.reply("Stats")
            self.assertFalse(reply.get("continues", False))

    def test_upgrade_is_refused(self):
        with self.daemon.connect() as c:
            c.send_call("Stats", upgrade=True)
            reply = c.reply("Stats")
            self.assertTrue(reply is None or "error" in reply, reply)
        self.assertUnharmed()

    def test_pipelining_keeps_order(self):
        with self.daemon.connect() as c:
            methods = ["Stats", "List", "SetPolicy", "Nope", "LoadLayer"] * 40
            data = b""
            for method in methods:
                data += json.dumps({"method": wire.qualified(method)}).encode() + b"\0"
            c.send(data)
            for method in methods:
                if method == "Nope":
                    self.assertVarlinkError("org.varlink.service.MethodNotFound", c.result, method)
                elif method == "LoadLayer":
                    self.assertVarlinkError(INVALID, c.result, method)
                else:
                    c.result(method)
            # Also after a slow call.
            c.send_call("LoadModel", {"definition": sized_model("m", *[MIB] * 15)}, more=True)
            c.send_call("List")
            while c.reply("LoadModel").get("continues"):
                pass
            self.assertEqual(c.result("List")["models"][0]["residentLayers"], 15)

    def test_byte_by_byte(self):
        with self.daemon.connect() as c:
            for byte in b'{"method":"io.edgemind.manager.List"}\0':
                c.send(bytes([byte]))
            self.assertEqual(c.result("List")["total"], 0)

    def test_half_close(self):
        """socat ends its side at once, but replies still come, also slow ones."""
        with self.daemon.connect() as c:
            c.send_call("LoadModel", {"definition": sized_model("m", *[MIB] * 15)}, more=True)
            c.send_call("Stats")
            c.socket.shutdown(socket.SHUT_WR)
            while c.reply("LoadModel").get("continues"):
                pass
            self.assertEqual(c.result("Stats")["scheduler"]["layersLoaded"], 15)
            self.assertTrue(c.at_end())

    def test_oneway(self):
        with self.daemon.connect() as c:
            c.send_call("LoadModel", {"definition": sized_model("m", MIB)}, oneway=True)
            c.send_call("UnloadModel", {"model": "nope"}, oneway=True)  # nor is an error sent
            c.send_call("Nope", oneway=True)
            c.send_call("Watch", oneway=True)
            c.send_call("List")
            models = c.result("List")["models"]
            self.assertEqual([m["name"] for m in models], ["m"])
            # Nothing came late.
            self.assertEqual(c.call("SetPolicy"), {"policy": "flush-all", "onFull": "evict"})


class Streams(TestCase):
    options = {"capacity": "20M"}

    def test_progress(self):
        sizes = [4 * MIB] * 7
        with self.daemon.connect() as c:
            replies = list(c.stream("LoadModel", definition=sized_model("m", *sizes)))
            *progress, (final, continues) = replies
            self.assertFalse(continues)
            # Replies come as the load proceeds; a slow reader gets fewer of them.
            done = [p["layersDone"] for p, _ in progress]
            self.assertEqual(done, sorted(done))
            self.assertGreater(len(set(done)), 1)
            for p, continues in progress:
                self.assertTrue(continues)
                self.assertEqual((p["layersTotal"], p["bytesTotal"]), (7, 28 * MIB))
                self.assertLessEqual(p["layersDone"] * 4 * MIB, p["bytesDone"])
                self.assertIn(p["layer"], ["l%d" % i for i in range(7)])
            self.assertEqual(final, {"model": "m", "layersDone": 7, "layersTotal": 7,
                                     "bytesDone": 28 * MIB, "bytesTotal": 28 * MIB, "hits": 0,
                                     "loaded": 7, "mustUnload": 1, "evicted": 5, "flushes": 1,
                                     "resident": 2, "zeroBytes": 28 * MIB})
            # Without `more`: the final reply only.
            c.call("UnloadModel", model="m")
            self.assertEqual(c.call("LoadModel", definition=sized_model("m", *sizes))["loaded"], 7)

    def test_error_ends_a_stream(self):
        with self.daemon.connect() as c:
            with self.assertRaises(wire.VarlinkError) as caught:
                for progress, _ in c.stream("LoadModel", onFull="ask",
                                            definition=sized_model("m", *[6 * MIB] * 9)):
                    self.assertLessEqual(progress["layersDone"], 3)
            self.assertEqual(caught.exception.error, "MustUnload")
            self.assertEqual(caught.exception.parameters["layer"], "l3")
            c.call("Stats")

    def test_watch(self):
        with self.daemon.connect() as watcher, self.daemon.connect() as c:
            self.assertVarlinkError("org.varlink.service.ExpectedMore", watcher.call, "Watch")
            watcher.send_call("Watch", more=True)
            first = watcher.reply("Watch")
            self.assertTrue(first["continues"])
            self.assertEqual(first["parameters"], {"events": [], "missed": 0})
            c.call("LoadModel", definition=sized_model("m", 12 * MIB, 12 * MIB))
            c.call("UnloadLayer", model="m", layer="l1")
            c.call("SetPolicy", policy="lru")
            self.assertVarlinkError("OutOfMemory", c.call, "LoadModel",
                                    definition=sized_model("big", 21 * MIB))
            c.call("LoadLayer", model="m", layer="l0")
            c.call("LoadLayer", model="m", layer="l1")
            c.call("Reset")
            c.call("UnloadModel", model="m")
            events = []
            while not events or events[-1]["event"] != "model-removed":
                reply = watcher.reply("Watch")
                self.assertTrue(reply["continues"])
                self.assertEqual(reply["parameters"]["missed"], 0)
                events += reply["parameters"]["events"]
            names = [(e["event"], e.get("layer")) for e in events]
            wanted = [("model-added", None), ("layer-loading", "l0"), ("layer-loaded", "l0"),
                      ("flushed", None), ("layer-loading", "l1"), ("layer-loaded", "l1"),
                      ("layer-evicted", "l1"), ("policy-changed", None)]
            position = 0
            for name in wanted:  # in this order; others may stand between
                position = names.index(name, position) + 1
            self.assertIn("refused", [name for name, _ in names])
            self.assertEqual(names.count(("flushed", None)), 2)
            self.assertEqual(names.count(("layer-evicted", "l0")), 1)
            self.assertEqual([e["atUsec"] for e in events], sorted(e["atUsec"] for e in events))
            self.assertEqual({e["bytes"] for e in events if e["event"] == "layer-loaded"},
                             {12 * MIB})

    def test_list_streams_what_one_reply_cannot_hold(self):
        layers = 2500
        self.daemon.load(sized_model("m", *[1] * layers))
        with self.daemon.connect() as c:
            one = c.call("List", model="m")
            self.assertEqual((len(one["layers"]), one["total"]), (1000, layers))
            names, replies = [], 0
            for part, _ in c.stream("List", model="m"):
                self.assertLessEqual(len(part["layers"]), 1000)
                self.assertEqual((part["total"], part["models"]), (layers, []))
                names += [layer["name"] for layer in part["layers"]]
                replies += 1
            self.assertEqual(names, ["l%d" % i for i in range(layers)])
            self.assertGreaterEqual(replies, 3)
            plan = c.call("Plan", model="m")
            self.assertEqual((len(plan["steps"]), plan["stepsTotal"]), (1000, layers))

    def test_victims_are_cut_at_a_thousand(self):
        self.daemon.load(sized_model("m", *[1] * 2500))
        found = self.assertVarlinkError("MustUnload", self.daemon.call, "LoadModel", onFull="ask",
                                        definition=sized_model("n", 20 * MIB))
        self.assertEqual((len(found["victims"]), found["victimsTotal"]), (1000, 2500))


class Plans(TestCase):
    options = {"capacity": "50M"}

    def test_refused(self):
        """A reply for each policy without `more`, and more work than one call may cause."""
        self.daemon.load(sized_model("m", *[4096] * 201))
        self.assertVarlinkError("org.varlink.service.ExpectedMore", self.daemon.call, "Plan", model="m",
                                policy="all")
        self.assertEqual(self.assertVarlinkError("LimitExceeded", self.daemon.call, "Plan", model="m", passes=1000),
                         {"limit": "layers in all passes", "maximum": 200_000})
        self.daemon.call("Plan", model="m", passes=995)

    def test_of_what_could_not_be_registered(self):
        """The model of that name is leased, or there are as many models as there may be."""
        self.daemon.load(sized_model("m0", 4096))
        with self.connect() as holder:
            holder.call("Acquire", model="m0", layer="l0")
            busy = self.assertVarlinkError("Busy", self.daemon.call, "Plan", definition=sized_model("m0", 8192))
            self.assertEqual([(lease["model"], lease["layer"]) for lease in busy["leases"]], [("m0", "l0")])
        with self.connect() as client:
            for i in range(1, 1024):
                client.call("LoadModel", definition=sized_model("m%d" % i, 1))
            found = self.assertVarlinkError("LimitExceeded", client.call, "Plan", definition=sized_model("more", 1))
            self.assertEqual(found, {"limit": "models", "maximum": 1024})
            client.call("Plan", definition=sized_model("m1", 8192))  # in place of the one with its name

    def test_plan_foretells_and_changes_nothing(self):
        before = self.daemon.stats()
        text = FFN10.read_text()
        plan = self.daemon.call("Plan", definition=text)
        after = self.daemon.stats()
        self.assertEqual(before["arena"], after["arena"])
        self.assertEqual(before["scheduler"], after["scheduler"])
        self.assertEqual([s["decision"] for s in plan["steps"]],
                         ["loaded"] * 6 + ["must-unload"] + ["loaded"] * 3)
        self.assertEqual((plan["loaded"], plan["mustUnload"], plan["evictions"], plan["flushes"],
                          plan["resident"], plan["stepsTotal"]), (10, 1, 6, 1, 4, 10))
        self.assertEqual((plan["capacityBytes"], plan["policy"]), (50 * MIB, "flush-all"))
        done = self.daemon.call("LoadModel", definition=text)
        for planned, really in (("loaded", "loaded"), ("mustUnload", "mustUnload"),
                                ("evictions", "evicted"), ("flushes", "flushes"),
                                ("resident", "resident"), ("hits", "hits")):
            self.assertEqual(plan[planned], done[really], planned)
        plan = self.daemon.call("Plan", model="ffn10", policy="lru")
        self.assertEqual(plan["policy"], "lru")
        self.assertEqual(self.daemon.stats()["scheduler"]["policy"], "flush-all")

    def test_plan_of_what_is_never_possible(self):
        """LoadModel refuses the whole model; a plan shows which layers are the reason."""
        big = sized_model("big", MIB, 51 * MIB, MIB)
        plan = self.daemon.call("Plan", definition=big)
        self.assertEqual([s["layer"] for s in plan["steps"] if s["decision"] == "out-of-memory"],
                         ["l1"])
        self.assertEqual((plan["outOfMemory"], plan["loaded"]), (1, 0))
        self.assertVarlinkError("OutOfMemory", self.daemon.call, "LoadModel", definition=big)

    def test_plan_with_ask(self):
        plan = self.daemon.call("Plan", definition=FFN10.read_text(), onFull="ask")
        self.assertEqual(plan["mustUnload"], 1)
        self.assertEqual(plan["evictions"], 0)
        self.assertEqual(plan["resident"], 6)

    def test_plan_mistakes(self):
        for parameters, wrong in (({}, None), ({"model": "m", "definition": "{}"}, None),
                                  ({"definition": sized_model("m", 1), "policy": "x"}, "policy"),
                                  ({"definition": sized_model("m", 1), "onFull": "x"}, "onFull")):
            found = self.assertVarlinkError(INVALID, self.daemon.call, "Plan", parameters)
            self.assertTrue(wrong is None or found["parameter"] == wrong, found)
        self.assertVarlinkError("NotFound", self.daemon.call, "Plan", model="m")


class Descriptors(TestCase):
    options = {}

    def test_definition_by_descriptor(self):
        before = self.daemon.n_fds_at_rest()
        with self.daemon.connect() as c, open(FFN10, "rb") as file:
            done = c.call("LoadModel", {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            self.assertEqual((done["model"], done["loaded"]), ("ffn10", 10))
            c.call("UnloadModel", model="ffn10")
            plan = c.call("Plan", {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            self.assertEqual(plan["stepsTotal"], 10)
        self.assertFds(before)

    def test_each_message_keeps_its_own_descriptors(self):
        """The kernel merges separate messages; descriptors must not get to another message."""
        before = self.daemon.n_fds_at_rest()
        with self.daemon.connect() as c, memory_file(sized_model("a", 1)) as a, \
                memory_file(sized_model("b", 1)) as b:
            c.send_call("Stats")
            c.send_call("LoadModel", {"definitionFileDescriptor": 0}, fds=[a.fileno()])
            c.send_call("Stats")
            c.send_call("LoadModel", {"definitionFileDescriptor": 0}, fds=[b.fileno()])
            c.send_call("LoadModel", {"definitionFileDescriptor": 0})
            c.result("Stats")
            self.assertEqual(c.result("LoadModel")["model"], "a")
            c.result("Stats")
            self.assertEqual(c.result("LoadModel")["model"], "b")
            with self.assertRaises(wire.VarlinkError):
                c.result("LoadModel")
            c.call("Stats")
        self.assertFds(before)

    def test_large_definition_by_descriptor(self):
        """More than a call may hold: a thousand layers with tensors."""
        layers = [{"name": "dense_%d" % i, "type": "linear", "in_features": 3, "out_features": 5,
                   "bias": True} for i in range(2000)]
        text = json.dumps({"name": "wide", "dtype": "f32", "layers": layers})
        self.assertGreater(len(text), 64 << 10)
        with self.daemon.connect() as c, memory_file(text) as file:
            done = c.call("LoadModel", {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            self.assertEqual(done["bytesTotal"], 2000 * (3 * 5 + 5) * 4)
            self.assertEqual(file.tell(), 0)  # its offset, which the client shares, is left alone

    def test_path_below_model_dir(self):
        directory = self.directory()
        os.chmod(directory, 0o755)
        (directory / "inner").mkdir()
        (directory / "inner" / "m.json").write_text(sized_model("m", 1))
        (directory / "up").symlink_to("/")
        secret = self.directory() / "secret.json"
        secret.write_text(sized_model("secret", 1))
        (directory / "link.json").symlink_to(secret)
        daemon = self.start(model_dir=directory)
        self.assertEqual(daemon.call("Plan", path="./inner//m.json")["model"], "m")
        self.assertEqual(daemon.call("LoadModel", path="inner/m.json")["model"], "m")
        for path in ("../%s/secret.json" % secret.parent.name, str(secret), "link.json",
                     "up%s" % secret, "", ".", "inner", "nope.json", "inner/m.json/", "inner/../inner/m.json"):
            with self.subTest(path=path), self.assertRaises(wire.VarlinkError):
                daemon.call("LoadModel", path=path)
        self.assertEqual(daemon.call("List")["total"], 1)
        # Without model-dir no path is accepted.
        with self.assertRaises(wire.VarlinkError):
            self.daemon.call("LoadModel", path=str(secret))


class Definitions(TestCase):
    options = {}

    def test_errors_name_the_place(self):
        for text, line, column, path in (
                ('{"name": "m",\n "layers": [}', 2, None, ""),
                ('{"name": "m", "name": "n", "layers": [{"name": "l", "bytes": 1}]}', 1, None, ""),
                ("", None, None, None), ("[]", None, None, None), ("nonsense", 1, None, ""),
                ('{"layers": [{"name": "l", "bytes": 1}]}', 0, 0, "name"),
                ('{"name": "m"}', 0, 0, "layers"),
                ('{"name": "m", "layers": []}', 0, 0, "layers"),
                ('{"name": "m", "layers": [{"name": "l", "bytes": 0}]}', 0, 0, "layers[0].bytes"),
                ('{"name": "m", "layers": [{"name": "l", "bytes": -1}]}', 0, 0, "layers[0].bytes"),
                ('{"name": "m", "layers": [{"name": "l", "bytes": 1.5}]}', 0, 0, "layers[0].bytes"),
                ('{"name": "m", "layers": [{"name": "l", "bytes": "1"}]}', 0, 0, "layers[0].bytes"),
                ('{"name": "m", "layers": [{"name": "a", "bytes": 1}, {"name": "a", "bytes": 1}]}',
                 0, 0, "layers[1].name"),
                ('{"name": "m", "dtype": "f32", "layers": [{"name": "a", "type": "linear",'
                 ' "in_features": -3, "out_features": 1}]}', 0, 0, "layers[0].in_features"),
                ('{"name": "m", "dtype": "f32", "layers": [{"name": "a", "type": "spiral"}]}',
                 0, 0, "layers[0].type")):
            with self.subTest(text=text):
                found = self.assertVarlinkError("InvalidDefinition", self.daemon.call, "LoadModel",
                                                definition=text)
                self.assertTrue(found["message"])
                for key, expected in (("line", line), ("column", column), ("path", path)):
                    if expected is not None:
                        self.assertEqual(found[key], expected, found)
        self.assertEqual(self.daemon.call("List")["total"], 0)


if __name__ == "__main__":
    unittest.main()
