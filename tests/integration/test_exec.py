"""emctl exec: programs that only map files run on the arena. If that is impossible, emctl reports
the reason before they start, with its exit codes."""
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import threading
import unittest

from harness import (BUILD, EMCTL, MIB, TIMEOUT, TestCase, clean_environment, needs_preloading, run,
                     sized_model, wait_until)
from leasing import write_model
from machine import NOBODY, group_of, needs_root

READER = BUILD / "tests" / "integration" / "view_reader"
SIZES = [MIB + 4096 * i + 17 for i in range(10)]
VIEWS_MAX = 64  # of a process
NO_SOCKET = "--socket=/nonexistent/s"
SHOW = ("sh", "-c", 'echo "$EDGEMIND_SOCKET|$LD_PRELOAD|$EDGEMIND_VIEW_AUTO"')


class CommandLine(TestCase):
    def test_usage(self):
        for words in ([], ["true"], ["--"], ["m", "--", "true"], ["--model", "--", "true"],
                      ["--model=m", "--", "true"], ["--model==f", "--", "true"],
                      ["--model=m=", "--", "true"], ["--model=a/b=f", "--", "true"],
                      ["--json", "--", "true"], ["--wait=1s", "--", "true"],
                      [*["--model=m=f"] * 17, "--", "true"]):
            with self.subTest(words=words):
                result = self.assertExit(2, run(EMCTL, "exec", *words))
                self.assertEqual(result.out, "")
                self.assertIn("--help", result.err)

    def test_help(self):
        result = self.assertExit(0, run(EMCTL, "exec", "--help"))
        for option in ("--model=NAME=FILE", "--auto", "--or-file", "--verbose"):
            self.assertIn(option, result.out)

    @needs_preloading
    def test_no_daemon(self):
        result = self.assertExit(3, run(EMCTL, NO_SOCKET, "exec", "--", "echo", "ran"))
        self.assertEqual(result.out, "")
        result = self.assertExit(0, run(EMCTL, NO_SOCKET, "exec", "--or-file", "--", *SHOW))
        self.assertEqual(result.out, "||\n")
        self.assertIn("no daemon", result.err)
        self.assertIn("plain files", result.err)

    def test_no_command(self):
        """Reported before emctl calls the daemon."""
        plain = self.directory() / "plain"
        plain.write_text("")
        for command, code in (("/nonexistent/command", 127), ("no-such-command", 127), ("", 127),
                              (plain, 126), (plain.parent, 126)):
            for option in ([], ["--or-file"]):
                with self.subTest(command=command):
                    result = run(EMCTL, NO_SOCKET, "exec", *option, "--", command)
                    self.assertExit(code, result)
                    self.assertEqual(result.err.count("emctl: "), 1)
        environment = clean_environment(PATH="/nonexistent:%s" % plain.parent)
        result = run(EMCTL, NO_SOCKET, "exec", "--", "plain", env=environment)
        self.assertExit(126, result)


