"""edgemind.py after a fork: in the child the parent's objects raise exceptions, and in the parent
they still work."""
import multiprocessing
import os
import signal
import sys
import traceback

from harness import MIB, wait_until
from python_client import ClientTestCase, edgemind


class Fork(ClientTestCase):
    options = {"capacity": "16M"}

    def setUp(self):
        super().setUp()
        self.parent = self.client()
        self.layers = self.load(self.parent, "m", MIB, MIB)

    def forked(self, function):
        """The status of a child that ran the function as a program would."""
        pid = os.fork()
        if pid == 0:
            try:
                function()
                os._exit(0)
            except SystemExit as end:
                os._exit(end.code)
            except BaseException:
                traceback.print_exc()
            os._exit(99)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def assertHeld(self):
        self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m",
                                layer="model.layers.0")

    def test_sys_exit_in_a_with(self):
        """The child leaves the `with` blocks of the parent; the parent's lease and run stay."""
        with self.parent.acquire("m", "model.layers.0") as layer, self.parent.run("m") as run:
            next(run)
            pid = os.fork()
            if pid == 0:
                try:
                    with self.parent, layer, run:
                        sys.exit(7)
                except SystemExit as end:
                    os._exit(end.code)
                os._exit(98)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 7)
            self.assertHeld()
            self.assertEqual(bytes(layer.data), self.layers[0])
            self.assertEqual(next(run).index, 1)

    def test_every_use_raises(self):
        layer, run = self.parent.acquire("m", "model.layers.0"), self.parent.run("m")
        view = layer.data
        stream = self.parent.stream("Watch")
        next(stream)

        def use():
            for call in (lambda: self.parent.call("Stats"), lambda: self.parent.acquire("m", "x"),
                         lambda: self.parent.run("m"), lambda: next(run), run.end, layer.release,
                         lambda: layer.data, lambda: layer.tensors, lambda: next(stream),
                         lambda: self.parent.load_model(__file__)):
                with self.assertRaises(ChildProcessError):
                    call()
            self.parent.close()
            self.assertEqual(bytes(view), self.layers[0])
            with edgemind.Connection(self.daemon.socket) as own:
                own.call("Stats")

        self.assertEqual(self.forked(use), 0)
        self.assertHeld()

    def test_a_fork_that_python_does_not_see(self):
        """The process id also shows that this is a child."""
        layer = self.parent.acquire("m", "model.layers.0")
        self.patch(self.parent, "_process", os.getpid() + 1)
        with self.assertRaises(ChildProcessError):
            layer.release()
        self.parent._process = os.getpid()
        layer.release()

    def test_workers_that_share_a_connection(self):
        """As with gunicorn --preload: no process gets the reply to another."""
        context = multiprocessing.get_context("fork")

        def work(queue):
            wrong = 0
            for i in range(50):
                try:
                    with self.parent.acquire("m", "model.layers.%d" % (i % 2)) as layer:
                        wrong += bytes(layer.data) != self.layers[i % 2]
                        wrong += 1  # it must not get here
                except ChildProcessError:
                    pass
            with edgemind.Connection(self.daemon.socket) as own:
                for i in range(50):
                    with own.acquire("m", "model.layers.%d" % (i % 2)) as layer:
                        wrong += bytes(layer.data) != self.layers[i % 2]
            queue.put(wrong)

        queue = context.SimpleQueue()
        workers = [context.Process(target=work, args=(queue,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for i in range(50):
            with self.parent.acquire("m", "model.layers.%d" % (i % 2)) as layer:
                self.assertEqual(bytes(layer.data), self.layers[i % 2])
        for worker in workers:
            worker.join(60)
            self.assertEqual(worker.exitcode, 0)
        self.assertEqual([queue.get() for _ in workers], [0] * 4)

    def test_a_lease_ends_with_its_process(self):
        """If the process that holds a layer dies, its child does not keep the layer."""
        before = self.daemon.stats()["control"]["connections"]
        reader, writer = os.pipe()
        holder = os.fork()
        if holder == 0:
            own = edgemind.Connection(self.daemon.socket)
            own.acquire("m", "model.layers.0")
            child = os.fork()
            if child == 0:
                signal.pause()
            os.write(writer, b"%d" % child)
            os._exit(0)
        os.waitpid(holder, 0)
        child = int(os.read(reader, 16))
        self.addCleanup(os.kill, child, signal.SIGKILL)
        os.close(reader)
        os.close(writer)
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == before, "its end")
        self.daemon.call("UnloadLayer", model="m", layer="model.layers.0")


if __name__ == "__main__":
    import unittest
    unittest.main()
