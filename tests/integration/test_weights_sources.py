"""The ways in which a model with weights can come, and what clients see of its tensors."""
import json
import os
import socket
import subprocess
import unittest

from harness import BUILD, MIB, TIMEOUT
from machine import IS_ROOT
from weight_files import (WRITE, Client, WeightsTestCase, every_dtype, file_bytes, generate,
                          make_cold, sha256)
import wire


class Sources(WeightsTestCase):
    """The ways in which a model with weights can come."""

    options = {"capacity": "16M"}

    def test_sharded(self):
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=6, block_bytes=MIB // 2 + 77)
        placed = generate.write_sharded(str(directory), tensors, shards=4, shift=3)
        shards = sorted({os.path.basename(tensor.path) for tensor in placed})
        self.assertGreater(len(shards), 2)
        client = self.client()
        client.load_model(directory / "model.safetensors.index.json", shards[::-1], name="m")
        self.assertBytes(client, "m", placed)
        self.assertEvicted(client, "m")
        self.assertBytes(client, "m", placed)
        # The order of execution: embedding, blocks, norm, head.
        names = [layer["name"] for layer in client.call("List", model="m")["layers"]]
        self.assertEqual(names, ["model.embed_tokens", *("model.layers.%d" % i for i in range(6)),
                                 "model.norm", "lm_head"])

    def test_a_block_in_two_shards(self):
        """One layer of two files, with a tensor of the one between those of the other."""
        directory = self.disk()
        one = [generate.Tensor("h.0." + name, "U8", (5000 + i,)) for i, name in enumerate("ab")]
        placed = generate.write_safetensors(str(directory / "1.st"), one, seed=1, shift=17)
        two = [generate.Tensor("h.0.c", "I16", (70001,)), generate.Tensor("h.1.c", "F32", (9,))]
        placed += generate.write_safetensors(str(directory / "2.st"), two, seed=2, shift=4001)
        index = {"weight_map": {t.name: os.path.basename(t.path) for t in placed}}
        (directory / "index.json").write_text(json.dumps(index))
        client = self.client()
        client.load_model(directory / "index.json", ["1.st", "2.st"], name="m")
        self.assertBytes(client, "m", placed)
        self.assertEqual([(x["name"], x["tensors"]) for x in client.call("List", model="m")["layers"]],
                         [("h.0", 3), ("h.1", 1)])

    def test_tied_weights(self):
        """Of tensors that share their bytes, save_model keeps one and names the others in the
        metadata. In a sharded model it does this in each file."""
        directory = self.disk()
        tied = {"format": "pt", "lm_head.weight": "model.embed_tokens.weight"}
        embedding = [generate.Tensor("model.embed_tokens.weight", "BF16", (50, 64))]
        block = [generate.Tensor("model.layers.0.w", "F32", (3000,))]

        def with_head(placed):
            kept = next(t for t in placed if t.name == tied["lm_head.weight"])
            return [*placed, kept._replace(name="lm_head.weight")]

        placed = with_head(generate.write_safetensors(str(directory / "w"), block + embedding,
                                                      metadata=tied))
        client = self.client()
        reply = client.load_model(directory / "w", name="whole")
        self.assertEqual(reply["bytesTotal"], 6400 + 12000)
        self.assertBytes(client, "whole", placed)
        self.assertEqual([(x["name"], x["tensors"]) for x in client.call("List", model="whole")["layers"]],
                         [("model.embed_tokens", 2), ("model.layers.0", 1)])
        layers = [{"name": "head", "tensors": [{"name": "lm_head.weight", "dtype": "bf16",
                                                "shape": [50, 64]}]}]
        (directory / "d.json").write_text(json.dumps({"name": "own", "weights": "w", "layers": layers}))
        client.load_model(directory / "d.json", ["w"])
        self.assertBytes(client, "own", placed[-1:])

        placed = generate.write_safetensors(str(directory / "1.st"), embedding, seed=1, metadata=tied)
        placed += generate.write_safetensors(str(directory / "2.st"), block, seed=2, metadata=tied)
        index = {"weight_map": {t.name: os.path.basename(t.path) for t in placed}}
        (directory / "index.json").write_text(json.dumps(index))
        client.load_model(directory / "index.json", ["1.st", "2.st"], name="sharded")
        self.assertBytes(client, "sharded", with_head(placed))

    def test_own_grouping(self):
        """A definition groups tensors in its own way and order, and may leave some out."""
        directory = self.disk()
        for kind in ("safetensors", "gguf"):
            tensors = every_dtype(kind)
            placed = WRITE[kind](str(directory / "w"), tensors, shift=32)
            wanted = [placed[i] for i in (9, 1, 20, 0, 5, 19)]
            layers = [{"name": name, "tensors": [{"name": t.name, "dtype": t.dtype.lower(),
                                                  "shape": t.shape} for t in group]}
                      for name, group in (("late", wanted[:3]), ("early", wanted[3:]))]
            definition = {"name": "own", "weights": "w", "layers": layers}
            (directory / "model.json").write_text(json.dumps(definition))
            client = self.client()
            client.load_model(directory / "model.json", ["w"])
            self.assertBytes(client, "own", wanted)
            self.assertEqual([x["name"] for x in client.call("List", model="own")["layers"]],
                             ["late", "early"])
            self.assertEvicted(client, "own")
            self.assertBytes(client, "own", wanted)
            client.call("UnloadModel", model="own")
            # The same definition, inline.
            with Client.passed(directory / "w") as (_, fds):
                client.call("LoadModel", {"definition": json.dumps(definition), "weights": [
                    {"path": "w", "fileDescriptor": 0}]}, fds)
            self.assertBytes(client, "own", wanted)
            client.call("UnloadModel", model="own")

    def test_names(self):
        directory = self.disk()
        tensors = [generate.Tensor("blk.0.w", "F32", (4,))]
        generate.write_gguf(str(directory / "w"), tensors, name="Own Name")
        client = self.client()
        self.assertEqual(client.load_model(directory / "w")["model"], "Own Name")
        self.assertEqual(client.load_model(directory / "w", name="given")["model"], "given")
        with self.assertRaises(wire.VarlinkError) as caught:
            client.load_model(directory / "w", name="given")
        self.assertEqual(caught.exception.error, "AlreadyLoaded")
        generate.write_gguf(str(directory / "n"), tensors)
        with self.assertRaises(wire.VarlinkError) as caught:
            client.load_model(directory / "n")
        self.assertEqual(caught.exception.error, "InvalidDefinition")
        self.assertIn("name", caught.exception.parameters["message"])

    def test_descriptors_are_kept_and_given_back(self):
        """A model keeps its files open until it is unloaded, even if they have no name any more."""
        directory = self.disk()
        tensors = generate.model("safetensors", blocks=3)
        placed = generate.write_sharded(str(directory), tensors, shards=3)
        contents = {tensor.name: file_bytes(tensor) for tensor in placed}
        shards = sorted({os.path.basename(tensor.path) for tensor in placed})
        client = self.client()
        n_fds = self.daemon.n_fds_at_rest()
        client.load_model(directory / "model.safetensors.index.json", shards, name="m")
        self.assertFds(n_fds + len(shards))
        client.load_model(directory / "model.safetensors.index.json", shards, name="m",
                          method="Plan")
        self.assertFds(n_fds + len(shards))
        for shard in shards:
            (directory / shard).unlink()
        self.assertEvicted(client, "m")
        for layer in client.call("List", model="m")["layers"]:
            with client.leased("m", layer["name"]) as (reply, data):
                for tensor in reply["tensors"]:
                    self.assertEqual(data[tensor["offset"]:tensor["offset"] + tensor["bytes"]],
                                     contents[tensor["name"]])
        client.call("UnloadModel", model="m")
        client.close()
        self.assertFds(n_fds - 1)

    def test_one_descriptor_for_two_models(self):
        """A descriptor shares its flags with the sender's: direct reads must not disturb later
        reads of the header."""
        directory = self.disk()
        placed = generate.write_safetensors(str(directory / "w"), generate.model("safetensors"))
        make_cold(directory / "w")
        client = self.client()
        with Client.passed(directory / "w") as (source, fds):
            for name in "abc":
                client.call("LoadModel", dict(source, name=name), fds)
        for name in "abc":
            self.assertBytes(client, name, placed)

    def test_list_tensors(self):
        """List and Acquire return the same for a layer."""
        directory = self.disk()
        tensors = [generate.Tensor("h.0.t%04d" % i, "U16", (i % 5, 3)) for i in range(2500)]
        placed = generate.write_safetensors(str(directory / "w"), tensors)
        client = self.client()
        client.load_model(directory / "w", name="m")
        listed = []
        for reply, continues in client.stream("List", model="m", layer="h.0"):
            self.assertEqual(reply["total"], 2500)
            self.assertLessEqual(len(reply["tensors"]), 1000)
            self.assertTrue(reply["tensors"])
            listed += reply["tensors"]
        self.assertFalse(continues)
        self.assertEqual(sorted(t["name"] for t in listed), sorted(t.name for t in tensors))
        self.assertBytes(client, "m", placed)
        with client.leased("m", "h.0") as (reply, _):
            self.assertEqual(reply["tensors"], listed)


