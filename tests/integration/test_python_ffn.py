"""The example in Python computes the same whatever the arena's size."""
import array
import hashlib
import json
import mmap
import operator
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

from harness import FFN10, PAGE, ROOT, clean_environment, run
from python_client import ClientTestCase, edgemind, generate, needs_numpy

FFN_FORWARD = ROOT / "client" / "examples" / "ffn_forward.py"


def in_memory(path, placed, types):
    """What ffn10 makes of the example's input, computed from the file; with NumPy's `types`, in the
    same order of summation as the example only for f4."""
    offsets = {tensor.name: tensor.offset for tensor in placed}
    with open(path, "rb") as file, mmap.mmap(-1, os.path.getsize(path)) as memory:
        file.readinto(memory)  # places of the same alignment as in the arena
        x = [(i % 17 - 8) / 16 for i in range(1024)]
        for i in range(10):
            inputs, outputs = (1024, 2048) if i % 2 == 0 else (2048, 1024)
            weights, biases = offsets["dense_%d.weight" % i], offsets["dense_%d.bias" % i]
            if edgemind.numpy:
                np = edgemind.numpy
                weight = np.ndarray((outputs, inputs), "<f4", memory, weights).astype(
                    types, copy=False)
                bias = np.ndarray((outputs,), "<f4", memory, biases).astype(types, copy=False)
                x = np.maximum(weight.dot(np.asarray(x, types)) + bias, 0)
                del weight, bias
            else:
                y = array.array("f")
                for j in range(outputs):
                    row = array.array("f", memory[weights + 4 * inputs * j:
                                                  weights + 4 * inputs * (j + 1)])
                    bias, = array.array("f", memory[biases + 4 * j:biases + 4 * j + 4])
                    y.append(max(0.0, sum(map(operator.mul, row, x)) + bias))
                x = y
    return x



class FfnForward(ClientTestCase):
    """The example's output does not depend on the arena's size."""

    @classmethod
    def setUpClass(cls):
        cls.models = pathlib.Path(tempfile.mkdtemp(prefix="em-"))
        cls.addClassCleanup(shutil.rmtree, cls.models)
        cls.weights = cls.models / "ffn10.safetensors"
        cls.placed = generate.write_ffn10(cls.weights)
        definition = json.loads(FFN10.read_text())
        definition["weights"] = cls.weights.name
        (cls.models / "ffn10.json").write_text(json.dumps(definition))
        cls.output = in_memory(cls.weights, cls.placed, "f4")

    def forward(self, daemon, *words):
        blocked = "import sys, runpy; sys.modules['numpy'] = None; del sys.argv[0]; " \
                  "runpy.run_path(sys.argv[0], run_name='__main__')"
        start = [FFN_FORWARD] if edgemind.numpy else ["-c", blocked, FFN_FORWARD]
        return run(sys.executable, *start, *words,
                   env=clean_environment(EDGEMIND_SOCKET=daemon.socket))

    def test_any_arena(self):
        definition_bytes = 83947520
        for percent in (100, 60, 25):
            with self.subTest(percent=percent):
                # Each layer has a page more than its bytes, as its file's data begins in a page.
                capacity = (definition_bytes + 10 * PAGE) * percent // 100
                daemon = self.start(capacity=capacity, policy="next-use")
                self.client(daemon).load_model(self.models / "ffn10.json")
                passes = 3 if edgemind.numpy else 1
                result = self.assertExit(0, self.forward(daemon, "--passes", passes))
                found, rate, unit = result.out.split()
                self.assertEqual(found, hashlib.sha256(memoryview(self.output)).hexdigest())
                self.assertGreater(float(rate), 0)
                self.assertEqual(unit, "passes/s")
                stats = daemon.stats()
                self.assertEqual(stats["scheduler"]["runs"], 0)
                self.assertEqual(stats["arena"]["leasedBytes"], 0)
                self.assertLessEqual(stats["arena"]["highWaterBytes"], capacity)
                daemon.stop()

    @needs_numpy
    def test_the_numbers_are_right(self):
        """... as double precision tells, and neither vanish nor explode."""
        exact = in_memory(self.weights, self.placed, "f8")
        np = edgemind.numpy
        np.testing.assert_allclose(self.output, exact, rtol=1e-3, atol=1e-5)
        self.assertTrue(0.05 < exact.std() < 5, exact.std())

    def test_another_model(self):
        daemon = self.start(capacity="4M")
        self.client(daemon).call("LoadModel", definition=json.dumps({
            "name": "small", "dtype": "f32", "layers": [
                {"name": "a", "type": "linear", "in_features": 1024, "out_features": 3,
                 "bias": True}]}))
        found = self.assertExit(0, self.forward(daemon, "small", "--passes", 2)).out.split()[0]
        self.assertEqual(found, hashlib.sha256(bytes(12)).hexdigest())

    def test_its_length(self):
        self.assertLess(len(FFN_FORWARD.read_text().splitlines()), 40)

    def test_refused(self):
        daemon = self.start(capacity="4M")
        result = self.assertExit(1, self.forward(daemon, "nothing"))
        self.assertIn("NotFound", result.err)
        self.assertExit(2, self.forward(daemon, "--passes", 0))


if __name__ == "__main__":
    unittest.main()
