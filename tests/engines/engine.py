#!/usr/bin/env python3
"""Gets an unmodified prebuilt llama.cpp, and a weight file for it. The engine comes from the npm
package node-llama-cpp; nothing else is downloaded. Both stay in BUILD/engines.
    tests/engines/engine.py BUILD [moe]
With moe the weights are a mixture of experts. Prints the path of the addon for node and of the weight file. Exits with 77, after a line that says
why, if the engine cannot be downloaded."""
import base64
import hashlib
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile

import generate_llama
import generate_moe

VERSION = "3.22.1"
PACKAGES = {
    "x86_64": ("linux-x64", "5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="),
    "aarch64": ("linux-arm64", "W+7naKCXX9/eEjjFmRS8vvx91QyLXDbeFxexZc3bh/PtQABZgmRL3C0AtYYXn4YGTj/3Qor4lWZn2tpjZFPLdQ=="),
}
BLOCKS = 12
MIXTURE = 12, 64  # blocks, experts of each
# The build for AMX copies F16 weights into its own memory, and the addon has no --no-repack.
COPYING = "libggml-cpu-sapphirerapids.so"


def skip(reason):
    print("SKIP llama.cpp: " + reason)
    sys.exit(77)


def download(package, digest, directory):
    """Unpacks the package as the directory."""
    place = directory.parent
    place.mkdir(parents=True, exist_ok=True)
    name = "@node-llama-cpp/%s@%s" % (package, VERSION)
    try:
        done = subprocess.run(["npm", "pack", "--silent", "--fetch-retries=0",
                               "--fetch-timeout=20000", name], cwd=place, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=120)
    except subprocess.TimeoutExpired:
        skip("npm does not answer")
    if done.returncode != 0:
        skip("npm cannot fetch " + name)
    archive = place / done.stdout.decode().split()[-1]
    if hashlib.sha512(archive.read_bytes()).digest() != base64.b64decode(digest):
        sys.exit("%s is not what it was" % name)
    partial = place / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    archive.unlink()


def fetch(place):
    """The engine's addon for node."""
    if platform.machine() not in PACKAGES:
        skip("it is not built for " + platform.machine())
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip(program + " is not installed")
    package, digest = PACKAGES[platform.machine()]
    directory = place / ("%s-%s" % (package, VERSION))
    addon = directory / "package" / "bins" / package / "llama-addon.node"
    if not addon.exists():
        download(package, digest, directory)
    addon.with_name(COPYING).unlink(missing_ok=True)
    return addon


def weights(place):
    path = place / "llama.gguf"
    if not path.exists():
        partial = path.with_suffix(".partial")
        generate_llama.write(partial, BLOCKS)
        partial.rename(path)
    return path


def mixture(place):
    path = place / "moe.gguf"
    if not path.exists() or path.stat().st_mtime < pathlib.Path(generate_moe.__file__).stat().st_mtime:
        partial = path.with_suffix(".partial")
        generate_moe.write(partial, *MIXTURE)
        partial.rename(path)
    return path


def command(place, n_tokens, n_threads=2):
    """The words that run it. Its threads spin while they wait for each other."""
    return ("node", pathlib.Path(__file__).with_name("llama.js"), fetch(place), weights(place),
            n_tokens, n_threads)


def main():
    place = pathlib.Path(sys.argv[1]).resolve() / "engines"
    addon = fetch(place)
    print(addon, mixture(place) if sys.argv[2:] == ["moe"] else weights(place))


if __name__ == "__main__":
    main()