class ModelDir(WeightsTestCase):
    """Paths below model-dir are accepted, and no others."""

    def setUp(self):
        super().setUp()
        self.top = self.disk()
        self.models = self.top / "models"
        self.models.mkdir()
        self.daemon = self.start(capacity="16M", model_dir=self.models)

    def load_path(self, path, **parameters):
        client = self.client()
        return client, client.call("LoadModel", path=str(path), **parameters)

    def test_every_source(self):
        sub = self.models / "sub"
        tensors = generate.model("safetensors", blocks=3, block_bytes=100001)
        placed = generate.write_sharded(str(sub), tensors, shift=5)
        client, loaded = self.load_path("sub/model.safetensors.index.json")
        self.assertBytes(client, loaded["model"], placed)
        _, loaded = self.load_path("sub/model.safetensors.index.json", name="n")
        self.assertEqual(loaded["model"], "n")

        placed = generate.write_safetensors(str(sub / "w.safetensors"), tensors)
        client, loaded = self.load_path("sub/w.safetensors")
        self.assertEqual(loaded["model"], "w")
        self.assertBytes(client, "w", placed)

        gguf = generate.write_gguf(str(self.models / "g.gguf"), generate.model("gguf"))
        client, loaded = self.load_path("./g.gguf")
        self.assertBytes(client, "g", gguf)

        one = placed[2]
        definition = {"name": "d", "weights": "w.safetensors", "layers": [
            {"name": "l", "tensors": [{"name": one.name, "dtype": one.dtype, "shape": one.shape}]}]}
        (sub / "d.json").write_text(json.dumps(definition))
        client, _ = self.load_path("sub/d.json")
        self.assertBytes(client, "d", [one])

    def test_only_downwards(self):
        """No path may lead up, and no link is followed, even within the directory; the refusal says
        so."""
        generate.write_safetensors(str(self.models / "w"), generate.model("safetensors"))
        (self.models / "sub").mkdir()
        (self.models / "link").symlink_to("w")
        (self.models / "sub-link").symlink_to("sub")
        layers = [{"name": "l", "tensors": [{"name": "lm_head.weight", "dtype": "i8",
                                             "shape": [65536]}]}]
        (self.models / "by-link.json").write_text(
            json.dumps({"name": "m", "weights": "link", "layers": layers}))
        for path, why in (("sub/../w", '".."'), ("../models/w", '".."'), ("link", "symbolic link"),
                          (str(self.models / "w"), "below model-dir"),
                          ("sub-link/../w", "symbolic link"), ("by-link.json", "symbolic link")):
            with self.subTest(path=path):
                found = self.assertVarlinkError("InvalidDefinition", self.daemon.call, "LoadModel",
                                                path=path)
                self.assertIn(why, found["message"])
        self.load_path("w")

    def test_refused(self):
        generate.write_safetensors(str(self.top / "secret"), generate.model("safetensors"))
        generate.write_safetensors(str(self.models / "w"), generate.model("safetensors"))
        (self.models / "out").symlink_to("../secret")
        (self.models / "absolute").symlink_to(self.top / "secret")
        (self.models / "back").symlink_to(self.models / "w")
        (self.models / "up").symlink_to("..")
        (self.models / "dangling").symlink_to("nothing")
        os.mkfifo(self.models / "fifo")
        (self.models / "directory").mkdir()
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.models / "socket"))
        if IS_ROOT:
            try:
                os.mknod(self.models / "device", 0o20666, os.makedev(1, 5))  # zeros without end
            except PermissionError:
                pass
        (self.models / "sneaky.json").write_text(json.dumps(
            {"name": "s", "weights": "out",
             "layers": [{"name": "l", "tensors": [{"name": "lm_head.weight", "dtype": "i8",
                                                   "shape": [65536]}]}]}))
        for bad in ("../secret", "/etc/passwd", "/", "sneaky.json"):
            (self.models / "index.json").write_text(json.dumps({"weight_map": {"t": bad}}))
        n_fds = self.daemon.n_fds_at_rest()
        for path in ("../secret", str(self.top / "secret"), str(self.models / "w"), "/etc/passwd",
                     "/dev/zero", "/proc/self/environ", "..", "../models/w", "up/secret", "out",
                     "absolute", "back", "dangling", "fifo", "directory", ".", "", "socket", "device",
                     "w/", "w/w", "missing", "x" * 300, "x/" * 3000 + "x", "sneaky.json",
                     "index.json"):
            for method in ("LoadModel", "Plan"):
                with self.subTest(path=path[:60], method=method), self.daemon.connect() as c:
                    with self.assertRaises(wire.VarlinkError) as caught:
                        c.call(method, path=path)
                    self.assertIn(caught.exception.error,
                                  ("IOFailed", "InvalidDefinition", "NotFound"))
        self.assertEqual(self.daemon.call("List")["models"], [])
        self.assertFds(n_fds)
        self.assertUnharmed()

    def test_weights_parameter_and_path(self):
        """A file that is passed with the call takes precedence over the one in the definition's
        directory."""
        one = generate.Tensor("t", "U8", (1000,))
        layers = [{"name": "l", "tensors": [{"name": "t", "dtype": "u8", "shape": [1000]}]}]
        (self.models / "d.json").write_text(
            json.dumps({"name": "d", "weights": "w", "layers": layers}))
        generate.write_safetensors(str(self.models / "w"), [one], seed=1)
        placed = generate.write_safetensors(str(self.top / "w"), [one], seed=2)
        client = self.client()
        with Client.passed(self.top / "w") as (_, fds):
            client.call("LoadModel", {"path": "d.json",
                                      "weights": [{"path": "w", "fileDescriptor": 0}]}, fds)
        self.assertBytes(client, "d", placed)

    def test_without_model_dir(self):
        generate.write_safetensors(str(self.models / "w"), generate.model("safetensors"))
        other = self.start(capacity="16M")
        for path in ("w", str(self.models / "w")):
            found = self.assertVarlinkError("org.varlink.service.InvalidParameter", other.call,
                                            "LoadModel", path=path)
            self.assertEqual(found["parameter"], "path")


