#!/usr/bin/env python3
"""Writes a GGUF file that llama.cpp runs: the architecture "llama" with random weights in F16, and
no vocabulary except the number of its tokens.
    generate_llama.py FILE [BLOCKS]      about 32 MiB a block"""
import argparse
import pathlib
import random
import struct
import sys

EMBEDDING, FEED_FORWARD, HEADS, TOKENS = 1024, 4096, 16, 2048
UINT32, FLOAT32, STRING = 4, 6, 8  # of metadata
F32, F16 = 0, 1  # of tensors
ALIGNMENT = 32


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def metadata(blocks):
    numbers = {"context_length": 512, "embedding_length": EMBEDDING, "block_count": blocks,
               "feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS,
               "rope.dimension_count": EMBEDDING // HEADS, "vocab_size": TOKENS}
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "no_vocab"}
    return ([string(key) + struct.pack("<I", STRING) + string(text) for key, text in texts.items()] +
            [string("llama." + key) + struct.pack("<II", UINT32, number)
             for key, number in numbers.items()] +
            [string("llama.attention.layer_norm_rms_epsilon") +
             struct.pack("<If", FLOAT32, 1e-5)])


def tensors(blocks):
    """(name, shape, innermost dimension first; type)."""
    yield "token_embd.weight", (EMBEDDING, TOKENS), F16
    for block in range(blocks):
        for name, shape in (("attn_q", (EMBEDDING, EMBEDDING)), ("attn_k", (EMBEDDING, EMBEDDING)),
                            ("attn_v", (EMBEDDING, EMBEDDING)),
                            ("attn_output", (EMBEDDING, EMBEDDING)),
                            ("ffn_gate", (EMBEDDING, FEED_FORWARD)),
                            ("ffn_up", (EMBEDDING, FEED_FORWARD)),
                            ("ffn_down", (FEED_FORWARD, EMBEDDING))):
            yield "blk.%d.%s.weight" % (block, name), shape, F16
        for name in ("attn_norm", "ffn_norm"):
            yield "blk.%d.%s.weight" % (block, name), (EMBEDDING,), F32
    yield "output_norm.weight", (EMBEDDING,), F32


def size(shape, kind):
    n = 4 if kind == F32 else 2
    for dimension in shape:
        n *= dimension
    return n


def values(generator, n_bytes):
    """Numbers in F16 between 1/32 and 1/16, of either sign: the exponent is fixed, all other bits
    are random."""
    pattern = n_bytes // 2
    chance = int.from_bytes(generator.randbytes(n_bytes), "little")
    keep = int.from_bytes(b"\xff\x83" * pattern, "little")
    fixed = int.from_bytes(b"\x00\x28" * pattern, "little")
    return (chance & keep | fixed).to_bytes(n_bytes, "little")


def write(path, blocks):
    generator, infos, offset = random.Random(1), [], 0
    for name, shape, kind in tensors(blocks):
        infos.append(string(name) + struct.pack("<I%dQIQ" % len(shape), len(shape), *shape, kind,
                                                offset))
        offset += -(-size(shape, kind) // ALIGNMENT) * ALIGNMENT
    pairs = metadata(blocks)
    head = (b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) +
            b"".join(infos))
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for _, shape, kind in tensors(blocks):
            n_left = size(shape, kind)
            if kind == F32:
                file.write(struct.pack("<f", 1) * shape[0])
                continue
            while n_left > 0:
                n = min(n_left, 1 << 20)
                file.write(values(generator, n))
                n_left -= n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("blocks", type=int, nargs="?", default=12)
    options = parser.parse_args()
    write(options.file, options.blocks)


if __name__ == "__main__":
    main()
