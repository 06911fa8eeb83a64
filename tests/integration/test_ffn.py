"""The example network, through an arena of any size: the same output, bit by bit."""
import json
import re
import subprocess
import sys
import unittest

from harness import BUILD, FFN10, MIB, ROOT, TestCase, run, sized_model
from leasing import POLICIES

LAYERS = 10


class FeedForward(TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("examples/ffn_forward", "tests/integration/ffn_plain"):
            if not (BUILD / program).exists():
                raise unittest.SkipTest("%s is not built" % program)

    def model(self):
        """ffn10 with weights: the definition's path, the weights' path, all of its bytes."""
        directory = self.directory()
        definition = json.loads(FFN10.read_text())
        definition["weights"] = "ffn10.safetensors"
        (directory / "ffn10.json").write_text(json.dumps(definition))
        weights = directory / "ffn10.safetensors"
        subprocess.run([sys.executable, ROOT / "tests" / "generate_weights.py", "ffn10", weights],
                       check=True, stdout=subprocess.DEVNULL)
        return directory / "ffn10.json", weights, weights.stat().st_size

    def test_same_output_from_any_arena(self):
        definition, weights, n_bytes = self.model()
        plain = run(BUILD / "tests" / "integration" / "ffn_plain", weights, str(LAYERS))
        self.assertExit(0, plain)
        numbers = [float(line) for line in plain.out.split()]
        self.assertEqual(len(numbers), 1024)
        self.assertGreater(len(set(numbers)), 100)  # neither all zeros nor saturated
        for percent in (100, 60, 25):
            for policy in POLICIES:
                with self.subTest(percent=percent, policy=policy):
                    daemon = self.start(capacity=n_bytes * percent // 100 + MIB * (percent == 100),
                                        policy=policy)
                    self.assertExit(0, daemon.emctl("load-model", definition))
                    result = run(BUILD / "examples" / "ffn_forward", "-s", daemon.socket, "-n", "3",
                                 "-p", "ffn10")
                    self.assertExit(0, result)
                    self.assertEqual(result.out, plain.out)
                    self.assertTrue(re.fullmatch(r"3 passes in [0-9.]+ s, [0-9.]+ a second\n",
                                                 result.err), result)
                    daemon.stop()

    def test_refusals(self):
        daemon = self.start(capacity=MIB)
        program = BUILD / "examples" / "ffn_forward"
        self.assertExit(2, run(program))
        self.assertExit(2, run(program, "-n", "0", "m"))
        self.assertIn("no model", run(program, "-s", daemon.socket, "m").err)
        daemon.load(sized_model("m", 4096))
        result = run(program, "-s", daemon.socket, "m")
        self.assertExit(1, result)
        self.assertIn("is no linear layer", result.err)


if __name__ == "__main__":
    unittest.main()
