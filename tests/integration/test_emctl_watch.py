"""emctl stats --watch, list --watch and watch: frames in pipes and on terminals, and daemons that
restart under them."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

from harness import EMCTL, MIB, TestCase, clean_environment, sized_model, wait_until


class Watcher:
    """emctl in the background, with its output in a pipe or, with `size` (rows, columns), on a
    terminal."""

    def __init__(self, test, socket, *words, size=None):
        environment = clean_environment(EDGEMIND_SOCKET=socket, TERM="xterm")
        if size:
            self.fd, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        else:
            self.fd, theirs = os.pipe()
        self.process = subprocess.Popen([str(word) for word in (EMCTL, *words)], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=theirs,
                                        stderr=subprocess.PIPE)
        os.close(theirs)
        os.set_blocking(self.fd, False)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.out = self.err = ""
        test.addCleanup(self.end)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self.fd)

    def read(self):
        try:
            self.out += os.read(self.fd, 1 << 20).decode()
        except OSError:  # nothing yet, or the terminal's other side is closed
            pass
        self.err += (self.process.stderr.read() or b"").decode()
        return self.out

    def wait_for(self, pattern, times=1):
        return wait_until(lambda: len(re.findall(pattern, self.read())) >= times and self.out,
                          "%d times %r in %r" % (times, pattern, self.out))

    def wait_for_error(self, text):
        wait_until(lambda: self.read() is not None and text in self.err, text)


class Watch(TestCase):
    options = {"capacity": "50M", "commit": "load"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))

    def watch(self, *words, **options):
        return Watcher(self, self.daemon.socket, *words, **options)

    def test_one_after_another_into_a_pipe(self):
        for words, pattern in ((["list"], r"(?m)^m +2 +2 "), (["list", "m"], r"(?m)^l1 +resident"),
                               (["stats"], r"(?m)^arena  .*used$")):
            with self.subTest(words=words):
                text = self.watch(*words, "--watch").wait_for(pattern, times=2)
                self.assertNotIn("\x1b", text)
                self.assertRegex(text, r"\A\d\d:\d\d:\d\d\n")

    def test_json_is_a_line_a_frame(self):
        text = self.watch("stats", "--watch", "--json").wait_for(r"\n", times=2)
        for line in text.splitlines()[:2]:
            self.assertEqual(json.loads(line)["scheduler"]["models"], 1)

    def test_in_place_on_a_terminal(self):
        self.daemon.call("LoadModel", definition=sized_model("n", *[4096] * 40))
        watcher = self.watch("list", "n", "--watch", size=(10, 80))
        frames = watcher.wait_for("\x1b\\[J", times=2).split("\x1b[H")
        self.assertEqual(frames[0], "")
        self.assertTrue(frames[1].startswith("\x1b[2J"))  # only the first clears everything
        self.assertNotIn("\x1b[2J", frames[2])
        for frame in frames[1:3]:
            self.assertLessEqual(frame.count("\n"), 9)  # it never scrolls
            self.assertEqual(frame.count("\x1b[K"), frame.count("\n"))
        self.daemon.call("UnloadLayer", model="n", layer="l0")
        watcher.wait_for("l0 +absent")

    def test_the_daemon_restarts(self):
        for words in (["list", "--watch"], ["stats", "--watch"], ["watch"]):
            with self.subTest(words=words):
                watcher = self.watch(*words, "--json")
                watcher.wait_for(r"\n")
                self.daemon.process.terminate()
                self.daemon.process.wait()
                watcher.wait_for_error("waiting for the daemon to come back")
                options = {"capacity": "50M", "commit": "load"}
                self.daemon.start({}, {}, (), options)
                watcher.wait_for_error("connected again")
                self.daemon.wait_notify("READY=1")
                before = watcher.read().count("\n")
                self.daemon.call("LoadModel", definition=sized_model("new", MIB), replace=True)
                wait_until(lambda: watcher.read().count("\n") > before, "it to go on")
                wait_until(lambda: "new" in watcher.read() or words[0] == "stats", "the new model")
                self.assertIsNone(watcher.process.poll())
                watcher.process.terminate()

    def test_no_daemon_at_the_start(self):
        nowhere = self.directory() / "s"
        for words in (["list"], ["stats"]):
            watcher = Watcher(self, nowhere, *words, "--watch")
            self.assertEqual(watcher.process.wait(30), 3)

    def test_nobody_reads(self):
        watcher = self.watch("list", "--watch")
        watcher.wait_for("m")
        closed = os.open(os.devnull, os.O_RDONLY)
        os.dup2(closed, watcher.fd)  # closes the pipe's end
        os.close(closed)
        self.assertEqual(watcher.process.wait(30), -signal.SIGPIPE)

    def test_a_model_that_is_gone(self):
        watcher = self.watch("list", "m", "--watch")
        watcher.wait_for("l1")
        self.daemon.call("UnloadModel", model="m")
        self.assertEqual(watcher.process.wait(30), 7)

    def test_usage(self):
        self.assertExit(2, self.daemon.emctl("views", "--watch"))
