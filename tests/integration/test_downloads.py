"""Models as people have them: in the cache of Hugging Face's libraries, in folders, in parts, under
odd names. emctl, libedgemind's module for Python, and the daemon."""
import os
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
