"""The places of a layer's bytes: each piece in the arena and in its file, and the model of a
file."""
import os
import unittest

from harness import MIB, PAGE
from leasing import write_model
from service_manager import RestartTestCase
from weight_files import generate

BLOCK = 4096


class Pieces(RestartTestCase):
    def assertExact(self, client, reply, files):
        """Every block that has a part of a piece equals that of the file, and the pieces make up
        the layer."""
        self.assertEqual(len(client.read(reply)), reply["bytes"])
        for piece in reply["pieces"]:
            self.assertEqual(piece["offset"] % BLOCK, piece["fileOffset"] % BLOCK)
            shift = piece["fileOffset"] % BLOCK
            length = -(-(piece["length"] + shift) // BLOCK) * BLOCK
            data = os.pread(files[piece["source"]], length, piece["fileOffset"] - shift)
            begin = piece["offset"] - shift
            self.assertEqual(bytes(client.arena[begin:begin + length]), data.ljust(length, b"\0"))

    def open(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return fd

    def find(self, client, fd):
        """FindModel's name, source, and {layer: [(file offset, length)]}."""
        replies = list(client.stream("FindModel", {"fileDescriptor": 0}, [fd]))
        names = {(reply["model"], reply["source"]) for reply, _ in replies}
        self.assertEqual(len(names), 1)
        found = {}
        for reply, _ in replies:
            for piece in reply["pieces"]:
                found.setdefault(piece["layer"], []).append((piece["fileOffset"], piece["length"]))
        return (*names.pop(), found)

    def test_exact_blocks(self):
        """Pieces have odd offsets, and are split where other layers are in the arena."""
        self.daemon = self.start(capacity="8M")
        small = self.load_weights("small", [MIB] * 7)
        path = self.directory() / "large"
        write_model(path, [3 * MIB + 5, 77, 4095])
        holder, client = self.client(), self.client()
        leases = [holder.lease(model="small", layer=name) for name in list(small)[1::2]]
        self.daemon.call("UnloadLayer", model="small", layer="b.0")
        client.load_model(path, name="large")
        for layer, n_pieces in (("b.0", 3), ("b.1", 1), ("b.2", 1)):
            reply = client.lease(model="large", layer=layer)
            self.assertGreaterEqual(len(reply["pieces"]), n_pieces)
            self.assertEqual(sum(p["length"] for p in reply["pieces"]), reply["bytes"])
            self.assertExact(client, reply, [self.open(path)])
            client.release(reply)
        self.assertEqual(len(leases), 3)

    def test_runs_and_shards(self):
        """Next returns the same pieces as Acquire; each file leads to the model, with only the
        pieces of that file."""
        self.daemon = self.start(capacity="8M")
        directory = self.directory()
        tensors = [generate.Tensor("b.%d.%s" % (i, part), "I8", (100_000 + i,))
                   for i in range(6) for part in "vw"]
        generate.write_sharded(directory, tensors, shards=2)
        shards = sorted(path.name for path in directory.glob("*.safetensors"))
        client = self.client()
        client.load_model(directory / "model.safetensors.index.json", shards, name="sharded")
        files = [self.open(directory / name) for name in shards]
        found = [self.find(client, fd) for fd in files]
        self.assertEqual([(model, source) for model, source, _ in found],
                         [("sharded", 0), ("sharded", 1)])
        run = client.call("BeginRun", model="sharded")["run"]
        for _ in range(6):
            reply = client.lease("Next", run=run)
            self.assertExact(client, reply, files)
            for source in range(2):
                own = [(p["fileOffset"], p["length"]) for p in reply["pieces"]
                       if p["source"] == source]
                self.assertEqual(own, found[source][2].get(reply["layer"], []))

    def test_no_weights(self):
        self.daemon = self.start(capacity="8M")
        self.daemon.load('{"name": "sized", "layers": [{"name": "l", "bytes": 5000}]}')
        self.assertEqual(self.client().lease(model="sized", layer="l")["pieces"], [])

    def test_which_file(self):
        """Only the file itself counts, not an equal one. A new name is a change, as for the
        loader."""
        self.daemon = self.start(capacity="8M")
        path, other = self.directory() / "model", self.directory() / "other"
        write_model(path, [MIB, PAGE])
        write_model(other, [MIB, PAGE])
        at = path.stat().st_size - MIB - PAGE
        client = self.client()
        client.load_model(path, name="m")
        n_fds = self.daemon.n_fds()
        self.assertVarlinkError("NotFound", self.find, client, self.open(other))
        self.assertVarlinkError("org.varlink.service.ExpectedMore", client.call, "FindModel",
                                {"fileDescriptor": 0}, [self.open(path)])
        self.assertVarlinkError("org.varlink.service.InvalidParameter", list,
                                client.stream("FindModel", {"fileDescriptor": 1},
                                              [self.open(path)]))
        self.assertEqual(self.find(client, self.open(path)),
                         ("m", 0, {"b.0": [(at, MIB)], "b.1": [(at + MIB, PAGE)]}))
        os.rename(path, path.with_name("renamed"))
        path = path.with_name("renamed")
        self.assertVarlinkError("SourceChanged", self.find, client, self.open(path))
        with open(path, "r+b") as file:
            file.write(b"changed")
        self.assertVarlinkError("SourceChanged", self.find, client, self.open(path))
        self.assertFds(n_fds)

    def test_many_pieces(self):
        """More pieces than fit into one reply."""
        self.daemon = self.start(capacity="16M")
        path = self.directory() / "many"
        write_model(path, [1] * 2500)
        client = self.client()
        client.load_model(path, name="many")
        _, _, found = self.find(client, self.open(path))
        self.assertEqual(len(found), 2500)

    def test_restart(self):
        """A daemon that took over its predecessor's models knows their files."""
        service = self.service(capacity="8M")
        path = self.directory() / "model"
        write_model(path, [MIB])
        self.client(service).load_model(path, name="m")
        service.restart()
        self.assertEqual(self.find(self.client(service), self.open(path))[0], "m")


if __name__ == "__main__":
    unittest.main()
