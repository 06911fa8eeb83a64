#!/usr/bin/env python3
"""Runs an unmodified prebuilt llama.cpp with `emctl exec`. It must make the same tokens as with its
own mapping for every size of the arena, and the arena must never take more than its capacity.
    BUILD=build tests/engines/llama.py
Exits with 77 if the engine cannot be downloaded."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import engine  # noqa: E402
from harness import BUILD, EMCTL, Daemon, clean_environment  # noqa: E402
from running import Engine, Sampler  # noqa: E402

TOKENS = 8
SHARES = (1.0, 0.87, 0.65, 0.47)


def main():
    command = engine.command(BUILD / "engines", TOKENS)
    model = command[3]
    plain = Engine(command, clean_environment()).finish()
    print("plain mmap: %.0f ms a token, %d MiB of its own; tokens %s" % (
        plain.median(), plain.own_bytes >> 20, plain.tokens))
    if len(set(plain.tokens)) < TOKENS // 2:
        sys.exit("the tokens say too little")
    failed = False
    for share in SHARES:
        with Daemon(capacity=round(model.stat().st_size * share) + (1 << 20), policy="lru",
                    log_level="warning") as daemon:
            capacity = daemon.stats()["arena"]["capacityBytes"]
            with Sampler(daemon.arena_path()) as sampler:
                viewed = Engine((EMCTL, "exec", "--model=llama=%s" % model, "--", *command),
                                clean_environment(EDGEMIND_SOCKET=daemon.socket)).finish()
            scheduler = daemon.stats()["scheduler"]
        read, size = scheduler["bytesLoaded"], model.stat().st_size
        right = viewed.tokens == plain.tokens
        within = sampler.most <= capacity and sampler.n > 0
        # The engine has read them from the arena: each block was leased, and a block without room
        # had to be read again for each token.
        viewing = scheduler["hits"] >= engine.BLOCKS if share == 1 else \
            read > size * (1 + (TOKENS - 1) * (1 - share) / 2)
        ok = right and within and viewing
        failed = failed or not ok
        print("%s  arena at %.2f of the weights: %.0f ms a token, %d MiB of its own, arena at most %d of "
              "%d KiB in %d samples, %d MiB read%s" % (
                  "ok    " if ok else "FAILED", share, viewed.median(), viewed.own_bytes >> 20,
                  sampler.most >> 10, capacity >> 10, sampler.n, read >> 20,
                  "" if right else "; tokens " + str(viewed.tokens)))
    sys.exit(failed)


if __name__ == "__main__":
    main()
