"""edgemind.py: connecting, calling, errors. All its tests run with NumPy and without."""
import json
import os
import pathlib
import pickle
import signal
import socket
import subprocess
import sys
import threading
import unittest

from harness import INTERFACES, MIB, TIMEOUT, run, sized_model, wait_until
from machine import NOBODY, group_of, needs_root
from python_client import ClientTestCase, edgemind, own_fds, own_mappings


class Connecting(ClientTestCase):
    options = {"capacity": "16M"}

    def test_where_the_daemon_is(self):
        """As for emctl: the variable, the system's, the user's own."""
        directory = self.directory()
        system, own = directory / "system", directory / "edgemind" / edgemind.MANAGER
        own.parent.mkdir()
        self.patch(edgemind, "SYSTEM_SOCKET", str(system))
        self.patch(os, "environ", {"XDG_RUNTIME_DIR": str(directory)})
        self.assertEqual(edgemind.find_socket(), str(system))
        own.touch()
        self.assertEqual(edgemind.find_socket(), str(own))
        system.touch()
        self.assertEqual(edgemind.find_socket(), str(system))
        os.environ["EDGEMIND_SOCKET"] = "else/where"
        self.assertEqual(edgemind.find_socket(), "else/where")
        os.environ["EDGEMIND_SOCKET"] = ""
        self.assertEqual(edgemind.find_socket(), str(system))
        system.unlink()
        del os.environ["XDG_RUNTIME_DIR"]
        self.assertEqual(edgemind.find_socket(), str(system))

    @needs_root
    def test_a_place_that_may_not_be_looked_at(self):
        """A path that this user may not see also counts: the daemon's refusal says more than a
        missing socket."""
        directory = self.directory()
        system = directory / "closed" / "system"
        system.parent.mkdir(mode=0o700)
        own = directory / "edgemind" / edgemind.MANAGER
        own.parent.mkdir()
        own.touch()
        directory.chmod(0o755)
        self.patch(edgemind, "SYSTEM_SOCKET", str(system))
        self.patch(os, "environ", {"XDG_RUNTIME_DIR": str(directory)})
        self.assertEqual(edgemind.find_socket(), str(own))
        os.seteuid(NOBODY)
        try:
            self.assertEqual(edgemind.find_socket(), str(system))
            with self.assertRaises(PermissionError):
                edgemind.Connection()
        finally:
            os.seteuid(0)

    def test_default_path(self):
        self.patch(os, "environ", {"EDGEMIND_SOCKET": str(self.daemon.socket)})
        with edgemind.Connection() as client:
            self.assertEqual(client.call("Stats")["daemon"]["pid"], self.daemon.pid)

    def test_nobody_there(self):
        n_fds = len(own_fds())
        with self.assertRaises(FileNotFoundError):
            edgemind.Connection(self.directory() / "nothing")
        deaf = self.directory() / "deaf"
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(deaf))
        with self.assertRaises(ConnectionRefusedError):
            edgemind.Connection(str(deaf))
        self.assertEqual(len(own_fds()), n_fds)

    def test_end(self):
        n_fds, n_mappings = len(own_fds()), len(own_mappings())
        with self.client() as client:
            client.call("LoadModel", definition=sized_model("m", MIB))
            lease, run_ = client.acquire("m", "l0"), client.run("m")
            layer = next(run_)
            views = [lease.data, layer.data]
            held = [lease, layer]
        for view in views:
            self.assertGone(view)
        for layer in held:
            self.assertTrue(layer.released)
            with self.assertRaises(ValueError):
                layer.data
            with self.assertRaises(ValueError):
                layer.tensors
        with self.assertRaises(ValueError):
            next(run_)
        lease.release()
        run_.end()
        client.close()
        with self.assertRaises(ConnectionError):
            client.call("Stats")
        self.assertEqual((len(own_fds()), len(own_mappings())), (n_fds, n_mappings))
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "the leases' end")

    def test_call(self):
        client = self.client()
        self.assertEqual(client.call("Stats")["arena"]["capacityBytes"], 16 * MIB)
        info = client.call("org.varlink.service.GetInfo")
        self.assertIn(edgemind.MANAGER, info["interfaces"])
        self.assertEqual(client.call("SetPolicy", policy="lru", onFull=None)["policy"], "lru")

    def test_calls_that_cannot_be_sent(self):
        client = self.client()
        for parameters in ({"definition": "x" * (64 << 10)}, {"definition": "\udcff"},
                           {"passes": float("nan")}):
            with self.assertRaises(ValueError):
                client.call("Plan", **parameters)
            client.call("Stats")

    def test_stream(self):
        client = self.client()
        client.call("LoadModel", definition=sized_model("m", *[1] * 1500))
        replies = list(client.stream("List", model="m"))
        self.assertGreater(len(replies), 1)
        self.assertEqual([layer["name"] for reply in replies for layer in reply["layers"]],
                         ["l%d" % i for i in range(1500)])
        client.call("Stats")

    def test_nothing_else_during_a_stream(self):
        client = self.client()
        lease = self.leased(client)
        events = client.stream("Watch")
        self.assertEqual(next(events)["events"], [])
        for use in (lambda: client.call("Stats"), lease.release,
                    lambda: next(client.stream("List"))):
            with self.assertRaises(RuntimeError):
                use()
        self.assertFalse(lease.released)
        self.daemon.call("SetPolicy", policy="lru")
        self.assertEqual(next(events)["events"][0]["event"], "policy-changed")
        events.close()
        self.assertTrue(lease.released)
        self.assertEnded(client)

    def leased(self, client):
        client.call("LoadModel", definition=sized_model("m", MIB))
        return client.acquire("m", "l0")

    def test_streams_that_end_early(self):
        """An error ends the stream, and so does the last reply, even if the caller does not
        continue."""
        client = self.client()
        with self.assertRaises(edgemind.InvalidDefinition):
            next(client.stream("LoadModel", definition="{}"))
        first, second = client.stream("List"), client.stream("Watch")
        next(first)
        next(second)
        first.close()
        self.daemon.call("SetPolicy", policy="lru")
        self.assertTrue(next(second)["events"])
        second.close()
        self.assertEnded(client)

    def test_timeout(self):
        client = self.client(timeout=0.05)
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            with self.assertRaises(socket.timeout):
                client.call("Stats")
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEnded(client)



