"""Weight files that change after the daemon has registered their model."""
import json
import os
import signal
import unittest

from harness import MIB
from hostile_weights import HostileTestCase, safetensors, tensor
from weight_files import generate
import wire


class Changes(HostileTestCase):
    """The file has changed since the model was registered."""

    LAYER = 4 * MIB

    def large(self, n_layers):
        """A file that takes no room on the disk."""
        members = {"h.%d.w" % i: tensor(i * self.LAYER, (i + 1) * self.LAYER)
                   for i in range(n_layers)}
        path = self.files / "large"
        path.write_bytes(safetensors(members))
        os.truncate(path, path.stat().st_size + n_layers * self.LAYER)
        return path

    def change_meanwhile(self, change, n_layers=20000):
        """Starts a load, stops the daemon in the middle of it, and changes the file. Returns the
        load's last reply. There are so many layers that the load cannot end before."""
        path = self.large(n_layers)
        with self.c.passed(path) as (source, fds):
            self.c.send_call("LoadModel", dict(source, name="large"), fds, more=True)
        reply = self.c.reply("LoadModel")
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            self.assertIn("parameters", reply)
            change(path)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        while reply.get("continues"):
            reply = self.c.reply("LoadModel")
        return reply

    def check_changed(self, reply):
        self.assertEqual(reply.get("error"), wire.MANAGER + ".SourceChanged", reply)
        self.assertEqual(reply["parameters"]["path"], "large")
        layers = self.layers()
        self.assertLessEqual({layer["state"] for layer in layers}, {"absent", "resident"})
        used = sum(layer["footprintBytes"] for layer in layers)
        used += sum(x["footprintBytes"] for x in self.c.call("List", model="innocent")["layers"])
        self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], used)
        absent = next(layer["name"] for layer in layers if layer["state"] == "absent")
        for method in ("LoadLayer", "Acquire"):
            found = self.assertVarlinkError("SourceChanged", self.c.call, method, model="large",
                                            layer=absent)
            self.assertEqual(found["path"], "large")
        self.assertEqual(self.daemon.stats()["arena"]["usedBytes"], used - sum(
            layer["footprintBytes"] for layer in layers) + sum(
                layer["footprintBytes"] for layer in self.layers()))
        self.c.call("UnloadModel", model="large")

    def layers(self):
        return [layer for part, _ in self.c.stream("List", model="large")
                for layer in part["layers"]]

    def test_shrinks(self):
        self.check_changed(self.change_meanwhile(lambda path: os.truncate(path, 9 * MIB)))

    def test_shrinks_to_nothing(self):
        self.check_changed(self.change_meanwhile(lambda path: os.truncate(path, 0)))

    def test_grows(self):
        self.check_changed(self.change_meanwhile(
            lambda path: os.truncate(path, path.stat().st_size + MIB)))

    def test_is_written(self):
        def write(path):
            with open(path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")
        self.check_changed(self.change_meanwhile(write))

    def test_is_replaced(self):
        """The open file does not change: the load succeeds, with the old bytes."""
        def replace(path):
            other = path.with_name("other")
            other.write_bytes(b"something else")
            os.rename(other, path)
        reply = self.change_meanwhile(replace, n_layers=256)
        self.assertEqual(reply["parameters"]["layersDone"], 256)
        self.c.call("UnloadModel", model="large")

    def test_touched_then_reloaded(self):
        """Resident layers stay usable; other layers cannot be loaded."""
        path = self.files / "w"
        placed = generate.write_safetensors(str(path), generate.model("safetensors", blocks=2))
        before = path.stat()
        self.c.load_model(path, name="m")
        for change in (lambda: os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1)),
                       lambda: os.utime(path), lambda: os.truncate(path, before.st_size + 1),
                       lambda: path.chmod(0o600)):
            change()
            self.assertTrue(self.c.call("LoadLayer", model="m", layer="lm_head")["hit"])
            self.c.call("UnloadLayer", model="m", layer="lm_head")
            for method in ("LoadLayer", "Acquire", "LoadLayer"):
                found = self.assertVarlinkError("SourceChanged", self.c.call, method, model="m",
                                                layer="lm_head")
                self.assertTrue(found["path"])
            self.assertEqual(next(layer for layer in self.c.call("List", model="m")["layers"]
                                  if layer["name"] == "lm_head")["state"], "absent")
            # The same size and time do not make it the old file.
            os.truncate(path, before.st_size)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            self.assertVarlinkError("SourceChanged", self.c.call, "LoadLayer", model="m",
                                    layer="lm_head")
            self.c.call("UnloadModel", model="m")
            self.c.load_model(path, name="m")
            self.assertBytes(self.c, "m", placed)
        self.c.call("UnloadModel", model="m")
        # After a new registration the new file is as good as any.
        os.utime(path)
        self.c.load_model(path, name="m")
        self.assertBytes(self.c, "m", placed)
        self.c.call("UnloadModel", model="m")

    def test_overwritten_in_place_with_its_time_put_back(self):
        """As rsync --inplace -t does: layers of two versions are never mixed."""
        path = self.files / "w"
        generate.write_safetensors(str(path), generate.model("safetensors", blocks=2))
        self.c.load_model(path, name="m")
        before = path.stat()
        self.c.call("UnloadLayer", model="m", layer="lm_head")
        with open(path, "r+b") as file:
            file.seek(-64, os.SEEK_END)
            file.write(bytes(64))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = path.stat()
        self.assertEqual((after.st_size, after.st_mtime_ns), (before.st_size, before.st_mtime_ns))
        for method in ("LoadLayer", "Acquire"):
            self.assertVarlinkError("SourceChanged", self.c.call, method, model="m",
                                    layer="lm_head")
        self.c.call("UnloadModel", model="m")

    def test_one_shard_of_several(self):
        """The error names the file, and layers of the other files can still be loaded."""
        generate.write_sharded(str(self.files), generate.model("safetensors", blocks=6), shards=3)
        index = self.files / "model.safetensors.index.json"
        weight_map = json.loads(index.read_text())["weight_map"]
        shards = sorted(set(weight_map.values()))
        self.c.load_model(index, shards, name="m")
        self.c.call("Reset")
        os.utime(self.files / shards[1])
        states = {}
        for layer in self.c.call("List", model="m")["layers"]:
            of = {shard for name, shard in weight_map.items()
                  if name.startswith(layer["name"] + ".")}
            try:
                self.c.call("LoadLayer", model="m", layer=layer["name"])
                self.assertNotIn(shards[1], of)
            except wire.VarlinkError as refused:
                self.assertEqual(refused.error, "SourceChanged")
                self.assertEqual(refused.parameters["path"], shards[1])
                self.assertIn(shards[1], of)
            states[layer["name"]] = of
        self.assertGreater(len(states), 6)
        self.c.call("UnloadModel", model="m")


if __name__ == "__main__":
    unittest.main()
