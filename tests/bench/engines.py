"""Runs one or more engines at the same time, and prints what they did on one line.

    engines.py [--pss NAME PID] READERS COMMAND...

Starts COMMAND so many times. It must print tokens as tests/engines/llama.js does. Prints
  - the median milliseconds of a token, without the first token of each;
  - the milliseconds from the start to the first token, of the last engine to have one;
  - tokens a second of all together, while all were generating;
  - the maximum memory of its own that one of them had, in MiB;
  - with --pss the maximum of what all of them and the process PID together had mapped, in MiB and
    each shared page counted once, of the files whose path contains a word of NAME, while all were
    generating;
  - the tokens.
Fails if the engines' tokens differ."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "engines"))

from running import Engine  # noqa: E402

SECONDS = 300  # at most, for one run
PSS_SECONDS = 0.3  # between two looks, which hold up the engines


def pss_bytes(pid, names):
    total, counts = 0, False
    try:
        with open("/proc/%d/smaps" % pid) as smaps:
            for line in smaps:
                if line.startswith("Pss:") and counts:
                    total += int(line.split()[1]) << 10
                elif "-" in line.split(" ", 1)[0]:
                    counts = any(name in line for name in names)
    except (ProcessLookupError, FileNotFoundError):
        pass
    return total


def together(engines):
    """Tokens a second, from when all have their first token until the first has its last."""
    begin = max(engine.moments[0] for engine in engines)
    end = min(engine.moments[-1] for engine in engines)
    n = sum(begin < moment <= end for engine in engines for moment in engine.moments)
    return n / (end - begin) if end > begin else 0


def main(arguments):
    names, pids = (), []
    if arguments[0] == "--pss":
        names, pids = arguments[1].split(), [int(arguments[2])]
        arguments = arguments[3:]
    began = time.time()
    engines = [Engine(arguments[1:], seconds=SECONDS) for _ in range(int(arguments[0]))]
    pss, looked = 0, 0
    while any(running := [engine.look() for engine in engines]):
        time.sleep(0.02)
        if names and time.monotonic() > looked + PSS_SECONDS and all(running) and \
                all(engine.tokens for engine in engines):
            pids_now = pids + [engine.pid for engine in engines]
            pss = max(pss, sum(pss_bytes(pid, names) for pid in pids_now))
            looked = time.monotonic()
    for engine in engines:
        engine.finish()
    tokens = engines[0].tokens
    if names and pss == 0:
        sys.exit("the engines were not all generating at any look at their mappings")
    if any(engine.tokens != tokens for engine in engines):
        sys.exit("the engines' tokens differ")
    medians = sorted(engine.median() for engine in engines)
    print("%.2f %.1f %.3f %.1f %.1f %s" % (
        medians[len(medians) // 2],
        (max(engine.moments[0] for engine in engines) - began) * 1000,
        together(engines), max(engine.own_bytes for engine in engines) / (1 << 20),
        pss / (1 << 20), ",".join(map(str, tokens))))


if __name__ == "__main__":
    main(sys.argv[1:])
