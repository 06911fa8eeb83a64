"""emctl plan --trace: replays which experts were used, without a daemon."""
import json
import os
import pathlib
import random
import tempfile
import unittest

from harness import EMCTL, TestCase, run

MIB = 1 << 20
LAYERS, EXPERTS, USED, TOKENS = 8, 64, 4, 100


def route_trace():
    """Each layer has its own popular experts, and a token's choices resemble those of the token before."""
    chance = random.Random(1)
    lines = ["# route_trace v1"]
    lines += ["# layer=%d expert_bytes=%d dense_bytes=%d" % (i, MIB, 3 * MIB) for i in range(LAYERS)]
    lines.append("turn,phase,step,layer,slot,expert,weight,residency,expert_bytes")
    popular = [chance.sample(range(EXPERTS), EXPERTS) for _ in range(LAYERS)]
    last = [[]] * LAYERS
    for token in range(TOKENS + 1):
        for layer in range(LAYERS):
            used = [e for e in last[layer] if chance.random() < 0.4]
            while len(used) < USED:
                expert = popular[layer][int(EXPERTS * chance.random() ** 2)]
                if expert not in used:
                    used.append(expert)
            last[layer] = used
            lines += ["0,1,%d,%d,%d,%d,0.25,0,0" % (token, layer, slot, expert)
                      for slot, expert in enumerate(used)]
    return "\n".join(lines) + "\n"


class Trace(TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = pathlib.Path(directory.name, "route.csv")
        self.path.write_text(route_trace())

    def plan(self, *words, trace=None):
        return run(EMCTL, "plan", "--trace", trace or self.path, *words)

    def replay(self, capacity):
        reply = json.loads(self.assertExit(0, self.plan("--json", "--capacity=%d" % capacity)).out)
        return reply, {policy["policy"]: policy for policy in reply["policies"]}

    def test_policies(self):
        reply, policies = self.replay(64 * MIB)
        self.assertEqual({key: reply[key] for key in ("capacityBytes", "layers", "tokens", "uses", "denseBytes")},
                         {"capacityBytes": 64 * MIB, "layers": LAYERS, "tokens": TOKENS,
                          "uses": TOKENS * LAYERS * USED, "denseBytes": 3 * MIB * LAYERS})
        self.assertLess(policies["lru"]["hits"], policies["expected-use"]["hits"])
        self.assertLess(policies["expected-use"]["hits"], policies["future"]["hits"])
        for policy in policies.values():
            self.assertEqual(policy["hits"] * MIB + policy["bytesRead"], TOKENS * LAYERS * USED * MIB)
            self.assertEqual(policy["bytesPerToken"], policy["bytesRead"] // TOKENS)

    def test_all_fits(self):
        _, policies = self.replay(LAYERS * EXPERTS * MIB)
        self.assertEqual(len({policy["hits"] for policy in policies.values()}), 1)

    def test_table(self):
        text = self.assertExit(0, self.plan("--capacity=64M")).out
        self.assertRegex(text, r"(?m)^expected-use +\d+\.\d% +\d+\.\d MiB$")
        self.assertIn("24.0 MiB outside the experts", text)
        self.assertNotIn("TOKENS/S", text)
        text = self.assertExit(0, self.plan("--capacity=64M", "--disk-rate=1G")).out
        self.assertRegex(text, r"(?m)^future +\d+\.\d% +\d+\.\d MiB +[\d.]+$")
        self.assertIn("TOKENS/S", text)

    def test_too_small(self):
        result = self.assertExit(4, self.plan("--capacity=%d" % (USED * MIB - 1)))
        self.assertIn("4.0 MiB", result.err)
        self.assertEqual(result.out, "")
        self.assertExit(0, self.plan("--capacity=%d" % (USED * MIB)))

    def test_wrong_traces(self):
        good = self.path.read_text()
        for text, message in ((good.replace("# layer=7 ", "# layer=9 "), "unknown layer"),
                              (good.replace("=%d dense" % MIB, "=0 dense"), "0 bytes"),
                              ("", "no second step")):
            with self.subTest(message=message):
                self.path.write_text(text)
                result = self.assertExit(8, self.plan("--capacity=64M"))
                self.assertIn(message, result.err)
                self.assertIn(str(self.path), result.err)
        self.assertExit(1, self.plan("--capacity=64M", trace=str(self.path) + "x"))
        self.assertExit(1, self.plan("--capacity=64M", trace=self.path.parent))
        pipe = self.path.parent / "pipe"
        os.mkfifo(pipe)
        self.assertExit(1, self.plan("--capacity=64M", trace=pipe))

    def test_usage(self):
        for words in ([], ["--capacity=64M", "model"], ["--capacity=64M", "--policy=lru"],
                      ["--capacity=64M", "--passes=3"], ["--capacity=64M", "--name=x"]):
            with self.subTest(words=words):
                self.assertIn("--trace", self.assertExit(2, self.plan(*words)).err)


if __name__ == "__main__":
    unittest.main()
