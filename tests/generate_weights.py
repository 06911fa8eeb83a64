#!/usr/bin/env python3
"""Writes weight files for tests: safetensors, sharded safetensors and GGUF, of any size.

    generate_weights.py safetensors|sharded|gguf|ffn10 PATH [options]

The numbers of ffn10 are fit for calculations. All other data depends on the seed and on the place
in the file, so that bytes from a wrong place are never right: a block of random bytes, whose length
is a prime, is repeated throughout the file.
Can be imported: `model` makes a list of tensors, and the `write_*` functions write them and return
the place of each one. Prints name, dtype, shape, offset and bytes of every tensor.
"""

import argparse
import json
import os
import random
import struct
from typing import NamedTuple

# Elements and bytes of a block.
SAFETENSORS_DTYPES = {
    "BOOL": (1, 1), "U8": (1, 1), "I8": (1, 1), "F8_E5M2": (1, 1), "F8_E4M3": (1, 1),
    "F8_E8M0": (1, 1), "F8_E4M3FNUZ": (1, 1), "F8_E5M2FNUZ": (1, 1), "F4": (2, 1),
    "F6_E2M3": (4, 3), "F6_E3M2": (4, 3), "I16": (1, 2), "U16": (1, 2), "F16": (1, 2),
    "BF16": (1, 2), "I32": (1, 4), "U32": (1, 4), "F32": (1, 4), "C64": (1, 8), "F64": (1, 8),
    "I64": (1, 8), "U64": (1, 8),
}
# ... and the number of the type.
GGUF_DTYPES = {
    "F32": (1, 4, 0), "F16": (1, 2, 1), "Q4_0": (32, 18, 2), "Q4_1": (32, 20, 3),
    "Q5_0": (32, 22, 6), "Q5_1": (32, 24, 7), "Q8_0": (32, 34, 8), "Q8_1": (32, 36, 9),
    "Q2_K": (256, 84, 10), "Q3_K": (256, 110, 11), "Q4_K": (256, 144, 12), "Q5_K": (256, 176, 13),
    "Q6_K": (256, 210, 14), "Q8_K": (256, 292, 15), "IQ2_XXS": (256, 66, 16),
    "IQ2_XS": (256, 74, 17), "IQ3_XXS": (256, 98, 18), "IQ1_S": (256, 50, 19),
    "IQ4_NL": (32, 18, 20), "IQ3_S": (256, 110, 21), "IQ2_S": (256, 82, 22),
    "IQ4_XS": (256, 136, 23), "I8": (1, 1, 24), "I16": (1, 2, 25), "I32": (1, 4, 26),
    "I64": (1, 8, 27), "F64": (1, 8, 28), "IQ1_M": (256, 56, 29), "BF16": (1, 2, 30),
    "TQ1_0": (256, 54, 34), "TQ2_0": (256, 66, 35), "MXFP4": (32, 17, 39), "NVFP4": (64, 36, 40),
    "Q1_0": (128, 18, 41), "Q2_0": (64, 18, 42),
}

BLOCK = 4096  # bytes; `shift` counts from a multiple of it
PERIOD = 1048583  # a prime: two pages are alike only if they are 4 GiB apart
GGUF_UINT16, GGUF_UINT32, GGUF_INT32, GGUF_STRING, GGUF_ARRAY = 2, 4, 5, 8, 9


class Tensor(NamedTuple):
    name: str
    dtype: str
    shape: tuple


class Placed(NamedTuple):
    name: str
    dtype: str
    shape: tuple
    offset: int  # in the file
    bytes: int
    path: str


def tensor_bytes(dtypes, tensor):
    elements = 1
    for size in tensor.shape:
        elements *= size
    block = dtypes[tensor.dtype]
    if elements % block[0]:
        raise ValueError(f"{tensor.name}: {elements} elements do not fill blocks of {tensor.dtype}")
    return elements // block[0] * block[1]


def fill(dtypes, prefix, n_bytes, names):
    """Tensors of these dtypes with about equal sizes, and one tensor of bytes for the rest:
    `n_bytes` in all."""
    tensors, left = [], n_bytes
    for name in names:
        elements, size = dtypes[name][:2]
        rows = n_bytes // len(names) // size
        if rows:
            tensors.append(Tensor(f"{prefix}.{name.lower()}.weight", name, (rows, elements)))
            left -= rows * size
    if left:
        tensors.append(Tensor(f"{prefix}.rest", "I8", (left,)))
    return tensors


