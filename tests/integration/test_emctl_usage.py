"""emctl without a daemon: help, completion, wrong usage, and connections that nobody answers."""
import os
import socket
import threading
import unittest

from harness import EMCTL, ROOT, TIMEOUT, TestCase, run, sized_model
from leasing import POLICIES

VERBS = ("load-model", "load-layer", "unload-model", "unload-layer", "reset", "list", "stats",
         "plan", "hold", "exec", "views", "cat", "top", "map", "why", "watch", "set-policy", "version")


class CommandLine(TestCase):
    def test_help(self):
        for words in (["--help"], *[[verb, "--help"] for verb in VERBS]):
            with self.subTest(words=words):
                result = self.assertExit(0, run(EMCTL, *words))
                self.assertIn("Usage", result.out)
                self.assertEqual(result.err, "")
                self.assertLessEqual(max(map(len, result.out.splitlines())), 100)
        text = run(EMCTL, "--help").out
        for verb in VERBS:
            self.assertIn(verb, text)
        self.assertIn("--on-full", run(EMCTL, "load-model", "--help").out)
        for variable in ("EDGEMIND_SOCKET", "EDGEMIND_PATH", "NO_COLOR"):
            self.assertIn(variable, text)
        for code in (*range(11), 130):
            self.assertRegex(text, r"(?m)(^|  )%d  +[a-z]" % code)
        for words in (["-h"], ["-V"], ["stats", "-h"], ["list", "-jV"]):
            self.assertExit(0, run(EMCTL, *words))
        for verb in VERBS:
            for letters in ("-h", "-V", "-qh", "-qV", "-jh"):
                self.assertExit(0, run(EMCTL, verb, letters))

    def test_completion(self):
        """Completion in the shell offers what the help lists."""
        script = ROOT / "client" / "emctl" / "emctl.bash-completion"

        def offers(*words):
            result = run("bash", "-c", 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2));'
                         ' _emctl "$2" "${@: -1}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"',
                         "bash", script, EMCTL, *words)
            return result.out.split()

        self.assertEqual(set(offers("")), {*VERBS, "help"})
        self.assertEqual(offers("set-policy", "l"), ["lru"])
        self.assertEqual(offers("set-policy", ""), POLICIES)
        self.assertEqual(offers("plan", "--policy", ""), [*POLICIES, "all"])
        for words in (["--model", "m", "="], ["--model", "=", "m", "="], ["--", "true"],
                      ["--model", "m", "=", "f", "--auto", "--", "true"]):
            self.assertEqual(offers("exec", *words, str(script)[:-1]), [str(script)])
        self.assertEqual(offers("exec", "--model", "m", str(script)[:-1]), [])
        self.assertIn("--or-file", offers("exec", "--"))
        options = offers("load-model", "--")
        for option in ("--if-absent", "--replace", "--on-full=", "--json", "--quiet", "--socket="):
            self.assertIn(option, options)

    def test_unknown_verb(self):
        for word, guess in (("lod-model", "load-model"), ("load", "load-model"),
                            ("policy", "set-policy"), ("stat", "stats")):
            self.assertIn("did you mean '%s'?" % guess, self.assertExit(2, run(EMCTL, word)).err)
            self.assertIn(guess, self.assertExit(2, run(EMCTL, "help", word)).err)
        self.assertNotIn("did you mean", run(EMCTL, "xyzzy").err)

    def test_usage(self):
        for words in ([], ["nope"], ["--nope"], ["stats", "--nope"], ["stats", "extra"],
                      ["load-model"], ["load-layer", "m"], ["load-layer", "a", "b", "c"],
                      ["unload-layer", "m"], ["unload-model"], ["reset", "x"], ["plan"],
                      ["set-policy", "fifo"], ["plan", "--policy=fifo", "f"],
                      ["stats", "--on-full=ask"],
                      ["load-model", "--on-full=maybe", "f"], ["load-model", "--on-full"],
                      ["--socket"], ["--socket=", "stats"],
                      ["stats", "--json=yes"], ["plan", "--capacity=lots", "f"],
                      ["plan", "--capacity=0", "f"]):
            with self.subTest(words=words):
                result = self.assertExit(2, run(EMCTL, *words))
                self.assertEqual(result.out, "")
                self.assertIn("--help", result.err)

    def test_no_daemon(self):
        nowhere = self.directory() / "s"
        definition = nowhere.parent / "m.json"
        definition.write_text(sized_model("m", 1))
        for words in (["stats"], ["list"], ["reset"], ["watch"], ["load-model", definition],
                      ["plan", definition], ["set-policy", "lru"]):
            with self.subTest(words=words):
                result = self.assertExit(3, run(EMCTL, "--socket", nowhere, *words))
                self.assertIn(str(nowhere), result.err)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(nowhere))
            self.assertExit(3, run(EMCTL, "--socket", nowhere, "stats"))
        self.assertExit(3, run(EMCTL, "--socket=" + "x" * 200, "stats"))

    def test_version(self):
        out = self.assertExit(0, run(EMCTL, "--version")).out
        self.assertRegex(out, r"^emctl \d+\.\d+\.\d+\n$")

    def test_a_daemon_that_is_none(self):
        """If garbage or the end of the connection comes instead of a reply, emctl reports an error
        and never crashes."""
        path = self.directory() / "s"
        for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n\0", b"{}\0", b"[]\0", b"\0", b"{\0",
                       b'{"parameters":{}}\0', b'{"parameters":{"arena":3}}\0',
                       b'{"error":"com.example.Odd","parameters":{"a":"\\u001b[31m"}}\0',
                       b'{"error":"io.edgemind.manager.Busy"}\0', b'{"error":3}\0',
                       b'{"parameters":{"arena":' + b"[" * 5000 + b"]" * 5000 + b"}}\0"):
            with self.subTest(answer=answer[:60]), FakeDaemon(path, answer):
                result = run(EMCTL, "--socket", path, "stats")
                self.assertGreater(result.code, 0, result)
                self.assertTrue(result.err)
                self.assertNotIn("\x1b", result.err + result.out)


class FakeDaemon:
    """Answers one connection's first call with fixed bytes, then hangs up."""

    def __init__(self, path, answer):
        self.path, self.answer = str(path), answer

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(TIMEOUT)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            connection.recv(1 << 16)
            connection.sendall(self.answer)

    def __exit__(self, *_):
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)


if __name__ == "__main__":
    unittest.main()
