"""Leases of units through libedgemind and emctl, and over a restart of the daemon."""
import json
import os
import subprocess
import unittest

from harness import EMCTL, MIB
from library_program import LibraryTestCase
from service_manager import Reader, RestartTestCase
from test_leases_units import NAMES, NARROW, WIDE, Mixture, write_mixture


def slices(weights, block, units):
    """The bytes of these experts."""
    return b"".join(weights["blk.%d.ffn_%s_exps.weight" % (block, name)][unit * size:(unit + 1) * size]
                    for unit in units for name, size in NAMES)


class Library(Mixture, LibraryTestCase):
    def test_units(self):
        program = self.program()
        name, size, data = program.units(0, "m", "blk.1", "5,1")
        self.assertEqual((name, data), ("blk.1", "0"))
        self.assertGreaterEqual(int(size), 2 * (2 * WIDE + NARROW))
        self.assertEqual(program.tensors(0)[0], "blk.1.ffn_gate_exps.weight[5]")
        self.assertEqual(program.bytes(0), slices(self.weights, 1, [5, 1]))
        self.assertEqual(program.mappings(), ["r--s"])
        self.assertFails("NotFound", program.units, 1, "m", "blk.1", "5,8")
        failure = self.assertFails("NotFound", program.units, 1, "m", "blk.1:1", "5")
        self.assertIn("layer blk.1:1 of model m has no units", failure.text)
        failure = self.assertFails("NotFound", program.units, 1, "m", "blk.1", "5,8")
        self.assertIn("layer blk.1 of model m has no unit 8: it has 8, counted from 0", failure.text)
        failure = self.assertFails("InvalidParameter", program.units, 1, "m", "blk.1", "5,6,5")
        self.assertIn("units[2]", failure.text)
        self.give_back(program, 0)
        self.assertEqual(self.leased_bytes(), 0)

    def test_another_connection(self):
        program = self.program()
        program.units(0, "m", "blk.1", "6,2")
        leased = self.leased_bytes()
        program.reconnect()
        program.check()
        self.assertEqual(self.leased_bytes(), leased)
        self.assertEqual(program.bytes(0), slices(self.weights, 1, [6, 2]))
        self.give_back(program, 0)
        self.assertEqual(self.leased_bytes(), 0)


class Emctl(Mixture):
    def test_cat(self):
        for units in ("5,1", "3"):
            path = self.directory() / "weights"
            with open(path, "wb") as out:
                self.assertEqual(subprocess.run([EMCTL, "--socket", self.daemon.socket, "cat", "m", "blk.1",
                                                 "--unit=" + units], stdout=out).returncode, 0)
            self.assertEqual(path.read_bytes(), slices(self.weights, 1, map(int, units.split(","))))
        self.assertEqual(self.leased_bytes(), 0)
        name = "blk.1.ffn_up_exps.weight"
        self.assertExit(7, self.daemon.emctl("cat", "m", "blk.1", name + "[4]", "--unit=5"))

    def test_hold(self):
        def held(*words):
            command = (EMCTL, "--socket", self.daemon.socket, "stats", "--json")
            return json.loads(self.assertExit(0, self.daemon.emctl("hold", *words, "--", *command)).out)["arena"]
        pages = self.footprint("m")
        self.assertEqual(held("--unit=1,5", "m", "blk.0")["leasedBytes"], pages["blk.0:u1"] + pages["blk.0:u5"])
        self.assertEqual(held("--unit=2", "m", "blk.0", "blk.2")["leasedBytes"],
                         pages["blk.0:u2"] + pages["blk.2:u2"])
        self.assertEqual(self.leased_bytes(), 0)

    def test_refusals(self):
        for code, text, words in (
                (7, "layer blk.0 of model m has no unit 8: it has 8, counted from 0. 'emctl list m'", ["--unit=1,8"]),
                (2, "'1,1' is no value for --unit", ["--unit=1,1"]), (2, "needs a value", ["--unit"])):
            result = self.assertExit(code, self.daemon.emctl("cat", "m", "blk.0", *words))
            self.assertIn(text, result.err)
        result = self.assertExit(7, self.daemon.emctl("hold", "--unit=1", "m", "blk.0:1", "--", "true"))
        self.assertIn("layer blk.0:1 of model m has no units. Units are there", result.err)
        self.assertIn("needs LAYER", self.assertExit(2, self.daemon.emctl("hold", "--unit=1", "m", "--", "true")).err)
        self.assertExit(2, self.daemon.emctl("list", "m", "--unit=1"))


class Restarted(RestartTestCase, LibraryTestCase):
    def test_a_program(self):
        """It still holds its units; and it learns that one of them has been loaded again."""
        path = self.directory() / "moe"
        self.daemon = self.service(capacity="8M", policy="lru", lease_grace="60s")
        write_mixture(path)
        with Reader(self.daemon) as client:
            client.load_model(path, name="m", unitBytes=8 * MIB)
        program = self.program()
        program.units(0, "m", "blk.1", "6,2")
        before = program.bytes(0)
        self.daemon.restart()
        self.assertWarm(self.daemon)
        program.acquire(1, "m", "blk.0:1")
        self.assertEqual(self.holders(), [("blk.0:1", program.pid), ("blk.1:u2", program.pid),
                                          ("blk.1:u6", program.pid)])
        self.assertEqual(program.bytes(0), before)
        for slot in 0, 1:
            program.release(slot)

    def test_taken_up_again(self):
        """With the `fill` of the lease, each of its units is taken up."""
        self.daemon = self.service(capacity="8M", policy="lru", lease_grace="60s")
        path = self.directory() / "moe"
        write_mixture(path)
        with Reader(self.daemon) as client:
            client.load_model(path, name="m", unitBytes=8 * MIB)
        client = Reader(self.daemon)
        self.addCleanup(client.close)
        lease = client.lease(model="m", layer="blk.1", units=[6, 2])
        self.daemon.restart()
        self.assertWarm(self.daemon)
        held = sorted(["blk.1:u2", "blk.1:u6"])
        self.assertEqual(self.holders(), [(layer, None) for layer in held])
        with Reader(self.daemon) as other:
            other.release(other.lease(model="m", layer="blk.1", units=[6, 2], fill=lease["fill"] + 1))
            self.assertEqual(self.holders(), [(layer, None) for layer in held])
            again = other.lease(model="m", layer="blk.1", units=[6, 2], fill=lease["fill"])
            of_connection = {"lease": None, "arenaFileDescriptor": None}
            self.assertEqual({**again, **of_connection}, {**lease, **of_connection})
            self.assertEqual(self.holders(), [(layer, os.getpid()) for layer in held])
            other.release(again)
            self.daemon.call("Reset")

    def holders(self):
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        return sorted((held["layer"], held.get("pid")) for held in busy["leases"])


if __name__ == "__main__":
    unittest.main()
