"""Impossible capacities: each is refused, with reason and figures, before memory is committed."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

from harness import MIB, PAGE, TestCase, sized_model
from machine import needs_root


def memory_total():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"MemTotal:\s+(\d+) kB", text).group(1)) * 1024


class Capacity(TestCase):
    def test_not_a_capacity(self):
        for text in ("0", "0%", "", "abc", "-1", "-50M", "12Q", "101%", "-1%", "50 M x", "%",
                     "1.2.3", "0x1000", "nan", "inf", "1e3", "1", str(PAGE - 1),
                     "18446744073709551616",
                     "16E", "99999999999999999999999999G"):
            with self.subTest(capacity=text):
                result = self.start_refused(capacity=text)
                self.assertIn("capacity", result.err)

    def test_none(self):
        self.assertIn("capacity", self.start_refused().err)

    def test_one_page(self):
        daemon = self.start(capacity=PAGE)
        self.assertEqual(daemon.stats()["arena"]["capacityBytes"], PAGE)
        daemon.call("LoadModel", definition=sized_model("m", 1, PAGE))
        self.assertVarlinkError("OutOfMemory", daemon.call, "LoadModel",
                                definition=sized_model("n", PAGE + 1))
        self.assertEqual(daemon.status()["RssShmem"] // PAGE, 1)

    def test_rounded_down(self):
        daemon = self.start(capacity=3 * PAGE - 1)
        self.assertEqual(daemon.stats()["arena"]["capacityBytes"], 2 * PAGE)

    def test_percentage(self):
        daemon = self.start(capacity="2%", commit="load")
        expected = memory_total() * 2 // 100 // PAGE * PAGE
        self.assertLessEqual(abs(daemon.stats()["arena"]["capacityBytes"] - expected), PAGE)

    def test_more_than_the_machine_has(self):
        total = memory_total()
        for capacity in (total, 4 * total, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
                         (1 << 64) - PAGE):
            for commit in ("boot", "load"):
                with self.subTest(capacity=capacity, commit=commit):
                    result = self.start_refused(capacity=capacity, commit=commit)
                    self.assertRegex(result.err, "capacity|arena")
        # The figures: the requested size, the available size, and the source of the limit.
        result = self.start_refused(capacity="1T" if total < 1 << 40 else "1P")
        self.assertEqual(result.code, 2, result)
        self.assertIn("MemTotal", result.err)
        figures = re.findall(r"\d+(?:\.\d+)? ?[KMGTP]?i?B", result.err)
        self.assertGreaterEqual(len(figures), 2, result)


class Cgroup:
    """A memory cgroup below this process's own, v1 or v2, with the limit in a child's parent."""

    def __init__(self, limit_bytes):
        self.paths = []
        name = "edgemind-test-%d" % os.getpid()
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                base = pathlib.Path("/sys/fs/cgroup/memory" + path)
                if base.is_dir() and os.access(base, os.W_OK):
                    self.make(base / name, "memory.limit_in_bytes", limit_bytes)
                    return
            elif not controllers:
                root = pathlib.Path("/sys/fs/cgroup")
                controllers = root / "cgroup.controllers"
                if controllers.exists() and "memory" in controllers.read_text().split():
                    self.make_v2(root, name, limit_bytes)
                    return
        raise unittest.SkipTest("no memory cgroup can be had here")

    def make(self, path, limit_file, limit_bytes):
        path.mkdir()
        self.paths.append(path)
        try:
            (path / limit_file).write_text(str(limit_bytes))
            (path / "inner").mkdir()
        except OSError as error:
            self.remove()
            raise unittest.SkipTest("no memory cgroup can be had here: %s" % error)
        self.paths.append(path / "inner")

    def make_v2(self, root, name, limit_bytes):
        try:
            (root / "cgroup.subtree_control").write_text("+memory")
            self.make(root / name, "memory.max", limit_bytes)
        except OSError as error:
            raise unittest.SkipTest("no memory cgroup can be had here: %s" % error)

    def enter(self):
        """In the child, before the program."""
        (self.paths[-1] / "cgroup.procs").write_text("0")

    def remove(self):
        for path in reversed(self.paths):
            force = path / "memory.force_empty"
            if force.exists():
                try:
                    force.write_text("0")
                except OSError:
                    pass
            path.rmdir()


@needs_root
class CgroupLimit(TestCase):
    def cgroup(self, limit_bytes):
        cgroup = Cgroup(limit_bytes)
        self.addCleanup(cgroup.remove)
        return cgroup

    def test_more_than_the_cgroup_allows(self):
        """The limit of an ancestor also counts: the daemon refuses with that figure, and is not
        killed."""
        cgroup = self.cgroup(256 * MIB)
        for commit in ("boot", "load"):
            result = self.start_refused(capacity="300M", commit=commit,
                                        process={"preexec_fn": cgroup.enter})
            self.assertEqual(result.code, 2, result)
            self.assertRegex(result.err, "memory.max|memory.limit_in_bytes")
            self.assertIn("300", result.err)
        kills = [path / "memory.oom_control" for path in cgroup.paths]
        for path in kills:
            if path.exists():
                self.assertNotRegex(path.read_text(), r"oom_kill [1-9]")

    def test_percentage_of_what_the_process_may_have(self):
        """A percentage of what the cgroup allows, not of the host's RAM."""
        cgroup = self.cgroup(300 * MIB)
        daemon = self.start(capacity="25%", process={"preexec_fn": cgroup.enter})
        self.assertEqual(daemon.stats()["arena"]["capacityBytes"], 75 * MIB)

    def test_too_little_now_may_be_enough_later(self):
        """Memory that others use may become free, so a supervisor should try again."""
        cgroup = self.cgroup(300 * MIB)
        other = subprocess.Popen([sys.executable, "-c",
                                  "import sys; b = bytearray(200 << 20); print(flush=True); sys.stdin.read()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 preexec_fn=cgroup.enter)
        with other:
            other.stdout.readline()
            result = self.start_refused(capacity="200M", process={"preexec_fn": cgroup.enter})
            other.stdin.close()
        self.assertEqual(result.code, 1, result)

    def test_within_the_cgroup(self):
        cgroup = self.cgroup(256 * MIB)
        daemon = self.start(capacity="100M", process={"preexec_fn": cgroup.enter})
        daemon.call("LoadModel", definition=sized_model("m", *[9 * MIB] * 20))
        self.assertUnharmed(daemon)
        daemon.stop()


if __name__ == "__main__":
    unittest.main()
