"""edgemind.py loads models: it passes the files, and the files that they name."""
import hashlib
import json
import os
import sys
import unittest

from harness import FFN10, MIB, ROOT, run, sized_model
from python_client import ClientTestCase, edgemind, generate, own_fds


class Loading(ClientTestCase):
    options = {"capacity": "16M"}

    def setUp(self):
        super().setUp()
        self.path = self.directory()
        self.tensors = [generate.Tensor("model.layers.%d.w" % i, "F32", (100, 7)) for i in range(3)]

    def definition(self, weights):
        return json.dumps({"name": "m", "layers": [
            {"name": "l%d" % i, "tensors": [{"name": t.name, "dtype": t.dtype, "shape": t.shape}]}
            for i, t in enumerate(self.tensors)], "weights": weights})

    def assertBytes(self, client, model, layer, placed):
        with open(placed.path, "rb") as file, client.acquire(model, layer) as lease:
            expected = os.pread(file.fileno(), placed.bytes, placed.offset)
            self.assertEqual(bytes(memoryview(lease.tensors[placed.name]).cast("B")), expected)

    def test_definition(self):
        path = self.write("d.json", sized_model("name", 1, 2))
        reply = self.client().load_model(path)
        self.assertEqual((reply["model"], reply["loaded"], reply["resident"]), ("name", 2, 2))

    def test_definition_with_weights(self):
        (self.path / "sub").mkdir()
        placed = generate.write_safetensors(self.path / "sub" / "w", self.tensors)
        path = self.write("d.json", self.definition("sub/w"), self.path)
        client = self.client()
        self.assertEqual(client.load_model(str(path))["model"], "m")
        for i, tensor in enumerate(placed):
            self.assertBytes(client, "m", "l%d" % i, tensor)

    def test_beside_means_beside_the_file(self):
        generate.write_safetensors(self.path / "w", self.tensors)
        self.write("d.json", self.definition("w"), self.path)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.path)
        self.assertEqual(self.client().load_model("d.json")["loaded"], 3)

    def test_weight_files(self):
        client = self.client()
        for kind, write in (("safetensors", generate.write_safetensors),
                            ("gguf", generate.write_gguf)):
            prefix = "blk" if kind == "gguf" else "model.layers"
            tensors = [generate.Tensor("%s.0.w" % prefix, "F32", (64, 3))]
            placed, = write(self.path / ("llm.%s" % kind), tensors)
            self.assertEqual(client.load_model(placed.path)["model"], "llm")
            self.assertEqual(client.load_model(placed.path, name="other")["model"], "other")
            for model in ("llm", "other"):
                self.assertBytes(client, model, prefix + ".0", placed)
                client.call("UnloadModel", model=model)

    def test_names(self):
        client = self.client()
        for file, model in ((".w", ".w"), ("a.b.c", "a.b"), ("w", "w")):
            generate.write_safetensors(self.path / file, self.tensors)
            self.assertEqual(client.load_model(self.path / file)["model"], model)
        generate.write_safetensors(self.path / "x", self.tensors)
        odd = self.path / os.fsdecode(b"\xff.w")
        os.rename(self.path / "x", odd)
        self.assertEqual(client.load_model(odd)["model"], "\\u00ff")  # as emctl has it

    def test_shards(self):
        placed = generate.write_sharded(self.path / "llm", self.tensors)
        self.assertEqual(len({tensor.path for tensor in placed}), 3)
        index = "model.safetensors.index.json"
        client = self.client()
        self.assertEqual(client.load_model(self.path / "llm" / index)["model"], "llm")
        for i, tensor in enumerate(placed):
            self.assertBytes(client, "llm", "model.layers.%d" % i, tensor)
        self.assertEqual(client.load_model(self.path / "llm" / index, name="x")["model"], "x")
        # As others keep them: a directory of links.
        (self.path / "links").mkdir()
        for file in (self.path / "llm").iterdir():
            (self.path / "links" / file.name).symlink_to(file)
        self.assertEqual(client.load_model(self.path / "links" / index)["model"], "links")

    def test_files_that_are_no_model(self):
        client = self.client()
        n_fds = len(own_fds())
        for text in ("", "{", "[1]", "7", '{"weights": 7}', '{"weights": "../w"}',
                     '{"weights": "/w"}', '{"weight_map": 7}', '{"weight_map": {"a": 3}}',
                     '{"weight_map": {"a": "../w"}}', "[" * 100000, b"\xff\xfe", b"\0\0", b"GGUF",
                     b"\x08" + bytes(7) + b"{}      "):
            with self.subTest(text=text[:40]):
                with self.assertRaises((edgemind.InvalidDefinition, edgemind.LimitExceeded)):
                    client.load_model(self.write("x", text, self.path))
        large = self.path / "large"
        with open(large, "wb") as file:
            file.write(b"{}")
            file.truncate(edgemind.DEFINITION_BYTES_MAX + 1)
        with self.assertRaises((edgemind.InvalidDefinition, edgemind.LimitExceeded)):
            client.load_model(large)
        self.assertEqual(len(own_fds()), n_fds)

    def test_files_that_are_none(self):
        client = self.client()
        n_fds = len(own_fds())
        os.mkfifo(self.path / "pipe")
        for error, path in ((FileNotFoundError, self.path / "nothing"),
                            (OSError, self.path), (OSError, self.path / "pipe"),
                            (FileNotFoundError, self.write("d", self.definition("w"), self.path)),
                            (OSError, self.write("e", self.definition("pipe"), self.path))):
            with self.subTest(path=path), self.assertRaises(error):
                client.load_model(path)
        client.call("Stats")
        self.assertEqual(len(own_fds()), n_fds)

    def test_on_full(self):
        path = self.write("d.json", sized_model("m", *[6 * MIB] * 3))
        client = self.client()
        with self.assertRaises(edgemind.MustUnload):
            client.load_model(path, on_full="ask")
        client.call("UnloadModel", model="m")
        self.assertEqual(client.load_model(path, on_full="evict")["resident"], 1)

    def test_progress(self):
        path = self.write("d.json", sized_model("m", *[MIB] * 8))
        client, seen = self.client(), []
        reply = client.load_model(path, progress=seen.append)
        self.assertEqual(seen[-1], reply)
        done = [reply["bytesDone"] for reply in seen]
        self.assertEqual(done, sorted(done))
        self.assertEqual(done[-1], 8 * MIB)
        self.assertGreater(len(seen), 1)

    def test_progress_that_cancels(self):
        """The exception reaches the caller, the load and the connection end, and no descriptor
        stays."""
        n_fds = len(own_fds())
        client = self.client()
        n_layers = 50000  # minutes, so that it is cancelled long before its end

        def stop(_):
            raise KeyError("enough")
        with self.assertRaises(KeyError):
            client.load_model(self.write("d.json", sized_model("m", *[15 * MIB] * n_layers)),
                              progress=stop)
        self.assertEnded(client)
        self.assertEqual(len(own_fds()), n_fds)
        self.assertUnharmed()
        self.assertLess(self.daemon.stats()["scheduler"]["misses"], n_layers)

    def test_ffn10_weights(self):
        """The generator's file, behind the shipped definition, through emctl as well."""
        definition = json.loads(FFN10.read_text())
        definition["weights"] = "ffn10.safetensors"
        path = self.write("ffn10.json", json.dumps(definition), self.path)
        printed = run(sys.executable, ROOT / "tests" / "generate_weights.py", "ffn10",
                      self.path / "ffn10.safetensors")
        self.assertEqual(len(printed.out.splitlines()), 20, printed)
        first = hashlib.sha256((self.path / "ffn10.safetensors").read_bytes()).digest()
        placed = generate.write_ffn10(self.path / "ffn10.safetensors")
        again = hashlib.sha256((self.path / "ffn10.safetensors").read_bytes()).digest()
        self.assertEqual(first, again)
        self.assertExit(0, self.daemon.emctl("load-model", path))
        client = self.client()
        self.assertBytes(client, "ffn10", "dense_3", placed[6])
        self.assertBytes(client, "ffn10", "dense_3", placed[7])
        with client.acquire("ffn10", "dense_3") as lease:
            self.assertEqual([(t.name, t.shape) for t in lease.layout.values()],
                             [("dense_3.weight", (1024, 2048)), ("dense_3.bias", (1024,))])


if __name__ == "__main__":
    unittest.main()
