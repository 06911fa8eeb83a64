#!/usr/bin/env python3
"""Runs ffn10, or another chain of linear layers with bias and ReLU in f32, from the arena."""
import argparse
import array
import hashlib
import operator
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import edgemind  # noqa: E402


def forward(weight, bias, x):
    if edgemind.numpy:
        return edgemind.numpy.maximum(weight @ x + bias, 0)
    rows, columns = weight.shape
    flat = weight.cast("B").cast("f")
    products = (map(operator.mul, flat[i * columns:(i + 1) * columns], x) for i in range(rows))
    return array.array("f", (max(sum(row) + b, 0) for row, b in zip(products, bias)))


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", default="ffn10")
parser.add_argument("--passes", type=int, default=1)
options = parser.parse_args()
if options.passes < 1:
    parser.error("--passes must be at least 1")

with edgemind.Connection() as daemon, daemon.run(options.model, wait=10) as run:
    begin = time.monotonic()
    for _ in range(options.passes):
        x = array.array("f", (i % 17 / 16 - 0.5 for i in range(1024)))
        for layer in run.layers():
            x = forward(*(layer.tensors[f"{layer.name}.{part}"] for part in ("weight", "bias")), x)
    seconds = time.monotonic() - begin
print(hashlib.sha256(x).hexdigest(), f"{options.passes / seconds:.2f} passes/s")
