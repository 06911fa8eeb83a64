#!/usr/bin/env python3
"""Runs an unmodified prebuilt llama.cpp with `emctl exec`. It must make the same tokens as with its
own mapping for every size of the arena, and the arena must never take more than its capacity.
    BUILD=build tests/engines/llama.py
Exits with 77 if the engine cannot be downloaded. The engine comes from the npm package
node-llama-cpp; nothing else is downloaded. It and the weights stay in BUILD/engines."""
import base64
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import generate_llama  # noqa: E402
from harness import BUILD, EMCTL, Daemon, clean_environment  # noqa: E402

VERSION = "3.22.1"
PACKAGES = {
    "x86_64": ("linux-x64", "5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="),
    "aarch64": ("linux-arm64", "W+7naKCXX9/eEjjFmRS8vvx91QyLXDbeFxexZc3bh/PtQABZgmRL3C0AtYYXn4YGTj/3Qor4lWZn2tpjZFPLdQ=="),
}
BLOCKS, TOKENS = 12, 8
SHARES = (1.0, 0.87, 0.65, 0.47)
ENGINE_SECONDS = 60  # at most, for each run
# The build for AMX copies F16 weights into its own memory, and the addon has no --no-repack.
COPYING = "libggml-cpu-sapphirerapids.so"
PLACE = BUILD / "engines"


def skip(reason):
    print("SKIP llama.cpp: " + reason)
    sys.exit(77)


def fetch():
    """The engine's addon for node."""
    if platform.machine() not in PACKAGES:
        skip("it is not built for " + platform.machine())
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip(program + " is not installed")
    package, digest = PACKAGES[platform.machine()]
    directory = PLACE / ("%s-%s" % (package, VERSION))
    addon = directory / "package" / "bins" / package / "llama-addon.node"
    if addon.exists():
        addon.with_name(COPYING).unlink(missing_ok=True)
        return addon
    PLACE.mkdir(parents=True, exist_ok=True)
    name = "@node-llama-cpp/%s@%s" % (package, VERSION)
    try:
        done = subprocess.run(["npm", "pack", "--silent", "--fetch-retries=0",
                               "--fetch-timeout=20000", name], cwd=PLACE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=120)
    except subprocess.TimeoutExpired:
        skip("npm does not answer")
    if done.returncode != 0:
        skip("npm cannot fetch " + name)
    archive = PLACE / done.stdout.decode().split()[-1]
    if hashlib.sha512(archive.read_bytes()).digest() != base64.b64decode(digest):
        sys.exit("%s is not what it was" % name)
    partial = PLACE / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    archive.unlink()
    addon.with_name(COPYING).unlink(missing_ok=True)
    return addon


def weights():
    path = PLACE / "llama.gguf"
    if not path.exists():
        partial = path.with_suffix(".partial")
        generate_llama.write(partial, BLOCKS)
        partial.rename(path)
    return path


class Sampler:
    """Measures the maximum memory of the arena, every millisecond."""

    def __init__(self, daemon):
        self.fd = os.open(daemon.arena_path(), os.O_RDONLY)
        self.most, self.n, self.is_over = 0, 0, False
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.is_over:
            self.most = max(self.most, os.fstat(self.fd).st_blocks * 512)
            self.n += 1
            time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        os.close(self.fd)


def generate(*words, environment=None):
    """Returns the output of llama.js, and how much memory of its own it used."""
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               env=environment or clean_environment())
    anonymous = 0
    deadline = time.monotonic() + ENGINE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            text = pathlib.Path("/proc/%d/status" % process.pid).read_text()
            fields = dict(line.split(":", 1) for line in text.splitlines())
            anonymous = max(anonymous, int(fields.get("RssAnon", "0 kB").split()[0]) << 10)
        except (ProcessLookupError, FileNotFoundError):
            break
        time.sleep(0.05)
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
    out, err = process.communicate()
    if process.returncode != 0 or err:
        sys.exit("the engine ended with %s after %s:\n%s%s" % (
            process.returncode, words, out.decode(), err.decode()))
    result = json.loads(out)
    result["anonymous"] = anonymous
    return result


def milliseconds(result):
    """The median time of a token, without the first token."""
    later = sorted(result["milliseconds"][1:])
    return later[len(later) // 2]


def main():
    addon, model = fetch(), weights()
    command = ("node", HERE / "llama.js", addon, model, TOKENS)
    plain = generate(*command)
    print("plain mmap: %.0f ms a token, %d MiB of its own; tokens %s" % (
        milliseconds(plain), plain["anonymous"] >> 20, plain["tokens"]))
    if len(set(plain["tokens"])) < TOKENS // 2:
        sys.exit("the tokens say too little")
    failed = False
    for share in SHARES:
        with Daemon(capacity=round(model.stat().st_size * share) + (1 << 20), policy="lru",
                    log_level="warning") as daemon:
            capacity = daemon.stats()["arena"]["capacityBytes"]
            with Sampler(daemon) as sampler:
                viewed = generate(EMCTL, "exec", "--model=llama=%s" % model, "--", *command,
                                  environment=clean_environment(EDGEMIND_SOCKET=daemon.socket))
            scheduler = daemon.stats()["scheduler"]
        read, size = scheduler["bytesLoaded"], model.stat().st_size
        right = viewed["tokens"] == plain["tokens"]
        within = sampler.most <= capacity and sampler.n > 0
        # The engine has read them from the arena: each block was leased, and a block without room
        # had to be read again for each token.
        viewing = scheduler["hits"] >= BLOCKS if share == 1 else \
            read > size * (1 + (TOKENS - 1) * (1 - share) / 2)
        ok = right and within and viewing
        failed = failed or not ok
        print("%s  arena at %.2f of the weights: %.0f ms a token, %d MiB of its own, arena at most %d of "
              "%d KiB in %d samples, %d MiB read%s" % (
                  "ok    " if ok else "FAILED", share, milliseconds(viewed),
                  viewed["anonymous"] >> 20, sampler.most >> 10, capacity >> 10, sampler.n,
                  read >> 20, "" if right else "; tokens " + str(viewed["tokens"])))
    sys.exit(failed)


if __name__ == "__main__":
    main()