class Errors(ClientTestCase):
    options = {"capacity": "4M"}

    def assertRefused(self, kind, function, *arguments, **named):
        """Calls, expects this error, and returns its parameters; the connection remains usable."""
        with self.assertRaises(kind) as caught:
            function(*arguments, **named)
        self.assertIs(type(caught.exception), kind)
        self.assertEqual(caught.exception.name.rpartition(".")[2], kind.__name__)
        return caught.exception.parameters

    def test_every_error_has_its_class(self):
        declared = {"%s.%s" % (name, error) for name, interface in INTERFACES.items()
                    for error in interface.errors}
        self.assertEqual(set(edgemind.ERRORS), declared)
        for kind in edgemind.ERRORS.values():
            self.assertTrue(issubclass(kind, edgemind.Error))
            self.assertIn(kind.__name__, edgemind.__all__)

    def test_errors(self):
        client = self.client()
        load = sized_model("m", MIB, 3 * MIB, MIB)
        found = self.assertRefused(edgemind.MustUnload, client.call, "LoadModel", definition=load,
                                   onFull="ask")
        self.assertEqual(found["victims"][0], {"model": "m", "layer": "l0", "bytes": MIB})
        self.assertRefused(edgemind.AlreadyLoaded, client.call, "LoadModel", definition=load)
        self.assertEqual(
            self.assertRefused(edgemind.NotFound, client.acquire, "m", "l7"),
            {"kind": "layer", "name": "l7"})
        self.assertEqual(self.assertRefused(edgemind.NotFound, client.acquire, "x", "l0"),
                         {"kind": "model", "name": "x"})
        self.assertEqual(self.assertRefused(edgemind.NotFound, client.run, "x"),
                         {"kind": "model", "name": "x"})
        found = self.assertRefused(edgemind.OutOfMemory, client.call, "LoadModel",
                                   definition=sized_model("big", 5 * MIB))
        self.assertEqual((found["requestedBytes"], found["capacityBytes"]), (5 * MIB, 4 * MIB))
        found = self.assertRefused(edgemind.InvalidDefinition, client.call, "LoadModel",
                                   definition="{\n?")
        self.assertEqual(found["line"], 2)
        self.assertEqual(self.assertRefused(edgemind.InvalidParameter, client.call, "Stats", x=1),
                         {"parameter": "x"})
        self.assertRefused(edgemind.MethodNotFound, client.call, "Nothing")
        self.assertRefused(edgemind.InterfaceNotFound, client.call, "org.nobody.Nothing")
        self.assertRefused(edgemind.ExpectedMore, client.call, "Watch")
        self.assertRefused(edgemind.InvalidParameter, client.acquire, "m", "l0", wait=61)
        self.assertRefused(edgemind.InvalidParameter, client.acquire, "m", "l0", wait=-1)
        client.call("Stats")

    @needs_root
    def test_permission_denied(self):
        member, gid = group_of()
        daemon = self.start(socket_group=member)
        groups = os.getgroups()
        os.setgroups([gid])
        os.seteuid(NOBODY)
        try:
            client = self.client(daemon)
        finally:
            os.seteuid(0)
            os.setgroups(groups)
        self.assertRefused(edgemind.PermissionDenied, client.call, "Reset")
        client.call("Stats")

    def test_text_and_pickle(self):
        error = edgemind.Busy(edgemind.MANAGER + ".Busy", {"leasesTotal": 2})
        self.assertEqual(str(error), 'Busy {"leasesTotal": 2}')
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(copy), copy.name, copy.parameters),
                         (edgemind.Busy, error.name, error.parameters))

    def served(self, *answers, early=b"", fds=()):
        """A client of a server that gives these answers, one per call, with these descriptors, and
        then closes the connection; or that gives the early answer before any call, and closes
        it."""
        path = self.directory() / "s"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()

        def serve():
            with listening, listening.accept()[0] as peer, peer.makefile("rb") as calls:
                if early:
                    peer.sendall(early)
                    return
                for answer in answers:
                    while calls.read(1) not in (b"\0", b""):
                        pass
                    socket.send_fds(peer, [answer], fds)
                peer.shutdown(socket.SHUT_WR)
                calls.read()  # until the client hangs up
        thread = threading.Thread(target=serve)
        self.addCleanup(thread.join)
        thread.start()
        client = edgemind.Connection(path)
        self.addCleanup(client.close)
        if early:
            thread.join()
        return client

    def test_refused_before_it_asks(self):
        """If the daemon sends a reply and hangs up, the client reports the reply."""
        client = self.served(early=b'{"error":"io.edgemind.manager.LimitExceeded"}\0')
        self.assertRaisesError(edgemind.LimitExceeded, client)
        self.assertRaisesError(ConnectionResetError, client)
        self.assertEnded(client)

    def test_descriptors_that_nobody_asked_for(self):
        with open(os.devnull, "rb") as file:
            client = self.served(b"{}\0", b"{}\0", b"?\0", fds=[file.fileno()])
            client.call("X")
            n_fds = len(own_fds())
            client.call("X")
            self.assertEqual(len(own_fds()), n_fds)
            self.assertRaisesError(ConnectionError, client)
            self.assertLess(len(own_fds()), n_fds)

    def test_an_error_of_another_version(self):
        client = self.served(b'{"error":"io.edgemind.manager.New","parameters":{"a":1}}\0',
                             b'{"error":"some.where.Busy"}\0', b"{}\0")
        found = self.assertRaisesError(edgemind.Error, client)
        self.assertEqual((found.name, found.parameters), ("io.edgemind.manager.New", {"a": 1}))
        self.assertEqual(self.assertRaisesError(edgemind.Error, client).parameters, {})
        self.assertEqual(client.call("X"), {})

    def assertRaisesError(self, kind, client):
        with self.assertRaises(kind) as caught:
            client.call("X")
        self.assertIs(type(caught.exception), kind)
        return caught.exception

    def test_replies_that_make_no_sense(self):
        for answer in (b"?\0", b"\xff\0", b"[]\0", b"\0", b'{"parameters":3}\0',
                       b'{"parameters":{"arenaFileDescriptor":0}}\0'):
            with self.subTest(answer=answer):
                client = self.served(answer)
                self.assertRaisesError(ConnectionError, client)
                self.assertEnded(client)

    def test_half_a_reply(self):
        client = self.served(b'{"para')
        self.assertRaisesError(ConnectionResetError, client)
        self.assertEnded(client)

    def test_replies_in_pieces_and_together(self):
        long = "x" * 1000000
        client = self.served(json.dumps({"parameters": {"a": long}}).encode() + b"\0",
                             b'{"continues":true,"parameters":{"a":1}}\0{"parameters":{"a":2}}\0')
        self.assertEqual(client.call("X"), {"a": long})
        self.assertEqual(list(client.stream("X")), [{"a": 1}, {"a": 2}])



@unittest.skipIf("TEST_NUMPY" in os.environ, "is the other run itself")
class OtherWayRound(unittest.TestCase):
    """All tests of edgemind.py, without NumPy if this Python has it, or with one that has."""

    def again(self, python, numpy):
        done = subprocess.run(
            [python, "-W", "error::ResourceWarning", "-m", "unittest", "discover",
             "-p", "test_python*.py"], cwd=pathlib.Path(__file__).parent, timeout=20 * TIMEOUT,
            env={**os.environ, "TEST_NUMPY": numpy}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"Ran [1-9]\d* tests")

    @unittest.skipUnless(edgemind.numpy, "this Python has no NumPy to leave out")
    def test_without_numpy(self):
        self.again(sys.executable, "no")

    @unittest.skipIf(edgemind.numpy, "this Python has NumPy")
    def test_with_numpy(self):
        python = "/usr/bin/python3"
        if not os.path.exists(python) or run(python, "-c", "import numpy").code != 0:
            self.skipTest("needs NumPy (package python3-numpy)")
        self.again(python, "yes")


if __name__ == "__main__":
    unittest.main()


if __name__ == "__main__":
    unittest.main()
