"""What is kept when a start fails temporarily, and what remains after a final stop."""
import os
import signal
import socket
import unittest

from harness import MIB, wait_until
from leasing import write_model
from service_manager import Reader, RestartTestCase


def is_ready(daemon):
    """Waits until the start has succeeded or failed. Returns whether it succeeded."""
    wait_until(lambda: daemon.process.poll() is not None or
               daemon.notifications.wait("READY=1", 0.05), "the start or its failure")
    return daemon.process.poll() is None


class Passing(RestartTestCase):
    """A temporary failure ends the start, and the next start is warm."""

    def test_too_many_sockets(self):
        """It takes up to 16 sockets. With one more it refuses to start, and says so."""
        self.daemon = self.service(capacity="4M")
        for _ in range(15):
            passed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(passed.close)
            passed.bind("")  # a name of the kernel's choice
            passed.listen(1)
            self.daemon.store.add("more", passed.fileno())
        self.daemon.restart()
        self.assertWarm(self.daemon)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.bind("")
            last.listen(1)
            self.daemon.store.add("more", last.fileno())
            self.daemon.end()
            self.daemon.start_again(ready=False)
            self.assertFalse(is_ready(self.daemon))
        self.assertGreater(self.daemon.process.returncode, 0)
        self.assertIn("cannot use what the service manager passed: Too many open files", self.daemon.read_log())
        self.daemon.store.drop("more")
        self.daemon.start_again()
        self.assertWarm(self.daemon)

    def test_too_few_descriptors(self):
        """Any of the descriptors cannot be opened."""
        self.daemon = self.service(capacity="4M")
        path = self.directory() / "weights"
        layers = write_model(path, [MIB] * 3, seed=5)
        with Reader(self.daemon) as client:
            client.load_model(path, name="m")
        stored = sorted(self.daemon.store.names())
        n_refused = n_warm = 0
        for limit in range(6, 40):
            self.daemon.end()
            prefix = ["prlimit", "--nofile=%d" % limit]
            environment, process, _, options = self.daemon.given
            self.daemon.given = environment, process, prefix, options
            self.daemon.start_again(ready=False)
            self.daemon.given = environment, process, [], options
            if is_ready(self.daemon):
                self.assertWarm(self.daemon)
                n_warm += 1
                if n_warm == 3:
                    break
                continue
            n_refused += 1
            self.daemon.settle()
            log = self.daemon.read_log()
            self.assertNotIn("a cold start", log)
            self.assertEqual(sorted(self.daemon.store.names()), stored, log)
            self.daemon.start_again()
            self.assertWarm(self.daemon)
            self.assertBytes(self.daemon, "m", layers)
        self.assertGreater(n_refused, 3)
        self.assertEqual(n_warm, 3)


class CleanStop(RestartTestCase):
    def test_leaves_nothing_to_who_keeps_a_mapping(self):
        """Otherwise each stop and start of the daemon would take the memory of another arena."""
        daemon = self.service(store_max=None, capacity="4M")
        path = self.directory() / "weights"
        write_model(path, [MIB] * 3, seed=6)
        client = Reader(daemon)
        self.addCleanup(client.close)
        client.load_model(path, name="m")
        reply = client.lease(model="m", layer=sorted(self.layers_of(daemon))[0])
        fd = os.dup(client.fds[reply["arenaFileDescriptor"]])
        self.addCleanup(os.close, fd)
        self.assertEqual(os.fstat(fd).st_blocks * 512, 4 * MIB)
        daemon.end(signal.SIGTERM)
        self.assertEqual((os.fstat(fd).st_size, os.fstat(fd).st_blocks), (0, 0))

    def layers_of(self, daemon):
        return [layer["name"] for layer in daemon.call("List", model="m")["layers"]]


if __name__ == "__main__":
    unittest.main()
