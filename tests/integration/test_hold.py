"""emctl hold: layers are held exactly as long as a command runs. The command runs as it would
without emctl: it has its own exit status, signals, descriptors and standard streams."""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import unittest

from harness import (EMCTL, MIB, TIMEOUT, TestCase, clean_environment, run, sized_model,
                     wait_until)
from scripted_daemon import ScriptedDaemon, error

PYTHON = (sys.executable, "-S", "-c")


class CommandLine(TestCase):
    def test_usage(self):
        for words in ([], ["m"], ["m", "l"], ["m", "l", "--"], ["--", "true"],
                      ["m", "--wait=61s", "--", "true"], ["m", "--wait=soon", "--", "true"],
                      ["m", "--passes=1", "--", "true"], ["m", "--json", "--", "true"]):
            with self.subTest(words=words):
                result = self.assertExit(2, run(EMCTL, "hold", *words))
                self.assertEqual(result.out, "")
                self.assertIn("--help", result.err)
        result = run(EMCTL, "hold", "m", b"\xff", "--", "true",
                     env=clean_environment(EDGEMIND_SOCKET="/nonexistent/s"))
        self.assertNotEqual(result.code, 0)

    def test_no_daemon(self):
        result = run(EMCTL, "--socket=/nonexistent/s", "hold", "m", "--", "echo", "ran")
        self.assertExit(3, result)
        self.assertEqual(result.out, "")

    def test_help(self):
        result = self.assertExit(0, run(EMCTL, "hold", "--help"))
        self.assertIn("--wait", result.out)
        self.assertIn("COMMAND", result.out)


class Scripted(TestCase):
    LEASE = {"parameters": {"lease": "1", "layer": "l", "bytes": 1, "segments": [], "tensors": []}}

    def hold(self, answer, *words):
        path = self.directory() / "s"
        with ScriptedDaemon(path, answer) as daemon:
            result = run(EMCTL, "hold", *words, env=clean_environment(EDGEMIND_SOCKET=path))
        return result, daemon

    def test_all_calls_come_at_once(self):
        """None is answered before the last has come."""
        calls = []

        def answer(call):
            calls.append(call["parameters"])
            return [self.LEASE] * 3 if len(calls) == 3 else []
        result, daemon = self.hold(answer, "m", "a", "--wait=1.5s", "b", "a", "--", "echo", "ran")
        self.assertEqual(self.assertExit(0, result).out, "ran\n")
        self.assertEqual(calls, [{"model": "m", "layer": layer, "waitUsec": 1500000}
                                 for layer in "aba"])
        self.assertTrue(daemon.hung_up)

    def test_no_wait_by_default(self):
        _, daemon = self.hold(lambda call: [self.LEASE], "m", "a", "--", "true")
        self.assertEqual(daemon.calls, [{"method": "io.edgemind.manager.Acquire",
                                         "parameters": {"model": "m", "layer": "a"}}])

    def test_layers_that_come_in_parts(self):
        parts = [[{"name": "a"}, {"name": "\u001b[2J"}], [{"name": "c"}]]

        def answer(call):
            if call["method"].endswith("List"):
                self.assertEqual((call["parameters"], call["more"]), ({"model": "m"}, True))
                return [{"parameters": {"layers": part}, "continues": part is parts[0]}
                        for part in parts]
            return [self.LEASE]
        result, daemon = self.hold(answer, "m", "--", "true")
        self.assertExit(0, result)
        self.assertEqual([call["parameters"]["layer"] for call in daemon.calls[1:]],
                         ["a", "\u001b[2J", "c"])

    def test_wrong_replies(self):
        """The command runs only if emctl has got every lease."""
        for replies in ([{}], [{"parameters": {"lease": 1}}], [{"parameters": {"layers": [{}]}}],
                        [{"parameters": {"layers": {}}}], None, error("Busy"),
                        error("LimitExceeded", limit="leases", maximum=4096),
                        [{"error": "com.example.Odd"}]):
            for layers in (["a"], ["a", "b"], []):
                with self.subTest(replies=replies, layers=layers):
                    n_calls = []

                    def answer(call):
                        n_calls.append(1)
                        return [self.LEASE] if len(n_calls) < len(layers) else replies
                    result, _ = self.hold(answer, "m", *layers, "--", "echo", "ran")
                    self.assertGreater(result.code, 0)
                    self.assertEqual(result.out, "")
                    self.assertEqual(result.err.count("emctl: "), 1)


