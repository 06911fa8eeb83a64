"""emctl --host: the daemon of another host, through a real sshd."""
import json
import os
import subprocess

from harness import EMCTL, MIB, TestCase, clean_environment, run, sized_model, wait_until
from ssh_server import SshServer, needs_sshd
from tmux_screen import TerminalScreen, needs_tmux


@needs_sshd
class Host(TestCase):
    options = {"capacity": "50M", "commit": "load", "log_level": "info"}

    def setUp(self):
        super().setUp()
        self.server = SshServer(self)
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))

    def emctl(self, *words, host="good", socket=None):
        return run(EMCTL, "-H", host, "--socket", socket or self.daemon.socket, *words,
                   env=clean_environment(EDGEMIND_SSH=self.server.ssh, EDGEMIND_SOCKET="/nowhere"))

    def test_verbs(self):
        self.assertRegex(self.assertExit(0, self.emctl("list")).out, r"(?m)^m +2 +2 ")
        stats = json.loads(self.assertExit(0, self.emctl("stats", "--json")).out)
        self.assertEqual(stats["daemon"]["pid"], self.daemon.pid)
        self.assertExit(0, self.emctl("unload-layer", "m", "l0"))
        self.assertExit(0, self.emctl("load-layer", "m", "l0"))
        self.assertExit(7, self.emctl("load-layer", "m", "nope"))
        self.assertIn("lru", self.assertExit(0, self.emctl("set-policy", "lru")).out)
        for words in (["-Hgood", "list"], ["-jH", "good", "list"], ["--host=good", "list"],
                      ["list", "--host", "good"]):
            result = run(EMCTL, "--socket", self.daemon.socket, *words,
                         env=clean_environment(EDGEMIND_SSH=self.server.ssh))
            self.assertIn("m", self.assertExit(0, result).out)

    def test_a_long_list(self):
        self.daemon.load(sized_model("long", *[4096] * 3000))
        lines = self.assertExit(0, self.emctl("list", "long")).out.splitlines()
        self.assertEqual(len(lines), 3001)

    def test_a_socket_whose_name_needs_quotes(self):
        odd = self.directory() / "it's a $HOME; socket"
        odd.symlink_to(self.daemon.socket)
        self.assertExit(0, self.emctl("list", socket=odd))

    def test_what_goes_wrong(self):
        for host, code, text in (("refused", 3, "refused: ssh cannot reach it"),
                                 ("bare", 3, "bare: it has no emctl in ssh's PATH"),
                                 ("-oProxyCommand=touch${IFS}x", 3, "ssh cannot reach it")):
            with self.subTest(host=host):
                self.assertIn(text, self.assertExit(code, self.emctl("stats", host=host)).err)
        result = self.assertExit(3, self.emctl("stats", socket="/nowhere/s"))
        self.assertIn("no daemon at /nowhere/s", result.err)
        self.assertIn("good: it has no daemon", result.err)
        nothing = run(EMCTL, "-H", "good", "stats", env=clean_environment(EDGEMIND_SSH="/nowhere/ssh"))
        self.assertIn("cannot run /nowhere/ssh", self.assertExit(3, nothing).err)

    def test_what_needs_this_host(self):
        file = self.directory() / "m.json"
        file.write_text(sized_model("n", 1))
        for words in (["load-model", file], ["plan", file], ["cat", "m", "l0"], ["hold", "m", "--", "true"],
                      ["exec", "--", "true"], ["plan", "--capacity=50M", file]):
            with self.subTest(words=words):
                result = self.assertExit(2, self.emctl(*words))
                self.assertRegex(result.err, "this host")
        self.assertExit(2, run(EMCTL, "-H"))
        self.assertExit(2, run(EMCTL, "-H", "", "stats"))
        self.assertNotIn("bridge", run(EMCTL, "--help").out)

    def test_nothing_is_left(self):
        self.assertExit(0, self.emctl("stats"))
        wait_until(lambda: self.daemon.stats()["control"]["connections"] == 1, "the bridge to end")

    def test_watch_goes_on(self):
        """The connection breaks, and later the daemon restarts."""
        watcher = subprocess.Popen([EMCTL, "-H", "good", "--socket", self.daemon.socket, "list", "--watch"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                   env=clean_environment(EDGEMIND_SSH=self.server.ssh))
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)
        os.set_blocking(watcher.stdout.fileno(), False)
        os.set_blocking(watcher.stderr.fileno(), False)
        text = {"out": "", "err": ""}

        def shows(stream, what, times):
            text["out"] += (watcher.stdout.read() or b"").decode()
            text["err"] += (watcher.stderr.read() or b"").decode()
            return text[stream].count(what) >= times
        try:
            wait_until(lambda: shows("out", "\nm ", 1), "a list")
            self.server.break_connections()
            wait_until(lambda: shows("err", "connected again", 1), "another connection")
            self.daemon.call("LoadModel", definition=sized_model("new", MIB))
            wait_until(lambda: shows("out", "\nnew ", 1), "the new model")
        finally:
            watcher.stdout.close()
            watcher.stderr.close()

    @needs_tmux
    def test_top(self):
        screen = TerminalScreen(self, EMCTL, "-H", "good", "--socket", self.daemon.socket, "top",
                                EDGEMIND_SSH=self.server.ssh)
        screen.wait_for("(?m)^edgemindd .* on good, process %d(?s:.*)^a m " % self.daemon.pid)
        self.server.break_connections()
        screen.wait_for("no answer for|connected again")
        self.daemon.call("LoadModel", definition=sized_model("new", MIB))
        screen.wait_for("(?ms)^b new .*connected again, to process %d" % self.daemon.pid)
        screen.type("q")
        screen.wait_for("ended 0")
