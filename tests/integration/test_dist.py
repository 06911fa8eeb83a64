"""`make dist` packs the last commit into the same bytes, wherever and however it is run."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@unittest.skipUnless(shutil.which("git") and (ROOT / ".git").exists(), "needs the git checkout")
class Dist(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="edgemind-dist-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def pack(self, name, umask, **environment):
        """The tarball's name and digest, made in a separate clone."""
        clone = self.directory / name
        environment = {**os.environ, **environment}
        environment.pop("MAKEFLAGS", None)
        environment.pop("BUILD", None)
        old = os.umask(umask)
        try:
            for command in (["git", "-c", "safe.directory=*", "clone", "-q", ROOT, clone],
                            ["make", "-s", "-C", clone, "-f", ROOT / "Makefile", "dist"]):
                subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
        finally:
            os.umask(old)
        (tarball,) = (clone / "build").glob("edgemind-*.tar.gz")
        return tarball.name, hashlib.sha256(tarball.read_bytes()).hexdigest(), tarball

    def test_reproducible(self):
        *first, tarball = self.pack("a", 0o022, TZ="UTC", LC_ALL="C")
        *second, _ = self.pack("elsewhere", 0o077, TZ="Asia/Kolkata", LC_ALL="C.UTF-8", GZIP_OPT="-1")
        self.assertEqual(first, second)
        names = subprocess.run(["tar", "-tzf", tarball], capture_output=True, text=True,
                               check=True).stdout.split()
        top = tarball.name.removesuffix(".tar.gz")
        self.assertTrue(all(name.startswith(top + "/") for name in names))
        self.assertIn(top + "/daemon/main.c", names)
        self.assertIn(top + "/Makefile", names)


if __name__ == "__main__":
    unittest.main()
