#!/usr/bin/env python3
"""Kills the daemon again and again, and then engines, while several unmodified llama.cpp generate on
views. All engines that are not killed must make the tokens that they make on a plain file, and the
arena must never take more than its capacity.
    BUILD=build tests/engines/kills.py [KILLS]
KILLS of each kind, 100 by default. Exits with 77 if the engine cannot be downloaded."""
import pathlib
import random
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import engine  # noqa: E402
from harness import BUILD, EMCTL, clean_environment, wait_until  # noqa: E402
from leasing import chosen_seed  # noqa: E402
from running import Engine, Sampler  # noqa: E402
from service_manager import Service  # noqa: E402

ENGINES, TOKENS, SHARE = 3, 16, 0.65
SOURCES = ("uffd", "sigsegv")  # of faults, in turn
PAUSE_SECONDS = 0.3  # at most, between two kills


class Failed(Exception):
    pass


class Generation:
    """Engines that generate all the time: one that ends is followed by another."""

    def __init__(self, service, command, expected):
        self.service, self.command, self.expected = service, command, expected
        self.n_started = self.n_tokens = self.own_bytes = 0
        self.engines = [self.start() for _ in range(ENGINES)]

    def start(self):
        source = SOURCES[self.n_started % len(SOURCES)]
        self.n_started += 1
        return Engine((EMCTL, "exec", "--", *self.command),
                      clean_environment(EDGEMIND_SOCKET=self.service.socket,
                                        EDGEMIND_VIEW_FAULTS=source))

    def check(self, one, is_killed=False):
        self.own_bytes = max(self.own_bytes, one.own_bytes)
        expected = self.expected[:len(one.tokens)] if is_killed else self.expected
        if one.tokens != expected:
            raise Failed("tokens %s instead of %s" % (one.tokens, expected))
        self.n_tokens += len(one.tokens)

    def is_in_the_middle(self):
        """Whether the first engine is generating. Checks and replaces those that have ended."""
        for i, one in enumerate(self.engines):
            if not one.look():
                self.check(one.finish())
                self.engines[i] = self.start()
        return 0 < len(self.engines[0].tokens) < TOKENS - 1

    def kill_first(self):
        """The others go on until they end."""
        victim = self.engines[0]
        victim.kill()
        self.check(victim, is_killed=True)
        self.engines[0] = self.start()

    def finish(self):
        for one in self.engines:
            self.check(one.finish())

    def discard(self):
        for one in self.engines:
            one.kill()


def kill_daemon(generation):
    generation.service.restart(signal.SIGKILL)
    if not generation.service.is_warm():
        raise Failed("the daemon did not start warm:\n" + generation.service.read_log())


def kill_often(generation, n_kills, kill):
    try:
        for _ in range(n_kills):
            time.sleep(random.uniform(0, PAUSE_SECONDS))
            wait_until(generation.is_in_the_middle, "an engine to generate")
            kill(generation)
        generation.finish()
    finally:
        generation.discard()


def run(what, kill, n_kills, command, expected):
    capacity = round(command[3].stat().st_size * SHARE)
    with Service(capacity=capacity, policy="lru", commit="load", log_level="info") as service:
        result = service.emctl("load-model", "--name=llama", "--on-full=ask", command[3])
        if result.code not in (0, 5):
            raise Failed(str(result))
        capacity = service.stats()["arena"]["capacityBytes"]
        with Sampler(service.arena_path()) as sampler:
            generation = Generation(service, command, expected)
            kill_often(generation, n_kills, kill)
        wait_until(lambda: service.stats()["arena"]["leasedBytes"] == 0, "the leases to end")
    within = 0 < sampler.most <= capacity
    print("%s  %d kills of %s: %d engines made %d tokens, all right, with %d MiB of their own at most; "
          "arena at most %d of %d KiB in %d samples, %.1f ms apart" % (
              "ok    " if within else "FAILED", n_kills, what, generation.n_started,
              generation.n_tokens, generation.own_bytes >> 20, sampler.most >> 10, capacity >> 10,
              sampler.n, 1000 * sampler.seconds / sampler.n))
    return within


def main():
    n_kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    random.seed(chosen_seed())
    command = engine.command(BUILD / "engines", TOKENS, n_threads=1)
    expected = Engine(command, clean_environment()).finish().tokens
    good = [run(what, kill, n_kills, command, expected) for what, kill in
            (("the daemon", kill_daemon), ("an engine", Generation.kill_first))]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
