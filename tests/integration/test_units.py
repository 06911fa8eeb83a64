"""Units smaller than layers: `emctl list --units`, and `emctl plan --experts`, which needs no daemon."""
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest

from harness import EMCTL, ROOT, TestCase, run
from leasing import Leaser

sys.path.insert(0, os.fspath(ROOT / "tests"))
import generate_weights  # noqa: E402
from generate_weights import Tensor  # noqa: E402

MIB = 1 << 20
LAYERS, EXPERTS = 4, 16


def mixture(head=True):
    tensors = [Tensor("token_embd.weight", "F16", (2560, 1024))]
    for i in range(LAYERS):
        tensors.append(Tensor(f"blk.{i}.attn_q.weight", "F16", (256, 256)))
        tensors += [Tensor(f"blk.{i}.ffn_{name}_exps.weight", "Q4_K", (EXPERTS, 64, 256))
                    for name in ("gate", "up", "down")]
    return tensors + ([Tensor("output.weight", "F16", (256, 256))] if head else [])


EXPERT_BYTES = 3 * 64 * 144
TABLE_BYTES = 2560 * 1024 * 2
DENSE_BYTES = (LAYERS + 1) * 256 * 256 * 2


def write_model(test, tensors, name="moe.gguf", write=generate_weights.write_gguf):
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    path = pathlib.Path(directory.name, name)
    write(os.fspath(path), tensors)
    return path