class EmctlCat(WeightsTestCase):
    """emctl writes the same bytes: every tensor of every dtype, and whole layers."""

    options = {"capacity": "16M"}

    def cat(self, *words):
        """The SHA-256 of its output."""
        path = self.daemon.directory / "out"
        with open(path, "wb") as out:
            done = subprocess.run([str(BUILD / "emctl"), "cat", *words], stdout=out,
                                  stderr=subprocess.PIPE, timeout=TIMEOUT,
                                  env={"EDGEMIND_SOCKET": str(self.daemon.socket)})
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return sha256(path.read_bytes())

    def test_every_dtype(self):
        directory = self.disk()
        for kind in ("safetensors", "gguf"):
            path = directory / ("model.%s" % kind)
            placed = WRITE[kind](str(path), every_dtype(kind), shift=4064)
            loaded = self.daemon.emctl("load-model", path)
            self.assertExit(0, loaded)
            model = self.daemon.call("List")["models"][0]["name"]
            for tensor in placed:
                layer = tensor.name.rpartition(".")[0]
                expected = sha256(file_bytes(tensor))
                self.assertEqual(self.cat(model, layer, tensor.name), expected, tensor)
                self.assertEqual(self.cat(model, layer), expected, tensor)
            self.assertExit(0, self.daemon.emctl("reset"))
            self.assertEqual(self.cat(model, layer), expected)
            self.assertExit(0, self.daemon.emctl("unload-model", model))

    def test_tied_weights(self):
        path = self.disk() / "w"
        placed = generate.write_safetensors(
            str(path), [generate.Tensor("wte.weight", "U8", (5000,))],
            metadata={"format": "pt", "lm_head.weight": "wte.weight"})
        self.assertExit(0, self.daemon.emctl("load-model", path))
        for name in ("wte.weight", "lm_head.weight"):
            self.assertEqual(self.cat("w", "wte", name), sha256(file_bytes(placed[0])))


if __name__ == "__main__":
    unittest.main()
