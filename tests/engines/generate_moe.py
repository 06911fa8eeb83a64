#!/usr/bin/env python3
"""Writes a GGUF file with a mixture of experts that llama.cpp runs: the architecture "llama" with
random weights in F16, and no vocabulary except the number of its tokens.
    generate_moe.py FILE [BLOCKS [EXPERTS]]      1.5 MiB an expert, 8 MiB beside them a block

The routers prefer some experts, in every block others. The first element of the residual stream is
the same for all tokens: every embedding begins with it, and only the routers read it. A
router's weight for that element is therefore a bias of the expert, and the biases of a block are
normally distributed. The router's other weights are random, so that the tokens decide, too: the
two parts of a router's figure have about the same spread. So a quarter of a block's experts has
about 0.9 of its uses, and about 0.35 of a token's experts were used by the token before. These are
also the figures of published traces of Qwen3-30B-A3B and Gemma 26B-A4B: 0.86 and 0.37."""
import argparse
import pathlib
import random
import struct
import sys

from generate_llama import ALIGNMENT, F16, F32, STRING, UINT32, size, string, values

EMBEDDING, EXPERT, HEADS, TOKENS = 1024, 256, 16, 2048
USED = 4  # experts of a block, for a token
FIRST = 4.0  # of every embedding; the other elements are about 1/20
BIAS = 1 / 56  # the spread of the routers' weights for it


def metadata(blocks, experts):
    numbers = {"context_length": 512, "embedding_length": EMBEDDING, "block_count": blocks,
               "feed_forward_length": EXPERT, "attention.head_count": HEADS,
               "rope.dimension_count": EMBEDDING // HEADS, "vocab_size": TOKENS,
               "expert_count": experts, "expert_used_count": USED}
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "no_vocab"}
    return ([string(key) + struct.pack("<I", STRING) + string(text) for key, text in texts.items()] +
            [string("llama." + key) + struct.pack("<II", UINT32, number)
             for key, number in numbers.items()] +
            [string("llama.attention.layer_norm_rms_epsilon") +
             struct.pack("<If", 6, 1e-5)])


def tensors(blocks, experts):
    """(name, shape, innermost dimension first; type; how its first elements are set)."""
    yield "token_embd.weight", (EMBEDDING, TOKENS), F16, "first"
    for block in range(blocks):
        for name, shape, kind, how in (
                ("attn_norm", (EMBEDDING,), F32, None),
                ("attn_q", (EMBEDDING, EMBEDDING), F16, "blind"),
                ("attn_k", (EMBEDDING, EMBEDDING), F16, "blind"),
                ("attn_v", (EMBEDDING, EMBEDDING), F16, "blind"),
                ("attn_output", (EMBEDDING, EMBEDDING), F16, "zero"),
                ("ffn_norm", (EMBEDDING,), F32, None),
                ("ffn_gate_inp", (EMBEDDING, experts), F32, "router"),
                ("ffn_gate_exps", (EMBEDDING, EXPERT, experts), F16, "blind"),
                ("ffn_up_exps", (EMBEDDING, EXPERT, experts), F16, "blind"),
                ("ffn_down_exps", (EXPERT, EMBEDDING, experts), F16, "zero")):
            yield "blk.%d.%s.weight" % (block, name), shape, kind, how
    yield "output_norm.weight", (EMBEDDING,), F32, None
    yield "output.weight", (EMBEDDING, TOKENS), F16, "blind"


def scaled(data):
    """A 64th of these numbers, whose exponents are all the same."""
    lowered = int.from_bytes(data, "little") - int.from_bytes(b"\x00\x18" * (len(data) // 2), "little")
    return bytearray(lowered.to_bytes(len(data), "little"))


def matrix(generator, shape, how):
    """The bytes of an F16 tensor with two dimensions, or of one expert."""
    data = bytearray()
    while len(data) < 2 * shape[0] * shape[1]:
        data += values(generator, min(2 * shape[0] * shape[1] - len(data), 1 << 20))
    if how == "zero":  # a 64th, so that the tokens stay different, and nothing at the first place
        data = scaled(data)
        data[:2 * shape[0]] = bytes(2 * shape[0])
    if how in ("first", "blind"):  # what comes from the first place
        value = struct.pack("<e", FIRST if how == "first" else 0)
        for row in range(shape[1]):
            data[2 * shape[0] * row:2 * shape[0] * row + 2] = value
    return data


def router(generator, experts):
    return b"".join(struct.pack("<%df" % EMBEDDING, generator.gauss(0, BIAS),
                                *(generator.gauss(0, 1 / 24) for _ in range(EMBEDDING - 1)))
                    for _ in range(experts))


def write(path, blocks, experts):
    generator, infos, offset = random.Random(1), [], 0
    for name, shape, kind, _ in tensors(blocks, experts):
        infos.append(string(name) + struct.pack("<I%dQIQ" % len(shape), len(shape), *shape, kind,
                                                offset))
        offset += -(-size(shape, kind) // ALIGNMENT) * ALIGNMENT
    pairs = metadata(blocks, experts)
    head = (b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) +
            b"".join(infos))
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for _, shape, kind, how in tensors(blocks, experts):
            if how == "router":
                file.write(router(generator, experts))
            elif kind == F32:
                file.write(struct.pack("<f", 1) * shape[0])
            else:
                for _ in range(shape[2] if len(shape) == 3 else 1):
                    file.write(matrix(generator, shape, how))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("blocks", type=int, nargs="?", default=12)
    parser.add_argument("experts", type=int, nargs="?", default=64)
    options = parser.parse_args()
    write(options.file, options.blocks, options.experts)


if __name__ == "__main__":
    main()