@needs_preloading
class Running(TestCase):
    """With a registered model."""

    options = {"capacity": "4M", "policy": "lru"}

    def setUp(self):
        super().setUp()
        self.path = self.directory() / "model.safetensors"
        write_model(self.path, SIZES, seed=3)

    def load(self):
        self.assertExit(0, self.daemon.emctl("load-model", "--name=m", self.path))

    def exec(self, *words, **options):
        return self.daemon.emctl("exec", *words, **options)

    def fills(self):
        return self.daemon.stats()["scheduler"]["bytesLoaded"]

    def names(self):
        return [model["name"] for model in self.daemon.call("List")["models"]]

    def test_reads_out_of_the_arena(self):
        self.load()
        before = self.fills()
        result = self.assertExit(0, self.exec("--", READER, "all", self.path))
        self.assertEqual((result.out, result.err), ("", ""))
        self.assertGreater(self.fills(), before)
        wait_until(lambda: self.daemon.stats()["arena"]["leasedBytes"] == 0, "leases to end")
        self.assertUnharmed()

    def test_a_model_is_made_known(self):
        """As many layers as fit are loaded; the second time nothing happens."""
        for name in ("m", "m", "other"):
            result = self.exec("--model=%s=%s" % (name, self.path), "--", READER, "all", self.path)
            self.assertExit(0, result)
            self.assertEqual((result.out, result.err), ("", ""))
            self.assertEqual(self.names(), ["m"])
            self.assertEqual(self.daemon.stats()["scheduler"]["policy"], "lru")

    def test_at_the_same_time(self):
        """Several commands start with the same unknown model."""
        words = ["exec", "--model=m=%s" % self.path, "--", READER, "all", self.path]
        results = [None] * 8

        def start(i):
            results[i] = self.daemon.emctl(*words)
        threads = [threading.Thread(target=start, args=(i,)) for i in range(len(results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            self.assertExit(0, result)
            self.assertEqual((result.out, result.err), ("", ""))

    def test_nothing_gives_way_for_a_model(self):
        self.daemon.call("LoadModel", definition=sized_model("old", 3 * MIB))
        self.assertExit(0, self.exec("--model", "m=%s" % self.path, "--", "true"))
        self.assertEqual(self.daemon.call("List", model="old")["layers"][0]["state"], "resident")
        self.assertEqual(self.names(), ["old", "m"])

    def test_several_models(self):
        other = self.directory() / "second.safetensors"
        write_model(other, SIZES, seed=4)
        result = self.exec("--model=a=%s" % self.path, "--model=b=%s" % other, "--", "sh", "-c",
                           '"$0" all "$1" && "$0" all "$2"', READER, self.path, other)
        self.assertExit(0, result)
        self.assertEqual(self.names(), ["a", "b"])

    def test_wrong_models(self):
        definition = self.directory() / "model.json"
        definition.write_text(sized_model("d", MIB))
        huge = self.directory() / "huge.safetensors"
        write_model(huge, [5 * MIB], seed=5)
        broken = self.directory() / "broken.gguf"
        broken.write_bytes(b"GGUF" + b"\xff" * 4096)
        self.load()
        other = self.directory() / "other.safetensors"
        write_model(other, SIZES, seed=6)
        for model, code in (("x=/nonexistent/file", 1), ("x=%s" % definition, 2),
                            ("x=%s" % huge, 4), ("x=%s" % broken, 8), ("m=%s" % other, 10)):
            with self.subTest(model=model):
                result = self.exec("--model", model, "--", "echo", "ran")
                self.assertExit(code, result)
                self.assertEqual((result.out, bool(result.err)), ("", True))
                result = self.exec("--or-file", "--model", model, "--", "echo", "ran")
                self.assertEqual(self.assertExit(0, result).out, "ran\n")
        self.assertEqual(self.names(), ["m"])

    def test_no_model(self):
        result = self.assertExit(7, self.exec("--", "echo", "ran"))
        self.assertEqual(result.out, "")
        self.assertIn("--model", result.err)
        self.assertExit(0, self.exec("--auto", "--", "true"))

    def test_auto(self):
        """Files that are mapped are registered, with the same name as load-model gives them."""
        for _ in range(2):
            result = self.exec("--auto", "--", READER, "twice", self.path)
            self.assertExit(0, result)
            self.assertEqual((result.out, result.err), ("", ""))
            self.assertEqual(self.names(), ["model"])
        stats = self.daemon.stats()["scheduler"]
        self.assertGreater(stats["bytesLoaded"], 3 * sum(SIZES))
        namesake = self.directory() / "model.safetensors"
        write_model(namesake, SIZES, seed=4)
        result = self.assertExit(0, self.exec("--auto", "--", READER, "all", namesake))
        self.assertIn("another file by its name", result.err)
        self.assertEqual(self.names(), ["model"])

    def test_auto_refused(self):
        """Files without weights are ignored; for other files the reason is reported."""
        other, huge = self.directory() / "other", self.directory() / "huge.safetensors"
        other.write_bytes(os.urandom(2 * MIB))
        write_model(huge, [5 * MIB], seed=5)
        result = self.assertExit(0, self.exec("--auto", "--", READER, "all", other))
        self.assertEqual(result.err, "")
        result = self.assertExit(0, self.exec("--auto", "--", READER, "all", huge))
        self.assertEqual(result.err.count("libedgemind-view: "), 1, result)
        self.assertIn("%s cannot be registered and is mapped directly: " % huge, result.err)
        self.assertEqual(self.names(), [])

    def test_verbose(self):
        self.load()
        result = self.assertExit(0, self.exec("--verbose", "--", READER, "all", self.path))
        self.assertRegex(result.err, "(?s)^libedgemind-view: %s is a view of m: "
                         r"10\.\d MiB of 10\.\d MiB come from the arena\n$" % self.path)

    def test_python(self):
        """Python's module mmap, read-only: the manual's recipe."""
        script = ("import mmap, sys; file = open(sys.argv[1], 'rb');"
                  "view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ);"
                  "assert view[:] == file.read()")
        result = self.exec("--auto", "--verbose", "--", sys.executable, "-S", "-c", script,
                           self.path)
        self.assertExit(0, result)
        self.assertIn("is a view of model", result.err)
        self.assertGreaterEqual(self.fills(), sum(SIZES))

    def test_unmapped(self):
        """Of what the program has unmapped, views and files beyond the last view, nothing stays."""
        self.load()
        script = """
import mmap, sys, time
def count():
    with open("/proc/self/maps") as maps:
        return sum(sys.argv[1] in line for line in maps)
with open(sys.argv[1], "rb") as file:
    maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for _ in range(70)]
    for each in maps:
        each[1 << 20]
        each.close()
deadline = time.monotonic() + 30
while count() > 0 and time.monotonic() < deadline:
    time.sleep(0.01)
print(count())
"""
        result = self.exec("--verbose", "--", sys.executable, "-S", "-c", script, self.path)
        self.assertEqual(self.assertExit(0, result).out, "0\n")
        self.assertEqual(result.err.count(" is a view of m: "), VIEWS_MAX)

    def test_views(self):
        """Running programs are listed with the memory that they hold; programs that have ended are
        not."""
        self.load()
        self.assertIn("no views", self.daemon.emctl("views").out)
        process = subprocess.Popen([str(word) for word in (EMCTL, "exec", "--", READER, "random",
                                                           self.path, 60_000)],
                                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: [v for v in self.daemon.call("Views")["views"] if v["readBytes"]],
                   "faults")
        result = self.assertExit(0, self.daemon.emctl("views", "--json"))
        view, = json.loads(result.out)["views"]
        size = self.path.stat().st_size
        self.assertEqual((view["program"], view["pid"], view["model"], view["bytes"]),
                         ("view_reader", process.pid, "m", size))
        self.assertLess(view["outsideBytes"], 100_000)
        self.assertLessEqual(view["heldBytes"], 4 * MIB)
        self.assertGreaterEqual(view["faults"], view["hits"] + view["readBytes"] // max(SIZES))
        text = self.assertExit(0, self.daemon.emctl("views")).out
        for word in ("view_reader", str(process.pid), "10.2 MiB"):
            self.assertIn(word, text)
        process.kill()
        wait_until(lambda: self.daemon.call("Views")["total"] == 0, "the view to end")

    def test_environment(self):
        """--socket decides the socket, whatever the command itself would find; other preloaded
        libraries stay preloaded."""
        self.load()
        directory = pathlib.Path(self.daemon.socket).parent
        library = str(BUILD / "libedgemind-view.so")
        for preload, all_of_them in ((None, library), ("", library), ("/a.so b.so",
                                                                      library + ":/a.so b.so")):
            environment = clean_environment(EDGEMIND_VIEW_AUTO=1)
            if preload is not None:
                environment["LD_PRELOAD"] = preload
            result = run(EMCTL, "--socket=s", "exec", "--", *SHOW, env=environment, cwd=directory)
            self.assertExit(0, result)
            self.assertEqual(result.out, "%s|%s|\n" % (self.daemon.socket, all_of_them))
        result = self.exec("--auto", "--", *SHOW)
        self.assertEqual(result.out, "%s|%s|1\n" % (self.daemon.socket, library))

    def test_the_command_is_the_process(self):
        """Exit status, signals and descriptors are those of the command."""
        self.load()
        for script, code in (("exit 42", 42), ("kill -KILL $$", -signal.SIGKILL)):
            self.assertExit(code, self.exec("--", "sh", "-c", script))
        look = ("import os; print(os.getpid(), sorted(os.listdir('/proc/self/fd')), [l for l in"
                " open('/proc/self/status') if l[:6] in ('SigBlk', 'SigIgn')])")
        plain = run(sys.executable, "-S", "-c", look).out.partition(" ")
        process = subprocess.Popen([str(EMCTL), "exec", "--", sys.executable, "-S", "-c", look],
                                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((out.decode(), err.decode()), ("%d %s" % (process.pid, plain[2]), ""))
        result = self.exec("--", "printf", "<%s>", "--json", "--", "--help", "a b", "")
        self.assertEqual(result.out, "<--json><--><--help><a b><>")

    def assertUnfit(self, reason, command, **options):
        result = self.assertExit(1, self.exec("--", *command, **options))
        self.assertEqual(result.out, "")
        self.assertIn(reason, result.err)
        result = self.assertExit(0, self.exec("--or-file", "--", *command, **options))
        self.assertEqual(result.out, "ran\n")
        self.assertIn(reason, result.err)

    @unittest.skipUnless(shutil.which("cc"), "needs a compiler")
    def test_static(self):
        self.load()
        source = self.directory() / "static.c"
        source.write_text('#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n')
        program = source.with_suffix("")
        run("cc", "-static", "-o", program, source)
        if not program.exists():
            self.skipTest("needs a static C library")
        self.assertUnfit("statically", [program])
        script = source.with_suffix(".script")
        script.write_text("#! %s -x\n" % program)
        script.chmod(0o755)
        self.assertUnfit("statically", [script])
        script.write_text("#!/bin/sh\necho ran\n")
        self.assertExit(0, self.exec("--", script))

    @needs_root
    def test_set_user_id(self):
        self.load()
        program = self.directory() / "echo"
        program.parent.chmod(0o755)
        shutil.copy(shutil.which("echo"), program)
        os.chown(program, NOBODY, NOBODY)
        program.chmod(0o755 | stat.S_ISUID)
        self.assertUnfit("rights of its file", [program, "ran"])
        program.chmod(0o755 | stat.S_ISGID)
        self.assertUnfit("rights of its file", [program, "ran"])

    def test_foreign(self):
        """The same program with another machine in its header."""
        self.load()
        program = self.directory() / "other"
        data = bytearray(pathlib.Path(shutil.which("echo")).read_bytes())
        data[18] ^= 0xff
        program.write_bytes(data)
        program.chmod(0o755)
        result = self.assertExit(1, self.exec("--", program))
        self.assertIn("architecture", result.err)


@needs_preloading
@needs_root
class Permissions(TestCase):
    """Members may look and lease, but not register models; other users may not even look."""

    def setUp(self):
        super().setUp()
        group, self.gid = group_of()
        self.daemon = self.start(capacity="4M", policy="lru", socket_group=group)
        os.chmod(self.daemon.socket, 0o666)  # so that the daemon refuses
        self.open = self.directory()
        self.open.chmod(0o755)
        self.path = self.open / "model"
        write_model(self.path, SIZES, seed=3)
        self.path.chmod(0o644)
        for program in (EMCTL, READER, BUILD / "libedgemind-view.so"):
            shutil.copy(program, self.open)

    def exec(self, groups, *words):
        return run(self.open / "emctl", "exec", *words, user=NOBODY, group=NOBODY,
                   extra_groups=groups, cwd="/",
                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))

    def test_members(self):
        model = "m=%s" % self.path
        read = ("--", self.open / "view_reader", "all", self.path)
        for words in (["--model", model], ["--auto"]):
            result = self.assertExit(9, self.exec([self.gid], *words, *read))
            self.assertEqual(result.err.count("emctl: "), 1)
        self.assertExit(0, self.daemon.emctl("load-model", "--name=m", self.path))
        before = self.daemon.stats()["scheduler"]["bytesLoaded"]
        for words in ([], ["--model", model]):
            self.assertExit(0, self.exec([self.gid], *words, *read))
        self.assertGreater(self.daemon.stats()["scheduler"]["bytesLoaded"], before)

    def test_strangers(self):
        self.assertExit(0, self.daemon.emctl("load-model", "--name=m", self.path))
        before = self.daemon.stats()["scheduler"]["bytesLoaded"]
        for words in ([], ["--model=m=%s" % self.path], ["--auto"]):
            self.assertExit(9, self.exec([], *words, "--", "true"))
        result = self.exec([], "--or-file", "--", self.open / "view_reader", "all", self.path)
        self.assertExit(0, result)
        self.assertIn("permission", result.err)
        self.assertEqual(self.daemon.stats()["scheduler"]["bytesLoaded"], before)
        # The command itself may be of another user than emctl.
        environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket,
                                        LD_PRELOAD=self.open / "libedgemind-view.so")
        for mode in (0o666, 0o600):
            os.chmod(self.daemon.socket, mode)
            result = run(self.open / "view_reader", "twice", self.path, env=environment,
                         user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
            self.assertExit(0, result)
            self.assertEqual(result.err.count("\n"), 1, result)
            self.assertIn("this user may not lease", result.err)
        self.assertExit(9, self.exec([], "--", "true"))


if __name__ == "__main__":
    unittest.main()
