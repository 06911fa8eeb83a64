"""There is one copy, however many processes hold it, according to the kernel."""
import pathlib
import re
import unittest
import zlib

from harness import MIB, sanitized
from leasing import Leaser, LeaseTestCase, Process, write_model

LAYERS, LAYER_BYTES = 16, 16 * MIB
MODEL_BYTES = LAYERS * LAYER_BYTES


def arena_mapping():
    """{key: bytes} of this process's mapping of the arena."""
    entry, inside = {}, False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = "/memfd:" in line
        elif inside and line.endswith(" kB"):
            key, _, value = line.partition(":")
            entry[key] = entry.get(key, 0) + int(value.split()[0]) * 1024
    return entry


def rollup(pid):
    text = pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text()
    return int(re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE).group(1)) * 1024


def lease_all(pipe, daemon, checksums):
    with Leaser(daemon) as client:
        for layer, expected in checksums.items():
            reply = client.lease(model="m", layer=layer)
            found = 0
            for view in client.views(reply):  # touches every page
                found = zlib.crc32(view, found)
            assert found == expected, "wrong bytes of " + layer
        pipe.say()
        pipe.hear()  # everybody has touched everything
        pipe.say(arena_mapping())
        pipe.hear()


class OneCopy(LeaseTestCase):
    CLIENTS = 4

    def test_four_clients(self):
        daemon = self.daemon = self.start(capacity=MODEL_BYTES + LAYERS * 4096)
        path = self.directory() / "m"
        layers = write_model(path, [LAYER_BYTES] * LAYERS)
        checksums = {name: zlib.crc32(data) for name, data in layers.items()}
        del layers
        with self.client() as client:
            client.load_model(path, name="m")
        clients = [Process(self, lease_all, daemon, checksums) for _ in range(self.CLIENTS)]
        for client in clients:
            client.hear()
        for client in clients:
            client.say()
        mappings = [client.hear() for client in clients]
        daemon_bytes = daemon.arena_smaps()["Pss"] if sanitized() else rollup(daemon.pid)
        total = sum(mapping["Pss"] for mapping in mappings) + daemon_bytes
        print("%.3f copies" % (total / MODEL_BYTES))
        for mapping in mappings:
            self.assertGreaterEqual(mapping["Rss"], MODEL_BYTES)  # each one has it all
            self.assertEqual(mapping.get("Private_Dirty", 0) + mapping["Anonymous"], 0)
        self.assertGreaterEqual(total, MODEL_BYTES)
        self.assertLessEqual(total, 1.05 * MODEL_BYTES)
        self.assertEqual(daemon.stats()["arena"]["leasedBytes"],
                         sum(self.footprint("m").values()))
        for client in clients:
            client.say()
            client.end()


if __name__ == "__main__":
    unittest.main()
