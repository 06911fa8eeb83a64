"""Standard error accepts nothing, or no more: then entries are lost, and the daemon continues."""
import os
import unittest

from harness import MIB, TestCase, sized_model

MODELS, LAYERS = 4, 500  # with two entries per layer, twice the capacity of a pipe


class DeafLog(TestCase):
    def check(self, path):
        """A shell opens the log's file, because the harness reads its own."""
        daemon = self.start(capacity="16M", log_level="debug",
                            prefix=["bash", "-c", 'exec "$@" 2>"$0"', str(path)])
        for i in range(MODELS):
            daemon.call("LoadModel", definition=sized_model("m%d" % i, *[4096] * LAYERS))
        self.assertEqual(daemon.stats()["scheduler"]["layersLoaded"], MODELS * LAYERS)
        self.assertEqual(daemon.read_log(), "")

    def test_a_pipe_that_nobody_reads(self):
        path = self.directory() / "pipe"
        os.mkfifo(path)
        with open(path, "r+b", buffering=0) as pipe:
            self.check(path)
            text = os.read(pipe.fileno(), MIB)
        self.assertGreater(len(text), 16 << 10)
        lines = text.split(b"\n")
        self.assertEqual(lines[-1], b"")  # only complete entries
        for line in lines[:-1]:
            self.assertRegex(line, b"^edgemindd: ")

    def test_a_pipe_whose_reader_is_gone(self):
        path = self.directory() / "pipe"
        os.mkfifo(path)
        pipe = os.open(path, os.O_RDWR)
        daemon = self.start(capacity="16M", log_level="debug",
                            prefix=["bash", "-c", 'exec "$@" 2>"$0"', str(path)])
        os.close(pipe)
        daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        self.assertUnharmed(daemon)

    def test_a_full_disk(self):
        self.check("/dev/full")


if __name__ == "__main__":
    unittest.main()