def model(kind, blocks=4, block_bytes=1 << 20, dtypes=("BF16", "F32"), embedding_bytes=64 << 10):
    """A language model's tensors, with the names that `kind` ("safetensors" or "gguf") has for them:
    an embedding, blocks of exactly `block_bytes`, a norm, a head."""
    if kind == "gguf":
        table, embedding, block, norm, head = GGUF_DTYPES, "token_embd", "blk", "output_norm", "output"
    else:
        table, embedding, block = SAFETENSORS_DTYPES, "model.embed_tokens", "model.layers"
        norm, head = "model.norm", "lm_head"
    tensors = []
    if embedding_bytes:
        tensors += [Tensor(f"{embedding}.weight", "I8", (embedding_bytes,))]
    for i in range(blocks):
        tensors += fill(table, f"{block}.{i}", block_bytes, dtypes)
    if embedding_bytes:
        tensors += [Tensor(f"{norm}.weight", "F32", (1024,))]
        tensors += [Tensor(f"{head}.weight", "I8", (embedding_bytes,))]
    return tensors


class Pattern:
    def __init__(self, seed):
        self.bytes = memoryview(random.Random(seed).randbytes(PERIOD) * 9)

    def at(self, offset, n_bytes):
        """The data of a file from `offset`, in pieces."""
        while n_bytes:
            start = offset % PERIOD
            n = min(n_bytes, 8 * PERIOD)
            yield self.bytes[start:start + n]
            offset += n
            n_bytes -= n


def write_file(path, header, placed, seed, values=None):
    """`values` makes a tensor's bytes; without it they come from the pattern."""
    pattern = Pattern(seed)
    with open(path, "wb") as file:
        file.write(header)
        offset = len(header)
        for tensor in placed:
            file.write(bytes(tensor.offset - offset))
            for piece in [values(tensor)] if values else pattern.at(tensor.offset, tensor.bytes):
                file.write(piece)
            offset = tensor.offset + tensor.bytes
    return placed


def write_safetensors(path, tensors, seed=0, shift=None, metadata=None, values=None):
    """`shift`: the data begins that many bytes after a multiple of BLOCK."""
    members, offset, places = {}, 0, []
    if metadata:
        members["__metadata__"] = metadata
    for tensor in tensors:
        n_bytes = tensor_bytes(SAFETENSORS_DTYPES, tensor)
        members[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                                "data_offsets": [offset, offset + n_bytes]}
        places.append((tensor, offset, n_bytes))
        offset += n_bytes
    text = json.dumps(members, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if shift is None else (shift - len(text) - 8) % BLOCK)
    data = 8 + len(text)
    placed = [Placed(*tensor, data + offset, n_bytes, path) for tensor, offset, n_bytes in places]
    return write_file(path, struct.pack("<Q", len(text)) + text, placed, seed, values)


