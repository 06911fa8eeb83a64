"""Varlink programs of others: a generator for the interface file, and the public certification of
the server and of the client library."""
import shutil
import socket
import subprocess
import unittest

from harness import BUILD, INTERFACE_FILE, TIMEOUT, TestCase, clean_environment, run, wait_until

GENERATOR = shutil.which("varlink-go-interface-generator")
CERTIFICATION = shutil.which("varlink-go-certification")
OURS = BUILD / "tests" / "integration"


@unittest.skipUnless(GENERATOR and CERTIFICATION, "varlink-go is not installed")
class VarlinkGo(TestCase):
    def test_interface_file(self):
        directory = self.directory()
        copy = directory / INTERFACE_FILE.name
        shutil.copy(INTERFACE_FILE, copy)
        self.assertExit(0, run(GENERATOR, copy))
        made = [path for path in directory.rglob("*.go")]
        self.assertEqual(len(made), 1, list(directory.iterdir()))
        self.assertIn("LoadModel", made[0].read_text())

    def serve(self, path, *command):
        """Starts a server, waits until its socket takes connections, and ends it after the test."""
        log = open(path.parent / "log", "w+b")
        process = subprocess.Popen([str(word) for word in command], env=clean_environment(),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def end():
            if process.poll() is None:
                process.terminate()
            process.wait(TIMEOUT)
            log.close()
        self.addCleanup(end)

        def ready():
            self.assertIsNone(process.poll(), "the server ended")
            try:  # the socket exists before the server listens
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                return True
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        wait_until(ready, "the server's socket")
        return process

    def program(self, name):
        path = OURS / name
        if not path.exists():
            self.skipTest("%s is not built" % path)
        return path

    def test_our_server(self):
        path = self.directory() / "s"
        self.serve(path, self.program("certification_server"), "--socket", path)
        result = run(CERTIFICATION, "-client", "-varlink", "unix:%s" % path)
        self.assertIn("End: 'true'", result.out + result.err, result)

    def test_our_client(self):
        path = self.directory() / "s"
        self.serve(path, CERTIFICATION, "-varlink", "unix:%s" % path)
        self.assertExit(0, run(self.program("certification_client"), path))


if __name__ == "__main__":
    unittest.main()