class Held(TestCase):
    options = {"capacity": "50M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", *[MIB] * 4))

    def hold(self, *words, **options):
        return self.daemon.emctl("hold", *words, **options)

    def start_hold(self, *words, **options):
        """Starts a hold that keeps running; its standard input is a pipe."""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0, **options}
        process = subprocess.Popen([str(word) for word in (EMCTL, "hold", *words)], **options,
                                   env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))

        def end():
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=TIMEOUT)
            for stream in (process.stdin, process.stdout):
                stream.close()
        self.addCleanup(end)
        return process

    def leased(self):
        return self.daemon.stats()["arena"]["leasedBytes"]

    def assertGivenBack(self):
        wait_until(lambda: self.leased() == 0, "the layers to be given back")

    def test_held_while_it_runs(self):
        for layers, held in (([], 4 * MIB), (["l1"], MIB), (["l0", "l3"], 2 * MIB),
                             (["l0", "l0"], MIB)):
            with self.subTest(layers=layers):
                result = self.hold("m", *layers, "--", EMCTL, "stats", "--json")
                arena = json.loads(self.assertExit(0, result).out)["arena"]
                self.assertEqual(arena["leasedBytes"], held)
                self.assertGivenBack()

    def test_what_is_not_loaded_is_loaded(self):
        self.daemon.call("Reset")
        result = self.hold("m", "l2", "--", EMCTL, "list", "m", "--json")
        states = [layer["state"] for layer in json.loads(self.assertExit(0, result).out)["layers"]]
        self.assertEqual(states, ["absent", "absent", "resident", "absent"])

    def test_more_layers_than_a_reply_lists(self):
        with self.daemon.connect() as c:
            c.call("LoadModel", definition=sized_model("many", *[1] * 1500))
        result = self.hold("many", "--", EMCTL, "stats", "--json")
        arena = json.loads(self.assertExit(0, result).out)["arena"]
        self.assertEqual(arena["leasedBytes"], 1500 * arena["pageBytes"])

    def test_exit_status(self):
        plain = self.directory() / "plain"
        plain.write_text("")
        for command, code in ((["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42),
                              (["sh", "-c", "kill -KILL $$"], 137),
                              (["sh", "-c", "kill -TERM $$"], 143),
                              (["/nonexistent/command"], 127), (["no-such-command"], 127),
                              ([""], 127), ([plain], 126), ([plain.parent], 126)):
            with self.subTest(command=command):
                result = self.assertExit(code, self.hold("m", "--", *command))
                self.assertEqual(bool(result.err), code in (126, 127))
                self.assertEqual(result.err.count("emctl: cannot run"), code in (126, 127))
        self.assertGivenBack()

    def test_the_command_line_is_the_commands(self):
        result = self.hold("m", "--", "printf", "<%s>", "--json", "--", "--help", "a b", "")
        self.assertEqual(self.assertExit(0, result).out, "<--json><--><--help><a b><>")

    def test_streams_and_environment(self):
        result = self.hold("m", "l0", "--", "sh", "-c", 'cat; echo "$EDGEMIND_SOCKET"; echo e >&2',
                           stdin=subprocess.DEVNULL)
        self.assertEqual((result.out, result.err), ("%s\n" % self.daemon.socket, "e\n"))

    def test_nothing_is_inherited(self):
        """The command has no other descriptors, blocked signals or ignored signals than emctl
        itself got."""
        look = ("import os; print(sorted(os.listdir('/proc/self/fd')));"
                "print([l for l in open('/proc/self/status') if l[:6] in ('SigBlk', 'SigIgn')])")
        plain = run(*PYTHON, look)
        held = self.hold("m", "--", *PYTHON, look)
        self.assertEqual(self.assertExit(0, held).out, plain.out)

    def test_busy(self):
        self.daemon.call("LoadModel", definition=sized_model("large", 30 * MIB, 30 * MIB))
        with self.daemon.connect() as other:
            other.call("Acquire", model="large", layer="l0")
            result = self.assertExit(6, self.hold("large", "l1", "--", "echo", "ran"))
            self.assertEqual(result.out, "")
            self.assertIn("large/l0 is held by", result.err)
            self.assertIn("(pid %d)" % os.getpid(), result.err)
            self.assertExit(6, self.hold("large", "l1", "--wait=1ms", "--", "echo", "ran"))
            self.assertGreater(self.leased(), 0)
        self.assertExit(0, self.hold("large", "l1", "--wait=60s", "--", "true"))

    def test_no_room_for_all(self):
        """The command's own leases take the room, so it is useless to try again or to wait."""
        self.daemon.call("LoadModel", definition=sized_model("large", *[20 * MIB] * 3))
        for words in ([], ["--wait=60s"]):
            result = self.assertExit(6, self.hold("large", *words, "--", "echo", "ran"))
            self.assertEqual(result.out, "")
            self.assertIn("no room for all", result.err)
        self.assertGivenBack()

    def test_wait(self):
        self.daemon.call("LoadModel", definition=sized_model("large", 30 * MIB, 30 * MIB))
        with self.daemon.connect() as other:
            other.call("Acquire", model="large", layer="l0")
            process = self.start_hold("large", "l1", "--wait=60s", "--", "echo", "ran")
            wait_until(lambda: self.daemon.stats()["scheduler"]["waiting"] == 1, "it to wait")
            self.assertIn("1 waiting", self.daemon.emctl("stats").out)
            self.assertIsNone(process.poll())
        self.assertEqual(process.communicate(timeout=TIMEOUT)[0], b"ran\n")
        self.assertEqual(process.returncode, 0)

    def test_not_found(self):
        for words in (["nope"], ["nope", "l0"], ["m", "nope"], ["m", "l0", "nope"]):
            with self.subTest(words=words):
                result = self.assertExit(7, self.hold(*words, "--", "echo", "ran"))
                self.assertEqual(result.out, "")
                self.assertIn("nope", result.err)
        self.assertGivenBack()

    def test_signals_go_to_the_command(self):
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
                     signal.SIGUSR2):
            with self.subTest(sent=sent):
                process = self.start_hold("m", "--", *PYTHON, """
import signal, sys
signals = [1, 2, 3, 10, 12, 15]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
sys.exit(100 + signal.sigwait(signals))""")
                self.assertEqual(process.stdout.readline(), b"ready\n")
                process.send_signal(sent)
                self.assertEqual(process.wait(TIMEOUT), 100 + sent)
        self.assertGivenBack()

    def test_a_signal_that_the_command_outlives(self):
        process = self.start_hold("m", "--", *PYTHON, """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
print("term", flush=True)
sys.stdin.read()
sys.exit(9)""")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.terminate()
        self.assertEqual(process.stdout.readline(), b"term\n")
        self.assertEqual(self.leased(), 4 * MIB)
        self.assertIsNone(process.poll())
        process.communicate(b"", TIMEOUT)
        self.assertEqual(process.returncode, 9)

    def test_ctrl_c_comes_once(self):
        """The terminal sends the signal to both, so emctl must not pass it on."""
        pid, terminal = pty.fork()
        if pid == 0:
            environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket)
            os.execvpe(str(EMCTL), [str(EMCTL), "hold", "m", "--", *PYTHON, """
import signal, sys
n, both = 0, [signal.SIGINT, signal.SIGUSR1]
signal.pthread_sigmask(signal.SIG_BLOCK, both)
print("ready", flush=True)
while signal.sigwait(both) == signal.SIGINT:
    n += 1
    print("int", flush=True)
sys.exit(10 + n)"""], environment)
        with open(terminal, "rb", buffering=0) as screen:
            def read_until(word):
                text = b""
                while word not in text:
                    self.assertTrue(select.select([screen], [], [], TIMEOUT)[0], text)
                    text += screen.read(1024)
            read_until(b"ready")
            os.write(terminal, b"\x03")
            read_until(b"int")
            # emctl passes signals on in order, so after this one no other can follow.
            os.kill(pid, signal.SIGUSR1)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 11)
        self.assertGivenBack()

    def test_killed(self):
        """The leases end with it; the command goes on."""
        process = self.start_hold("m", "--", "sh", "-c", "echo ready; cat; echo over")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.kill()
        process.wait(TIMEOUT)
        self.assertGivenBack()
        self.assertEqual(process.communicate(b"", TIMEOUT)[0], b"over\n")

    def test_the_daemon_goes_away(self):
        process = self.start_hold("m", "--", "sh", "-c", "echo ready; cat; exit 5",
                                  stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        self.daemon.stop()
        self.assertIn(b"no longer held", process.stderr.readline())
        self.assertIsNone(process.poll())
        out, err = process.communicate(b"", TIMEOUT)
        self.assertEqual((process.returncode, out, err), (5, b"", b""))

    def test_whoever_ignores_children(self):
        """If emctl inherits SIGCHLD as ignored, the exit status must not be lost."""
        result = self.hold("m", "--", "sh", "-c", "exit 3",
                           preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertExit(3, result)


if __name__ == "__main__":
    unittest.main()
