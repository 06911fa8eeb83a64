"""libedgemind and emctl over restarts of the real daemon: a program keeps reading its layers, or
learns that they are lost."""
import os
import random
import signal
import subprocess
import unittest

import wire
from harness import EMCTL, MIB, PAGE, TIMEOUT, clean_environment, wait_until
from leasing import POLICIES, chosen_seed
from library_program import Failure, LibraryTestCase
from machine import proc_status
from scripted_daemon import ScriptedDaemon
from service_manager import Service


class RestartTestCase(LibraryTestCase):
    service = {}  # of the class

    def setUp(self):
        super().setUp()
        self.daemon = self.start_service(**{"capacity": "8M", **self.service})

    def start_service(self, **options):
        service = Service(**options)
        self.daemons.append(service)
        self.addCleanup(self.stop, service)
        return service

    def leased(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def restart_cold(self):
        """Restarts with another capacity, so that the daemon cannot keep the arena."""
        self.daemon.restart(capacity="6M")
        self.assertFalse(self.daemon.is_warm(), self.daemon.read_log())


class Warm(RestartTestCase):
    """Held layers stay in place, and a lease that is taken up no longer waits for another client:
    lease-grace is long."""

    service = {"lease_grace": "1h"}

    def assertGivenBack(self):
        wait_until(lambda: self.leased() == 0, "the layers to be given back")

    def test_layers(self):
        data = self.scatter()
        self.load_weights("m", [MIB])
        program = self.program()
        places = {0: program.acquire(0, "big", "b.0"), 1: program.acquire(1, "m", "b.0")}
        tensors = program.tensors(0)
        mappings = program.mappings()
        for slot in places:
            program.watch(slot)
        loaded = self.daemon.stats()["scheduler"]["bytesLoaded"]
        for with_signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            self.daemon.restart(with_signal)
            self.assertTrue(self.daemon.is_warm(), self.daemon.read_log())
            self.assertFails("ECONNRESET", program.check)
            program.acquire(2, "m", "b.0")
            program.check()
            program.release(2)
            self.assertEqual({slot: program.show(slot) for slot in places}, places)
            self.assertEqual(program.tensors(0), tensors)
            self.assertEqual(program.bytes(0), data)
            self.assertEqual(program.mappings(), mappings)
            self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], loaded)
        for slot in places:
            self.assertEqual(program.watched(slot)[1], "0")
            program.unwatch(slot)
            program.release(slot)
        self.assertGivenBack()

    def test_held_again(self):
        """The lease belongs to the program again, not to lease-grace."""
        self.load_weights("m", [MIB, MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.acquire(1, "m", "b.1")
        self.daemon.restart()
        self.assertFails("NotFound", program.acquire, 2, "m", "b.9")
        program.release(1)
        footprint = self.footprint("m")["b.0"]
        wait_until(lambda: self.leased() == footprint, "the other to be given back")
        program.check()
        with self.assertRaisesRegex(wire.VarlinkError, "Busy"):
            self.daemon.call("UnloadLayer", model="m", layer="b.0")
        program.release(0)
        self.assertGivenBack()

    def test_release_is_the_first_call(self):
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.daemon.restart()
        program.release(0)
        self.assertGivenBack()

    def test_runs(self):
        sizes = [MIB + 5, 2 * MIB, MIB, 3 * MIB, 512 << 10, MIB]
        for policy in POLICIES:
            self.daemon = self.start_service(capacity="10M", policy=policy)
            layers = self.load_weights("m", sizes)
            program = self.program()
            program.begin(0, "m")
            for step in range(2 * len(sizes) + 1):
                layer, index, passed, _ = program.next(0)
                self.assertEqual((int(index), int(passed)), (step % len(sizes), step // len(sizes)))
                program.watch(0)
                if step % 3 != 1:
                    self.daemon.restart()
                    self.assertTrue(self.daemon.is_warm(), self.daemon.read_log())
                self.assertEqual(program.watched(0)[1], "0")
                program.unwatch(0)
                self.assertEqual(program.bytes(0), layers[layer])
            program.end(0)
            self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 0)

    def test_run_larger_than_the_arena(self):
        """A layer can be evicted as soon as the run has taken it up and left it: lease-grace is
        long."""
        sizes = [2 * MIB] * 3
        self.daemon = self.start_service(capacity="4M", policy="next-use", lease_grace="1h")
        layers = self.load_weights("m", sizes)
        program = self.program()
        program.begin(0, "m")
        for step in range(5):
            layer, index, passed, _ = program.next(0)
            self.assertEqual((int(index), int(passed)), (step % 3, step // 3))
            self.assertEqual(program.bytes(0), layers[layer])
            if step in (0, 3):
                self.daemon.restart()
        program.end(0)

    def test_while_there_is_no_daemon(self):
        """A call that is made during the restart waits for the daemon."""
        for listening in (True, False):
            self.daemon = self.start_service(capacity="8M", listening=listening)
            layers = self.load_weights("m", [MIB, MIB])
            program = self.program()
            program.acquire(0, "m", "b.0")
            self.daemon.end()
            program.say("acquire", 1, "m", "b.1")
            self.daemon.start_again()
            program.hear()
            self.assertEqual(program.bytes(1), layers["b.1"])
            self.assertEqual(program.bytes(0), layers["b.0"])

    def test_killed_again_and_again(self):
        rng = random.Random(chosen_seed())
        data = self.load_weights("m", [MIB, 2 * MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.watch(0)
        for _ in range(20):
            program.say("acquire", 1, "m", "b.1")
            if rng.random() < 0.5:
                program.hear()
                self.daemon.restart()
            else:
                self.daemon.restart()
                program.hear()
            program.release(1)
        rounds, wrong = program.watched(0)
        self.assertEqual(wrong, "0")
        self.assertGreater(int(rounds), 0)
        self.assertEqual(program.bytes(0), data["b.0"])
        program.check()


class Lost(RestartTestCase):
    """Lost layers, and the calls that report them."""

    def test_cold_start(self):
        """Reads of a lost layer give zeros, calls report it, and no memory is taken twice."""
        data = self.scatter()
        self.load_weights("m", [MIB])
        program, idle = self.program(), self.program()
        program.acquire(0, "big", "b.0")
        program.acquire(1, "m", "b.0")
        idle.acquire(0, "m", "b.0")
        for slot in range(2):
            program.watch(slot)
        self.restart_cold()
        for slot in range(2):
            rounds, wrong = program.watched(slot)
            self.assertNotEqual(wrong, "0")
            program.unwatch(slot)
        self.assertEqual(program.bytes(0), bytes(len(data)))
        self.assertEqual(proc_status(program.pid)["RssShmem"], 0)
        for client in (program, idle):
            self.assertFails("ESTALE", client.check)
            failure = self.assertFails("ESTALE", client.acquire, 2, "m", "b.0")
            self.assertRegex(failure.text, "^layer b.0 of model (m|big) is lost: ")
        self.assertFails("ESTALE", idle.release, 0)
        self.assertFails("NotFound", program.reconnect)

        self.load_weights("big", [MIB * 7 // 2])
        again = self.load_weights("m", [MIB], seed=3)
        program.reconnect()
        program.check()
        self.assertEqual(program.bytes(0), data)
        self.assertEqual(program.bytes(1), again["b.0"])
        self.assertEqual(program.mappings(), ["r--s"])

    def test_cold_start_without_a_ledger(self):
        """The capacity is the same, the arena is not."""
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        program.watch(0)
        self.daemon.end()
        self.daemon.store.drop("ledger")
        self.daemon.start_again()
        self.assertFalse(self.daemon.is_warm())
        self.assertNotEqual(program.watched(0)[1], "0")
        again = self.load_weights("m", [MIB], seed=3)
        self.assertFails("ESTALE", program.acquire, 1, "m", "b.0")
        program.unwatch(0)
        program.reconnect()
        self.assertEqual(program.bytes(0), again["b.0"])

    def test_run(self):
        self.load_weights("m", [MIB, MIB, MIB])
        program = self.program()
        program.begin(0, "m")
        for _ in range(5):
            program.next(0)
        self.restart_cold()
        self.assertFails("ESTALE", program.next, 0)
        again = self.load_weights("m", [MIB, MIB, MIB], seed=4)
        self.assertFails("ESTALE", program.next, 0)
        program.reconnect()
        self.assertEqual(program.bytes(0), again["b.1"])  # the step can be done once more
        self.assertEqual(program.next(0)[:3], ["b.2", "2", "1"])
        self.assertEqual(program.next(0)[:3], ["b.0", "0", "2"])
        program.end(0)

    def test_grace_is_over(self):
        self.daemon = self.start_service(capacity="8M", lease_grace="0s")
        self.load_weights("m", [MIB, MIB])
        self.load_weights("n", [8 * MIB - PAGE])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.daemon.restart()
        wait_until(lambda: self.leased() == 0, "lease-grace to end")
        with self.daemon.connect() as other:
            other.call("Acquire", model="n", layer="b.0")
            self.assertIn("busy", self.assertFails("ESTALE", program.acquire, 1, "m", "b.1").text)
        self.assertFails("ESTALE", program.check)
        program.reconnect()
        program.check()
        self.assertEqual(self.daemon.call("List", model="m")["layers"][0]["state"], "resident")

    def test_evicted_and_loaded_again(self):
        """The layer has the same bytes at the same address, but it was evicted meanwhile."""
        self.daemon = self.start_service(capacity="8M", lease_grace="0s")
        self.load_weights("m", [MIB])
        program = self.program()
        program.acquire(0, "m", "b.0")
        self.daemon.restart()
        wait_until(lambda: self.leased() == 0, "lease-grace to end")
        self.daemon.call("UnloadLayer", model="m", layer="b.0")
        self.daemon.call("LoadLayer", model="m", layer="b.0")
        self.assertFails("ESTALE", program.release, 0)


class Commands(RestartTestCase):
    """emctl."""

    def start_command(self, *words):
        process = subprocess.Popen([str(EMCTL), *words], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))

        def end():
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.addCleanup(end)
        return process

    def test_cat(self):
        data = self.load_weights("m", [4 * MIB])["b.0"]
        for cold in (False, True):
            process = self.start_command("cat", "m", "b.0")
            first = os.read(process.stdout.fileno(), 1)  # now it has the lease
            if cold:
                self.restart_cold()
            else:
                self.daemon.restart()
            out, err = process.communicate(timeout=TIMEOUT)
            if cold:
                self.assertEqual(process.returncode, 1)
                self.assertRegex(err, b"^emctl: (cannot read the arena|layer b.0 of model m is lost)")
                self.assertEqual(err.count(b"\n"), 1)
            else:
                self.assertEqual((process.returncode, err), (0, b""))
                self.assertEqual(first + out, data)

    def hold(self, *layers):
        process = self.start_command("hold", "m", *layers, "--", "sh", "-c",
                                     "echo ready; cat; exit 5")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        return process

    def test_hold(self):
        for listening in (True, False):
            self.daemon = self.start_service(capacity="8M", lease_grace="0s", listening=listening)
            self.load_weights("m", [MIB, MIB, MIB])
            process = self.hold("b.0", "b.2")
            held = self.leased()
            for _ in range(3):
                self.daemon.restart()
                wait_until(lambda: self.leased() == held and
                           self.daemon.stats()["control"]["connections"] == 2, "the leases")
                with self.assertRaisesRegex(wire.VarlinkError, "Busy"):
                    self.daemon.call("UnloadLayer", model="m", layer="b.2")
            out, err = process.communicate(b"over\n", TIMEOUT)
            self.assertEqual((process.returncode, out, err), (5, b"over\n", b""))
            wait_until(lambda: self.leased() == 0, "the layers to be given back")

    def test_hold_lost(self):
        self.load_weights("m", [MIB])
        process = self.hold()
        self.restart_cold()
        self.assertIn(b"there is no model m", process.stderr.readline())
        self.assertIn(b"no longer held", process.stderr.readline())
        self.assertIsNone(process.poll())
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == 1, "it to hang up")
        self.assertEqual(process.communicate(b"", TIMEOUT), (b"", b""))
        self.assertEqual(process.returncode, 5)

    def test_signals_while_there_is_no_daemon(self):
        self.load_weights("m", [MIB])
        process = self.start_command("hold", "m", "--", "sh", "-c",
                                     "trap 'exit 7' TERM; echo ready; while :; do read x; done")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        self.daemon.end()
        process.terminate()
        self.assertEqual(process.communicate(b"\n", TIMEOUT), (b"", b""))
        self.assertEqual(process.returncode, 7)
        self.daemon.start_again()

    def test_nobody_comes_back(self):
        """After 10 s each program gives up in its own way. All are tested at once, because this
        takes long."""
        self.daemon = self.start_service(capacity="8M", listening=False)
        self.load_weights("m", [MIB])
        holding, program = self.hold(), self.program()
        program.acquire(0, "m", "b.0")
        with ScriptedDaemon(program.directory / "socket", lambda call: None) as gone:
            cat = self.start_command("--socket", gone.socket, "cat", "m", "b.0")
        self.daemon.end()
        program.say("acquire", 1, "m", "b.0")
        out, err = cat.communicate(timeout=TIMEOUT)
        self.assertEqual((cat.returncode, out), (3, b""))
        self.assertRegex(err, b"^emctl: no daemon at .*/socket: No such file or directory")
        self.assertEqual(err.count(b"\n"), 1)
        self.assertIn(b"no longer held", holding.stderr.readline())
        self.assertEqual(holding.communicate(b"", TIMEOUT), (b"", b""))
        self.assertEqual(holding.returncode, 5)
        with self.assertRaisesRegex(Failure, "^(ENOENT|ECONNREFUSED) - no daemon at "):
            program.hear()
        self.daemon.start_again()


if __name__ == "__main__":
    unittest.main()