def write_ffn10(path, seed=0, shift=None):
    """The weights of client/examples/ffn10.json. Sign and fraction are random. The exponent depends
    on the number of inputs, so that activations neither explode nor vanish."""
    tensors = []
    for i in range(10):
        inputs, outputs = (1024, 2048) if i % 2 == 0 else (2048, 1024)
        tensors += [Tensor(f"dense_{i}.weight", "F32", (outputs, inputs)),
                    Tensor(f"dense_{i}.bias", "F32", (outputs,))]
    source = random.Random(seed)

    def values(tensor):
        def repeat(word):
            return int.from_bytes(struct.pack("<I", word) * (tensor.bytes // 4), "little")
        exponent = 127 - (5 if tensor.shape[-1] == 1024 else 6)
        bits = source.getrandbits(8 * tensor.bytes) & repeat(0x807fffff) | repeat(exponent << 23)
        return bits.to_bytes(tensor.bytes, "little")

    return write_safetensors(path, tensors, seed, shift, values=values)


def write_sharded(directory, tensors, shards=3, seed=0, shift=None):
    """Writes model-0000N-of-0000M.safetensors, all about equally large, and
    model.safetensors.index.json."""
    total = sum(tensor_bytes(SAFETENSORS_DTYPES, tensor) for tensor in tensors)
    files, done = [[] for _ in range(shards)], 0
    for tensor in tensors:
        files[min(done * shards // max(total, 1), shards - 1)].append(tensor)
        done += tensor_bytes(SAFETENSORS_DTYPES, tensor)
    files = [shard for shard in files if shard]
    placed, weight_map = [], {}
    os.makedirs(directory, exist_ok=True)
    for i, shard in enumerate(files):
        name = f"model-{i + 1:05}-of-{len(files):05}.safetensors"
        placed += write_safetensors(os.path.join(directory, name), shard, seed + i, shift)
        weight_map.update({tensor.name: name for tensor in shard})
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=2)
    return placed


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def write_gguf(path, tensors, seed=0, shift=None, alignment=32, name=None, version=3, vocabulary=0,
               split=None):
    """`alignment`: of every tensor, 1 for none; `vocabulary`: the number of tokens in the metadata;
    `split`: the index of this part, from 0, the number of parts, and the number of tensors in all
    parts."""
    metadata = [gguf_string("general.alignment") + struct.pack("<II", GGUF_UINT32, alignment)]
    if name:
        metadata.append(gguf_string("general.name") + struct.pack("<I", GGUF_STRING) + gguf_string(name))
    for key, number in zip(("split.no", "split.count"), split or ()):
        metadata.append(gguf_string(key) + struct.pack("<IH", GGUF_UINT16, number))
    if split:
        metadata.append(gguf_string("split.tensors.count") + struct.pack("<Ii", GGUF_INT32, split[2]))
    if vocabulary:
        metadata.append(gguf_string("tokenizer.ggml.tokens") +
                        struct.pack("<IIQ", GGUF_ARRAY, GGUF_STRING, vocabulary) +
                        b"".join(gguf_string(f"token {i}") for i in range(vocabulary)))
    infos, places, offset = [], [], 0
    for tensor in tensors:
        n_bytes = tensor_bytes(GGUF_DTYPES, tensor)
        infos.append(gguf_string(tensor.name) + struct.pack("<I", len(tensor.shape)) +
                     struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape)) +
                     struct.pack("<IQ", GGUF_DTYPES[tensor.dtype][2], offset))
        places.append((tensor, offset, n_bytes))
        offset += -(-n_bytes // alignment) * alignment

    def header(padding):
        values = metadata + padding
        text = (b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values)) +
                b"".join(values) + b"".join(infos))
        return text + bytes(-len(text) % alignment)

    head = header([])
    if shift is not None:
        if shift % alignment:
            raise ValueError(f"shift {shift} is not a multiple of the alignment {alignment}")
        empty = gguf_string("padding") + struct.pack("<I", GGUF_STRING)
        room = (shift - len(header([empty + gguf_string("")]))) % BLOCK
        head = header([empty + gguf_string("-" * room)])
    placed = [Placed(*tensor, len(head) + offset, n_bytes, path) for tensor, offset, n_bytes in places]
    return write_file(path, head, placed, seed)


def size(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["safetensors", "sharded", "gguf", "ffn10"])
    parser.add_argument("path", help="the file, or with sharded its directory")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--block-bytes", type=size, default=1 << 20, metavar="SIZE")
    parser.add_argument("--embedding-bytes", type=size, default=64 << 10, metavar="SIZE",
                        help="of the embedding and of the head; 0: blocks only")
    parser.add_argument("--dtypes", default="BF16,F32", help="of each block's tensors")
    parser.add_argument("--shift", type=int, help="bytes of the data's first 4096 before the data")
    parser.add_argument("--alignment", type=int, default=32, help="of GGUF's tensors")
    parser.add_argument("--vocabulary", type=int, default=0, help="tokens in GGUF's metadata")
    parser.add_argument("--name", help="GGUF's general.name")
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    dtypes = [name for name in options.dtypes.split(",") if name]
    tensors = model("gguf" if options.kind == "gguf" else "safetensors", options.blocks,
                    options.block_bytes, dtypes, options.embedding_bytes)
    if options.kind == "ffn10":
        placed = write_ffn10(options.path, options.seed, options.shift)
    elif options.kind == "safetensors":
        placed = write_safetensors(options.path, tensors, options.seed, options.shift)
    elif options.kind == "sharded":
        placed = write_sharded(options.path, tensors, options.shards, options.seed, options.shift)
    else:
        placed = write_gguf(options.path, tensors, options.seed, options.shift, options.alignment,
                            options.name, vocabulary=options.vocabulary)
    for tensor in placed:
        shape = "x".join(map(str, tensor.shape))
        print(tensor.name, tensor.dtype, shape, tensor.offset, tensor.bytes)


if __name__ == "__main__":
    main()
