"""Models as users have them: in the cache of Hugging Face's libraries, in folders, in parts, with
odd names. For emctl, the Python module and the daemon."""
import contextlib
import os
import struct
import unittest

from harness import TestCase
from python_client import edgemind, generate


def cached(hub, repository, *files):
    """The cache's layout: blobs by hash, and links to them by revision. The folder of the links."""
    folder = hub / ("models--" + repository.replace("/", "--"))
    snapshot = folder / "snapshots" / ("0123456789" * 4)
    (folder / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for i, (name, data) in enumerate(files):
        blob = folder / "blobs" / ("%064x" % (i + 0xabc))
        blob.write_bytes(data)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


class Downloads(TestCase):
    options = {"capacity": "8M"}

    def setUp(self):
        super().setUp()
        self.place = self.directory()

    def weights(self, seed="a"):
        path = self.place / "weights"
        generate.write_safetensors(path, [generate.Tensor("model.layers.0.w", "I8", (4096,))],
                                   seed=seed)
        return path.read_bytes()

    def gguf(self):
        path = self.place / "gguf"
        generate.write_gguf(path, [generate.Tensor("blk.0.w", "I8", (4096,))])
        return path.read_bytes()

    def models(self):
        return {model["name"] for model in self.daemon.call("List")["models"]}

    def load(self, path, *words, cwd=None):
        return self.daemon.emctl("load-model", path, *words, cwd=cwd)

    def test_two_repositories(self):
        """Both files are called model.safetensors."""
        for repository, name in (("acme/Tiny-1B", "Tiny-1B"), ("acme/Large-7B", "Large-7B")):
            snapshot = cached(self.place / "hub", repository,
                              ("model.safetensors", self.weights(repository)))
            result = self.assertExit(0, self.load(snapshot / "model.safetensors"))
            self.assertIn(name + ": 1 layer", result.out)
            self.assertExit(0, self.load("./model.safetensors", "--replace", cwd=snapshot))
            self.assertExit(0, self.load(snapshot, "--replace"))
        self.assertEqual(self.models(), {"Tiny-1B", "Large-7B"})

    def test_python_names_them_alike(self):
        snapshot = cached(self.place / "hub", "acme/Tiny-1B", ("model.safetensors", self.weights()))
        with edgemind.Connection(self.daemon.socket) as client:
            self.assertEqual(client.load_model(snapshot / "model.safetensors")["model"], "Tiny-1B")
            client.call("UnloadModel", model="Tiny-1B")
            self.assertEqual(client.load_model(snapshot)["model"], "Tiny-1B")

    def test_a_clash_of_names(self):
        (self.place / "model.safetensors").write_bytes(self.weights())
        self.assertExit(0, self.load(self.place / "model.safetensors"))
        result = self.assertExit(10, self.load(self.place / "model.safetensors"))
        self.assertIn("--name", result.err)
        self.assertExit(0, self.load(self.place / "model.safetensors", "--name=other"))

    def test_folders(self):
        folder = self.place / "llama"
        folder.mkdir()
        result = self.assertExit(1, self.load(folder))
        self.assertIn("no weights", result.err)
        (folder / "model.safetensors").write_bytes(self.weights())
        (folder / "README.md").write_text("#")
        self.assertIn("llama: 1 layer", self.assertExit(0, self.load(folder)).out)
        self.assertExit(0, self.daemon.emctl("plan", str(folder) + "/"))
        (folder / "other.gguf").write_bytes(self.gguf())
        result = self.assertExit(1, self.load(folder))
        self.assertIn("other.gguf", result.err)
        with edgemind.Connection(self.daemon.socket) as client:
            with self.assertRaisesRegex(OSError, "other.gguf"):
                client.load_model(folder)

    def test_a_shard_stands_for_its_index(self):
        folder = self.place / "shards"
        folder.mkdir()
        generate.write_sharded(folder, [generate.Tensor("model.layers.%d.w" % i, "I8", (4096,))
                                        for i in range(3)], shards=3)
        shards = sorted(folder.glob("*.safetensors"))
        self.assertEqual(shards[1].name, "model-00002-of-00003.safetensors")
        self.assertIn("shards: 3 layers", self.assertExit(0, self.load(shards[1])).out)
        with edgemind.Connection(self.daemon.socket) as client:
            client.call("UnloadModel", model="shards")
            self.assertEqual(client.load_model(shards[2])["layersTotal"], 3)
        next(folder.glob("*.json")).unlink()
        self.assertIn("model.safetensors.index.json", self.assertExit(1, self.load(shards[0])).err)

    WRONG = {  # their first bytes, and their names in the message
        "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 4\n" % (b"0" * 64),
                "Git LFS pointer"),
        "page": (b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", "web page"),
        "empty": (b"", "empty"),
        "whisper": (b"lmgg" + struct.pack("<9I", 51864, 1500, 384, 6, 4, 448, 384, 6, 4), "ggml"),
        "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:" + bytes(100), "ONNX"),
        "tflite": (b"\x1c\0\0\0TFL3\x14\0\x20\0" + bytes(100), "tflite"),
        "pickle": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "pickle"),
        "zip": (b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl" + bytes(100), "PyTorch"),
        "keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    }

    def test_wrong_kinds_of_file(self):
        """The message names the kind of file: if the file is alone, if it is the weights of a
        definition, and if it is large."""
        for kind, (data, word) in self.WRONG.items():
            for rest in (b"", bytes(17 << 20)):
                with self.subTest(kind=kind, bytes=len(data + rest)):
                    if not data and rest:
                        continue
                    path = self.place / "file.safetensors"
                    path.write_bytes(data + rest)
                    result = self.assertExit(8, self.load(path))
                    self.assertIn(word, result.err)
                    self.assertTrue(result.err.startswith(str(path) + ": "), result.err)
                    definition = self.place / "d.json"
                    definition.write_text('{"name":"d","weights":"file.safetensors","layers":'
                                          '[{"name":"l","tensors":[{"name":"w",'
                                          '"dtype":"I8","shape":[4]}]}]}')
                    self.assertIn(word, self.assertExit(8, self.load(definition)).err)
        self.assertEqual(self.models(), set())

    def parts(self, n_parts=3, first=1):
        """A split file as gguf-split writes it, the first parts of which have no tensors."""
        folder = self.place / "parts"
        folder.mkdir(exist_ok=True)
        paths = [folder / ("llm-%05d-of-%05d.gguf" % (i + 1, n_parts)) for i in range(n_parts)]
        data = {}
        for i, path in enumerate(paths):
            tensors = [generate.Tensor("blk.%d.w" % j, "I8", (4096,))
                       for j in (2 * i, 2 * i + 1) if i >= first]
            split = (i, n_parts, 2 * (n_parts - first))
            for placed in generate.write_gguf(path, tensors, seed=i, split=split):
                data[placed.name] = path.read_bytes()[placed.offset:placed.offset + placed.bytes]
        return paths, data

    def test_all_parts_from_any(self):
        for first in (0, 1):
            paths, data = self.parts(first=first)
            for path in (*paths, paths[0].parent):
                with self.subTest(path=path), edgemind.Connection(self.daemon.socket) as client:
                    result = self.assertExit(0, self.load(path))
                    self.assertIn("llm: %d layers" % len(data), result.out)
                    layers = [layer["name"] for layer in self.daemon.call("List", model="llm")["layers"]]
                    self.assertEqual(layers, [name[:-2] for name in sorted(data)])
                    for name, bytes_ in data.items():
                        with client.acquire("llm", name[:-2]) as layer:
                            self.assertEqual(bytes(layer.data), bytes_)
                    client.call("UnloadModel", model="llm")
                    self.assertEqual(client.load_model(path)["layersTotal"], len(data))
                    client.call("UnloadModel", model="llm")

    def test_a_part_is_missing(self):
        paths, _ = self.parts()
        data = paths[1].read_bytes()
        paths[1].unlink()
        for path in (paths[0], paths[2]):
            result = self.assertExit(1, self.load(path))
            self.assertIn("llm-00002-of-00003.gguf", result.err)
            with edgemind.Connection(self.daemon.socket) as client:
                with self.assertRaisesRegex(FileNotFoundError, "llm-00002-of-00003"):
                    client.load_model(path)
        # Clients that do not check the names get this error from the daemon.
        with open(paths[0], "rb") as file, self.daemon.connect() as client:
            error = self.assertVarlinkError("InvalidDefinition", client.call, "LoadModel",
                                            {"definitionFileDescriptor": 0, "name": "llm"},
                                            [file.fileno()])
            self.assertIn("part 2 of 3 is missing", error["message"])
        paths[1].write_bytes(paths[2].read_bytes())
        self.assertIn("missing", self.assertExit(8, self.load(paths[0])).err)  # one is there twice
        paths[1].write_bytes(self.gguf())
        self.assertIn("no part of the same", self.assertExit(8, self.load(paths[0])).err)
        paths[1].write_bytes(data)
        self.assertExit(0, self.load(paths[0]))

    def test_parts_of_two_models(self):
        """The number and order of the parts is right, but they do not belong to one model."""
        paths, _ = self.parts(first=0)
        other = paths[1].read_bytes()
        self.parts(first=1)
        paths[1].write_bytes(other)
        for path in paths:
            self.assertIn("do not belong together", self.assertExit(8, self.load(path)).err)
        self.assertEqual(self.models(), set())

    def test_parts_that_name_two_models(self):
        """Number, order, tensors and file names of the parts are right."""
        paths, _ = self.parts(n_parts=2, first=0)
        for names, status in (("aa", 0), (("a", None), 0), ((None, "b"), 0), ("ab", 8)):
            for i, name in enumerate(names):
                tensors = [generate.Tensor("blk.%d.w" % i, "I8", (4096,))]
                generate.write_gguf(paths[i], tensors, split=(i, 2, 2), name=name)
            result = self.assertExit(status, self.load(paths[0], "--replace"))
        self.assertIn("do not belong together", result.err)

    def test_parts_of_two_splits(self):
        """Number, order and tensors of the parts are right; only the names differ."""
        paths, _ = self.parts(n_parts=2, first=0)
        other = paths[1].with_name("other-00002-of-00002.gguf")
        paths[1].rename(other)

        def load(*files):
            with contextlib.ExitStack() as stack:
                fds = [stack.enter_context(open(file, "rb")).fileno() for file in files]
                weights = [{"path": "x", "fileDescriptor": 1}]
                with self.daemon.connect() as client:
                    client.call("LoadModel", {"definitionFileDescriptor": 0, "name": "m",
                                              "weights": weights}, fds)

        for files in ((paths[0], other), (other, paths[0])):
            error = self.assertVarlinkError("InvalidDefinition", load, *files)
            self.assertIn("llm-00001-of-00002.gguf", error["message"])
            self.assertIn("other-00002-of-00002.gguf", error["message"])
        paths[1].symlink_to(other.name)
        self.assertIn("do not belong together", self.assertExit(8, self.load(paths[0])).err)
        self.assertEqual(self.models(), set())
        # A name that says nothing is no reason.
        paths[1].unlink()
        other.rename(other.with_name("blob"))
        load(paths[0], other.with_name("blob"))
        self.assertEqual(self.models(), {"m"})

    def test_parts_below_model_dir(self):
        paths, data = self.parts()
        daemon = self.start(capacity="8M", model_dir=paths[0].parent)
        for path in paths:
            self.assertEqual(daemon.call("LoadModel", path=path.name)["layersTotal"], len(data))
            daemon.call("UnloadModel", model="llm")
        paths[2].unlink()
        self.assertVarlinkError("InvalidDefinition", daemon.call, "LoadModel", path=paths[0].name)

    def test_numbers_of_parts(self):
        """Whether they come with a call or lie below model-dir."""
        paths, _ = self.parts()
        weights = [{"path": "p%d" % i, "fileDescriptor": i} for i in (1, 2, 3)]
        with contextlib.ExitStack() as stack, self.daemon.connect() as client:
            fds = [stack.enter_context(open(path, "rb")).fileno() for path in (*paths, paths[2])]
            error = self.assertVarlinkError("InvalidDefinition", client.call, "LoadModel", {
                "definitionFileDescriptor": 0, "name": "llm", "weights": weights}, fds)
        self.assertIn("of 3 parts, but 4 files were given", error["message"])
        daemon = self.start(capacity="8M", model_dir=paths[0].parent)
        paths[0].rename(paths[0].with_name("odd.gguf"))
        tensors = [generate.Tensor("blk.0.w", "I8", (4096,))]
        for n_parts, name, said in ((3, "odd.gguf", "does not have the form"),
                                    (241, "a-00001-of-00241.gguf", "more parts than a call can carry")):
            generate.write_gguf(paths[0].with_name(name), tensors, split=(0, n_parts, 1))
            error = self.assertVarlinkError("InvalidDefinition", daemon.call, "LoadModel", path=name)
            self.assertIn(said, error["message"])

    def test_odd_names(self):
        """The name of the file, as the shell has it, is the model's."""
        for name in (b"a\xffb.gguf", b"line\nbreak.gguf", "\u202eb.gguf".encode(),
                     b"\\u00ff.gguf", b"x" * 250 + b".gguf"):
            with self.subTest(name=name):
                path = self.place / os.fsdecode(name)
                path.write_bytes(self.gguf())
                model = path.name[:-len(".gguf")]
                self.assertExit(0, self.load(path))
                self.assertExit(0, self.daemon.emctl("list", model))
                self.assertExit(0, self.daemon.emctl("load-layer", model, "blk.0"))
                self.assertExit(0, self.daemon.emctl("plan", model))
                self.assertExit(0, self.daemon.emctl("hold", model, "--", "true"))
                self.assertExit(0, self.daemon.emctl("unload-layer", model, "blk.0"))
                self.assertExit(0, self.daemon.emctl("unload-model", model))
                with edgemind.Connection(self.daemon.socket) as client:
                    loaded = client.load_model(path)["model"]
                self.assertExit(0, self.daemon.emctl("unload-model", loaded))
                path.unlink()


if __name__ == "__main__":
    unittest.main()
