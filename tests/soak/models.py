"""The models of the soak. Their bytes are known by their place in the file, so no file is read to know
what is right."""
import hashlib
import itertools

from harness import MIB, sized_model
from weight_files import WRITE, generate

N_LAYERS = {"a": 14, "bc": 10, "g": 12}  # of each model; the letters of its name are those of its files
LARGEST = 900_000  # bytes of a layer
ZEROS, LARGE = "zeros", "large"


def digest_of(pieces):
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


class Models:
    """What may be loaded. `sources`: {model: its files, any of which may be registered}; `digests`: {(model, layer): those
    that its bytes may have}; `order`: {model: its layers}."""

    def __init__(self, directory, rng, capacity):
        self.sources, self.digests, self.order = {}, {}, {}
        for model, n_layers in N_LAYERS.items():
            sizes = [rng.randrange(1, LARGEST) for _ in range(n_layers - 1)] + [2 * MIB + 17]
            kind, block = ("gguf", "blk") if model == "g" else ("safetensors", "b")
            self.sources[model] = [directory / name for name in model]
            self.order[model] = ["%s.%d" % (block, i) for i in range(n_layers)]
            for path in self.sources[model]:
                self.write(model, kind, path, sizes, seed=rng.randrange(1 << 30))
        sizes = [rng.randrange(1, LARGEST) for _ in range(6)]
        self.zeros = sized_model(ZEROS, *sizes)
        self.order[ZEROS] = ["l%d" % i for i in range(len(sizes))]
        for layer, size in zip(self.order[ZEROS], sizes):
            self.digests[ZEROS, layer] = {digest_of([bytes(size)])}
        self.too_large = sized_model(LARGE, 1, capacity + 1)
        self.layers = sorted(self.digests)
        self.names = sorted(self.order)

    def write(self, model, kind, path, sizes, seed):
        tensors = [generate.Tensor("%s.w" % layer, "I8", (size,))
                   for layer, size in zip(self.order[model], sizes)]
        pattern = generate.Pattern(seed)
        for layer, placed in zip(self.order[model], WRITE[kind](str(path), tensors, seed)):
            self.digests.setdefault((model, layer), set()).add(
                digest_of(pattern.at(placed.offset, placed.bytes)))

    def next_of(self, model, layer):
        """The layer that a run uses after this one."""
        order = self.order[model]
        return order[(order.index(layer) + 1) % len(order)]

    def load(self, client, model, rng, **parameters):
        """Calls LoadModel, sometimes with progress. Returns the last reply."""
        path = rng.choice(self.sources.get(model, [None]))
        with_more = rng.random() < 0.3
        if path is None:
            call = client.stream if with_more else client.call
            replies = call("LoadModel", dict(parameters, definition=self.zeros))
            return list(replies)[-1][0] if with_more else replies
        with client.passed(path) as (sources, fds):
            parameters = {**parameters, **sources, "name": model}
            if not with_more:
                return client.call("LoadModel", parameters, fds)
            return list(client.stream("LoadModel", parameters, fds))[-1][0]

    def any_file(self, rng):
        return rng.choice(list(itertools.chain(*self.sources.values())))