class Units(TestCase):
    options = {"capacity": "256M"}

    def units(self, path):
        self.assertExit(0, self.daemon.emctl("load-model", "--quiet", "--replace", "--name=m", path))
        lines = self.assertExit(0, self.daemon.emctl("list", "m", "--units", "--json")).out.splitlines()
        return {layer["layer"]: layer["groups"] for layer in map(json.loads, lines)}

    def test_gguf(self):
        layers = self.units(write_model(self, mixture()))
        self.assertEqual(set(layers), {"token_embd", "output", *[f"blk.{i}" for i in range(LAYERS)]})
        experts, dense = layers["blk.1"]
        self.assertEqual(experts, {"kind": "expert", "name": "blk.1.ffn_gate_exps.weight", "units": EXPERTS,
                                   "tensors": 3, "unitBytes": EXPERT_BYTES, "bytes": EXPERTS * EXPERT_BYTES})
        self.assertEqual((dense["kind"], dense["name"]), ("tensor", "blk.1.attn_q.weight"))
        self.assertEqual((layers["token_embd"][0]["kind"], layers["token_embd"][0]["units"]), ("chunk", 5))
        text = self.assertExit(0, self.daemon.emctl("list", "m", "--units")).out
        self.assertRegex(text, r"(?m)^  blk\.0\.ffn_gate_exps\.weight and 2 more +16 +27\.0 KiB +432\.0 KiB +expert$")

    def test_safetensors(self):
        tensors = [Tensor("model.layers.0.self_attn.q_proj.weight", "BF16", (64, 64))]
        tensors += [Tensor(f"model.layers.0.mlp.experts.{i}.{name}_proj.weight", "BF16", (64, 32))
                    for i in range(EXPERTS) for name in ("up", "down")]
        tensors += [Tensor(f"model.layers.1.mlp.experts.{name}", "BF16", (EXPERTS, 64, 32))
                    for name in ("gate_up_proj", "down_proj")]
        layers = self.units(write_model(self, tensors, "moe.safetensors", generate_weights.write_safetensors))
        for layer in ("model.layers.0", "model.layers.1"):
            group = layers[layer][0]
            self.assertEqual((group["kind"], group["units"], group["unitBytes"]), ("expert", EXPERTS, 2 * 64 * 32 * 2))

    def test_tied_weight(self):
        """It is listed under two names and is one unit."""
        def write(path, tensors):
            generate_weights.write_safetensors(path, tensors,
                                               metadata={"lm_head.weight": "model.embed_tokens.weight"})
        layers = self.units(write_model(self, [Tensor("model.embed_tokens.weight", "F16", (8, 8))], "tied.safetensors",
                                        write))
        self.assertEqual([group["bytes"] for groups in layers.values() for group in groups], [128])

    def test_a_tensor_that_cannot_be_cut(self):
        layers = self.units(write_model(self, [Tensor("blk.0.attn_q.weight", "F16", (8, 8)),
                                        Tensor("blk.0.ffn_up_exps.weight", "F16", (4, 8, 8)),
                                        Tensor("blk.0.ffn_down_exps.weight", "F16", (5, 8, 8))]))
        uncut = [group for group in layers["blk.0"] if "uncut" in group]
        self.assertEqual([(group["name"], group["units"]) for group in uncut], [("blk.0.ffn_down_exps.weight", 1)])
        self.assertIn("not cut", self.assertExit(0, self.daemon.emctl("list", "m", "--units")).out)

    def test_units_that_are_layers(self):
        """Up to 1,000 of them have lines of their own. --json stays as it is: layer by layer."""
        table = Tensor("token_embd.weight", "F16", (8, 8))
        page = os.sysconf("SC_PAGESIZE")  # an expert of less is no unit
        for experts, lines in ((4, 2 * (2 + 4) + 2), (501, 2 * 2 + 2)):
            with self.subTest(experts=experts):
                path = write_model(self, [table] + [tensor for i in range(2) for tensor in (
                    Tensor("blk.%d.attn_q.weight" % i, "F16", (8, 8)),
                    Tensor("blk.%d.ffn_up_exps.weight" % i, "I8", (experts, page)))])
                with Leaser(self.daemon) as client:
                    client.load_model(path, name="cut", unitBytes=8 * MIB)
                    self.daemon.call("Reset")
                    for unit in 3, 1, 2, 0:
                        client.release(client.lease(model="cut", layer="blk.1", units=[unit]))
                text = self.assertExit(0, self.daemon.emctl("list", "cut", "--units")).out
                self.assertEqual(len(text.splitlines()), lines)
                size = experts, page // 1024
                self.assertRegex(text, r"(?m)^blk\.1 +%d +%d\.0 KiB +\S+ \S+ +4 +%d\.0 KiB +\d+ s ago +u0 100 %%, u2 100 %%, u1 100 %%, u3 100 %%$"
                                 % (*size, 4 * page // 1024))
                self.assertRegex(text, r"(?m)^blk\.0 +%d +%d\.0 KiB +\S+ \S+ +0 +0 B +\d+ s ago" % size)
                found = self.assertExit(0, self.daemon.emctl("list", "cut", "--units", "--json")).out.splitlines()
                self.assertEqual(len(found), 2 * (1 + experts) + 1)
                self.assertIn("groups", json.loads(found[0]))
                self.daemon.call("UnloadModel", model="cut")

    def test_when_a_layer_was_used(self):
        before = time.time() * 1e6
        self.units(write_model(self, mixture()))
        for layer in self.daemon.call("List", model="m", used=True)["layers"]:
            self.assertTrue(before <= layer["usedAtUsec"] <= time.time() * 1e6)

    def test_usage(self):
        for words in (["list", "--units"], ["list", "m", "--units", "--tensors"],
                      ["plan", "x", "--experts=2"], ["plan", "x", "--experts=0", "--capacity=1G"],
                      ["plan", "x", "--experts=257", "--capacity=1G"],
                      ["plan", "x", "--experts=2", "--capacity=1G", "--policy=lru"],
                      ["plan", "--trace=x", "--experts=2", "--capacity=1G"]):
            with self.subTest(words=words):
                self.assertExit(2, self.daemon.emctl(*words))
        self.assertExit(7, self.daemon.emctl("list", "unknown", "--units"))


class Plan(TestCase):
    def plan(self, path, capacity, *words):
        return run(EMCTL, "plan", path, "--experts=2", "--capacity=%d" % capacity, *words)

    def reply(self, path, capacity):
        return json.loads(self.assertExit(0, self.plan(path, capacity, "--json")).out)

    def test_figures(self):
        path = write_model(self, mixture())
        reply = self.reply(path, DENSE_BYTES + 20 * EXPERT_BYTES)
        self.assertEqual({key: reply[key] for key in ("model", "layers", "expertsUsed", "expertBytes", "denseBytes",
                                                      "tableBytes", "tokenBytes")},
                         {"model": "moe", "layers": LAYERS, "expertsUsed": 2,
                          "expertBytes": LAYERS * EXPERTS * EXPERT_BYTES, "denseBytes": DENSE_BYTES,
                          "tableBytes": TABLE_BYTES, "tokenBytes": DENSE_BYTES + LAYERS * 2 * EXPERT_BYTES})
        hits = {policy["policy"]: policy["hits"] for policy in reply["policies"]}
        self.assertLess(hits["expected-use"], hits["future"])
        for policy in reply["policies"]:
            self.assertEqual(policy["bytesRead"], (reply["uses"] - policy["hits"]) * EXPERT_BYTES)

    def test_all_fits(self):
        """Each expert is read at most once, by every policy."""
        reply = self.reply(write_model(self, mixture()), DENSE_BYTES + LAYERS * EXPERTS * EXPERT_BYTES)
        self.assertEqual(len({policy["bytesRead"] for policy in reply["policies"]}), 1)
        self.assertLessEqual(reply["policies"][0]["bytesRead"], LAYERS * EXPERTS * EXPERT_BYTES)

    def test_tied_output(self):
        """Without a tensor for the output, every token reads the whole table."""
        reply = self.reply(write_model(self, mixture(head=False)), 256 * MIB)
        self.assertEqual((reply["denseBytes"], reply["tableBytes"]), (LAYERS * 256 * 256 * 2 + TABLE_BYTES, 0))

    def test_text(self):
        text = self.assertExit(0, self.plan(write_model(self, mixture()), MIB, "--disk-rate=1G")).out
        self.assertIn("moe has experts of 1.7 MiB in 4 layers; all else is 640.0 KiB, and tables", text)
        self.assertRegex(text, r"(?m)^expected-use +\d+\.\d% +\d+\.\d [KM]iB +[\d.]+$")
        self.assertIn("assumed", text)

    def test_too_small(self):
        path = write_model(self, mixture())
        least = DENSE_BYTES + 2 * EXPERT_BYTES
        result = self.assertExit(4, self.plan(path, least - 1))
        self.assertIn("694.0 KiB", result.err)
        self.assertExit(4, self.plan(path, DENSE_BYTES - 1))
        self.assertExit(0, self.plan(path, least))

    def test_no_experts(self):
        path = write_model(self, [Tensor("blk.0.attn_q.weight", "F16", (8, 8))])
        self.assertIn("no experts", self.assertExit(1, self.plan(path, 256 * MIB)).err)


if __name__ == "__main__":
    unittest.main()
