"""The tests' temporary files: those of a killed process are removed by the next one, and by no other."""
import pathlib
import subprocess
import sys
import unittest

from harness import ROOT, TestCase

SCRIPT = "import scratch, sys, tempfile; print(tempfile.mkdtemp(), flush=True); sys.stdin.read()"


class Scratch(TestCase):
    def setUp(self):
        super().setUp()
        self.place = self.directory()

    def process(self):
        """One that has made a directory, and the directory."""
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, cwd=ROOT / "tests" / "integration",
                                   env={"TMPDIR": str(self.place)})
        self.addCleanup(process.communicate)
        return process, pathlib.Path(process.stdout.readline().strip())

    def test_what_a_killed_process_leaves(self):
        killed, left = self.process()
        living, kept = self.process()
        (left / "file").touch()
        killed.kill()
        killed.wait()
        self.assertTrue(left.exists())
        _, new = self.process()
        self.assertFalse(left.parent.exists())
        self.assertTrue(kept.exists())
        living.communicate()
        self.assertFalse(kept.parent.exists())
        self.assertEqual(list(self.place.iterdir()), [new.parent])


if __name__ == "__main__":
    unittest.main()
