"""Weight files that cannot be read, or only slowly: strace makes system calls fail."""
import os
import select
import shutil
import subprocess
import unittest

from harness import MIB, TIMEOUT, wait_until
from hostile_weights import HostileTestCase
from weight_files import generate
import wire

N_READS = 8  # at most, of a layer of 3 MiB or of a header


class Faults(HostileTestCase):
    """Failing reads: a tracer makes reads of one file fail."""

    options = {"capacity": "20M", "io": "direct"}

    def setUp(self):
        if not shutil.which("strace"):
            self.skipTest("needs strace")
        super().setUp()
        self.path = self.files / "w"
        tensors = generate.model("safetensors", blocks=3, block_bytes=3 * MIB)
        self.placed = generate.write_safetensors(str(self.path), tensors)

    def inject(self, what):
        """Attaches a tracer that injects `what` into reads of the file; returns how to end it."""
        log = self.files / "strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-p", str(self.daemon.pid), "-P", str(self.path), "-o", str(log),
             "-e", "trace=pread64", "-e", "inject=pread64:" + what],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        def end():
            if tracer.poll() is None:
                tracer.terminate()
            tracer.wait(TIMEOUT)
            tracer.stderr.close()
        self.addCleanup(end)
        said = b""
        while b" attached" not in said:  # to every thread
            line = tracer.stderr.readline()
            if not line:
                self.skipTest("cannot trace: " + said.decode().strip())
            said += line
        return end

    def test_reads_that_fail(self):
        self.c.load_model(self.path, name="m")
        self.c.call("UnloadLayer", model="m", layer="model.layers.1")
        for name in ("EIO", "ENOSPC", "EACCES", "ENOMEM"):
            end = self.inject("error=%s:when=1" % name)
            for method in ("LoadLayer", "Acquire"):
                with self.assertRaises(wire.VarlinkError) as caught:
                    # Each thread's first read fails: a call a thread, at most.
                    for _ in range(2):
                        self.c.call(method, model="m", layer="model.layers.1")
                        self.c.call("UnloadLayer", model="m", layer="model.layers.1")
                if method == "LoadLayer":
                    self.assertEqual(caught.exception.error, "IOFailed")
                    self.assertEqual(caught.exception.parameters["errnoName"], name)
                break
            states = {layer["name"]: layer["state"]
                      for layer in self.c.call("List", model="m")["layers"]}
            self.assertEqual(states.pop("model.layers.1"), "absent")
            self.assertEqual(set(states.values()), {"resident"})
            end()
            self.assertEqual(self.daemon.stats()["scheduler"]["layersLoading"], 0)
            self.assertFalse(self.c.call("LoadLayer", model="m", layer="model.layers.1")["hit"])
            self.assertBytes(self.c, "m", self.placed)
            self.c.call("UnloadLayer", model="m", layer="model.layers.1")
        self.c.call("UnloadModel", model="m")

    def test_always(self):
        """A read fails during LoadModel: layers that are loaded stay, the others are absent, the
        model stays."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EIO")
        for layer in self.c.call("List", model="m")["layers"]:
            for method in ("LoadLayer", "Acquire"):
                found = self.assertVarlinkError("IOFailed", self.c.call, method, model="m",
                                                layer=layer["name"])
                self.assertEqual(found["errnoName"], "EIO")
        self.assertEqual({layer["state"] for layer in self.c.call("List", model="m")["layers"]},
                         {"absent"})
        self.refuse_fd_of_path("IOFailed")  # nor can the header be read
        end()
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def test_a_replacement_whose_layers_cannot_be_read(self):
        """The old model is known again and whole; a client that uses the new one keeps that."""
        known = self.files / "known"
        placed = generate.write_safetensors(str(known), generate.model("safetensors", blocks=2,
                                                                       block_bytes=MIB))
        self.path.unlink()
        generate.write_safetensors(str(self.path), generate.model(
            "safetensors", blocks=1, block_bytes=2 * N_READS * MIB))
        self.c.load_model(known, name="m")
        end = self.inject("error=EIO:when=%d+" % (N_READS + 1))  # not the header's reads
        for load in (lambda: self.assertVarlinkError("IOFailed", self.c.load_model, self.path,
                                                     name="m", replace=True),
                     lambda: self.assertExit(1, self.daemon.emctl("load-model", self.path,
                                                                  "--name=m", "--replace"))):
            load()
            self.assertBytes(self.c, "m", placed)
        end()

        end = self.inject("error=EIO:delay_enter=1000000:when=%d+" % (N_READS + 1))
        loads = self.client()
        with open(self.path, "rb") as file:
            loads.send_call("LoadModel", {"definitionFileDescriptor": 0, "name": "m", "replace": True},
                            [file.fileno()])
        wait_until(lambda: len(self.c.call("List", model="m")["layers"]) == 4, "the new model")
        with self.c.leased("m", "model.embed_tokens"):
            self.assertVarlinkError("IOFailed", loads.result, "LoadModel")
            self.assertEqual(len(self.c.call("List", model="m")["layers"]), 4)
        end()
        self.c.call("UnloadModel", model="m")

    def refuse_fd_of_path(self, *errors):
        with open(self.path, "rb") as file:
            self.refuse_fd(file.fileno(), *errors)

    def test_direct_reads_that_are_refused(self):
        """EINVAL, as from a disk with larger blocks, met by all threads at once: then buffered."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EINVAL:when=1")
        for layer in self.c.call("List", model="m")["layers"]:
            self.c.call("LoadLayer", model="m", layer=layer["name"])
        end()
        self.assertFalse(self.source_flags(self.path) & os.O_DIRECT)
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def test_interrupted_reads(self):
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("error=EINTR:when=1+2")
        for layer in self.c.call("List", model="m")["layers"]:
            self.c.call("LoadLayer", model="m", layer=layer["name"])
        end()
        self.assertBytes(self.c, "m", self.placed)
        self.c.call("UnloadModel", model="m")

    def test_slow_reads(self):
        """A slow disk delays no other client."""
        self.c.load_model(self.path, name="m")
        self.c.call("Reset")
        end = self.inject("delay_enter=200000")
        slow = self.client()

        def load():
            self.c.call("UnloadLayer", model="m", layer="model.layers.0")
            slow.send_call("LoadLayer", {"model": "m", "layer": "model.layers.0"})

        def plan():  # which reads the header
            with open(self.path, "rb") as file:
                slow.send_call("Plan", {"definitionFileDescriptor": 0, "name": "bad"},
                               [file.fileno()])

        for begin, method in ((load, "LoadLayer"), (plan, "Plan")):
            with self.subTest(method=method):
                n = []

                def others_are_served():
                    """If they were delayed, there would be few of them between two reads."""
                    begin()
                    n.append(0)
                    while not select.select([slow.socket], [], [], 0)[0]:
                        self.c.call("Stats")
                        n[-1] += 1
                    slow.result(method)
                    return sum(max(0, one - N_READS) for one in n) > 50
                wait_until(others_are_served, "answers during slow reads")
        end()
        self.c.call("UnloadModel", model="m")


if __name__ == "__main__":
    unittest.main()
