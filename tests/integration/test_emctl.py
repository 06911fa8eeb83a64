"""emctl with a daemon, as people and scripts use it: exit codes, output, pipes, and the places of
files and sockets."""
import itertools
import json
import os
import socket
import subprocess
import threading
import unittest

from harness import (EMCTL, FFN10, MIB, TIMEOUT, TestCase, clean_environment, memory_file, run,
                     sized_model, wait_until)
from leasing import POLICIES


class WithDaemon(TestCase):
    options = {"capacity": "50M"}

    def test_exit_codes(self):
        emctl, directory = self.daemon.emctl, self.daemon.directory
        good, big, bad = directory / "good", directory / "big", directory / "bad.json"
        good.write_text(sized_model("good", 30 * MIB, 30 * MIB))
        big.write_text(sized_model("big", 51 * MIB))
        bad.write_text('{"name": "m",\n "layers": 3}')
        self.assertExit(0, emctl("load-model", good))
        result = self.assertExit(10, emctl("load-model", good))
        self.assertIn("--replace", result.err)
        self.assertExit(1, emctl("load-model", directory / "nope"))
        self.assertExit(1, emctl("load-model", directory))
        self.assertExit(2, emctl("load-model", good, "--on-full=never"))
        self.assertExit(4, emctl("load-model", big))
        result = self.assertExit(5, emctl("load-layer", "good", "l0", "--on-full=ask"))
        self.assertIn("good/l1", result.err)
        self.assertExit(7, emctl("load-layer", "good", "l9"))
        result = self.assertExit(8, emctl("load-model", bad))
        self.assertIn("bad.json", result.err)
        self.assertIn("layers", result.err)
        bad.write_text('{"name": "m",\n "layers": }')
        self.assertIn("bad.json:2:", self.assertExit(8, emctl("load-model", bad)).err)
        for verb in ("list", "stats"):
            self.assertEqual(self.assertExit(0, emctl(verb)).err, "")

    def test_a_boot_script_that_runs_twice(self):
        emctl, stats = self.daemon.emctl, self.daemon.stats
        path = self.daemon.directory / "m"
        path.write_text(sized_model("m", MIB, MIB))
        for words in ([], ["--if-absent"]):
            self.assertExit(0, emctl("load-model", path, *words))
        loaded = stats()["scheduler"]["bytesLoaded"]
        self.assertEqual(self.assertExit(0, emctl("load-model", path, "--if-absent")).out,
                         "m: is known already\n")
        self.assertEqual(stats()["scheduler"]["bytesLoaded"], loaded)
        path.write_text(sized_model("m", MIB))
        for _ in range(2):
            result = self.assertExit(0, emctl("load-model", path, "--replace"))
            self.assertRegex(result.out, "^m: 1 layer, 1.0 MiB loaded")
            self.assertEqual(result.err, "")
        self.assertEqual(self.daemon.call("List", model="m")["total"], 1)
        with self.daemon.connect() as client:
            client.call("Acquire", model="m", layer="l0")
            self.assertExit(6, emctl("load-model", path, "--replace"))
        self.assertEqual(self.daemon.call("List", model="m")["total"], 1)
        result = emctl("load-model", path, "--if-absent", "--json")
        self.assertEqual(json.loads(self.assertExit(0, result).out)["error"],
                         "io.edgemind.manager.AlreadyLoaded")

    def test_a_replacement_that_is_refused_changes_nothing(self):
        emctl, directory = self.daemon.emctl, self.daemon.directory
        path = directory / "m"
        path.write_text(sized_model("m", MIB, MIB))
        self.assertExit(0, emctl("load-model", path))
        (directory / "no-weights").write_bytes(b"?" * 100)
        weights = '{"name": "m", "weights": "%s", "layers": [{"type": "linear", "in_features": 2, ' \
                  '"out_features": 2}]}'
        for status, text in ((8, '{"name": "m", "layers": }'),
                             (8, '{"name": "m", "layers": [{}]}'),
                             (1, weights % "not-there"),
                             (8, weights % "no-weights"),
                             (4, sized_model("m", MIB, 51 * MIB))):
            path.write_text(text)
            for words in (["--replace"], ["--replace", "--on-full=ask"]):
                self.assertExit(status, emctl("load-model", path, *words))
                found = self.daemon.call("List", model="m")["layers"]
                self.assertEqual([layer["state"] for layer in found], ["resident"] * 2, text)

    def test_quiet(self):
        emctl = self.daemon.emctl
        for words in (["load-model", FFN10], ["load-layer", "ffn10", "dense_0"], ["reset"],
                      ["set-policy", "lru"], ["unload-model", "ffn10"]):
            result = self.assertExit(0, emctl("-q", *words))
            self.assertEqual((result.out, result.err), ("", ""))
        self.assertIn("no models", emctl("-q", "list").out)
        self.assertIn("nope", emctl("-q", "list", "nope").err)

    def test_which_policy_holds(self):
        self.assertExit(0, self.daemon.emctl("set-policy", "next-use", "--on-full=ask"))
        self.assertEqual(self.assertExit(0, self.daemon.emctl("set-policy")).out,
                         "policy next-use, on full ask\n")
        self.assertEqual(json.loads(self.daemon.emctl("set-policy", "-j").out),
                         {"policy": "next-use", "onFull": "ask"})
        result = self.assertExit(2, self.daemon.emctl("set-policy", "fifo"))
        self.assertIn("%s and %s." % (", ".join(POLICIES[:-1]), POLICIES[-1]), result.err)

    def test_zeros_have_no_rate(self):
        result = self.assertExit(0, self.daemon.emctl("load-model", FFN10))
        self.assertIn("zeros", result.out)
        self.assertNotIn("/s", result.out)

    def test_busy(self):
        """Exit 6, while another client's long load goes on."""
        with self.daemon.connect() as c, \
                memory_file(sized_model("m", *[20 * MIB] * 50000)) as file:
            c.send_call("LoadModel", {"definitionFileDescriptor": 0}, [file.fileno()], more=True)
            c.reply("LoadModel")
            stop = threading.Event()

            def drain():
                c.socket.settimeout(0.05)
                while not stop.is_set():
                    try:
                        c.socket.recv(1 << 16)
                    except socket.timeout:
                        pass
            reader = threading.Thread(target=drain)
            reader.start()
            try:
                result = wait_until(lambda: self.result_if_busy(), "reset to meet a load")
            finally:
                stop.set()
                reader.join()
        self.assertIn("m/l", result.err)
        self.assertUnharmed()

    def result_if_busy(self):
        result = self.daemon.emctl("reset")
        return result if result.code == 6 else None

    def test_json_is_the_reply(self):
        self.daemon.call("LoadModel", definition=sized_model("m", 1, MIB))
        with self.daemon.connect() as c:
            for words, method, parameters in (
                    (["list"], "List", {}), (["list", "m"], "List", {"model": "m"}),
                    (["plan", FFN10], "Plan", {"definition": FFN10.read_text()}),
                    (["set-policy", "lru"], "SetPolicy", {"policy": "lru"})):
                with self.subTest(words=words):
                    printed = self.assertExit(0, self.daemon.emctl(*words, "--json")).out
                    c.send_call(method, parameters)
                    raw = c.receive()
                    self.assertEqual(json.loads(printed), json.loads(raw)["parameters"])
                    self.assertIn(printed.strip().encode(), raw)
        printed = self.assertExit(0, self.daemon.emctl("stats", "--json")).out
        self.assertEqual(list(json.loads(printed)),
                         ["arena", "scheduler", "monitor", "pressure", "views", "control",
                          "daemon"])
        # An error is on stderr for people, and on stdout for programs.
        result = self.assertExit(7, self.daemon.emctl("load-layer", "m", "nope", "--json"))
        self.assertEqual(json.loads(result.out), {"error": "io.edgemind.manager.NotFound",
                                                  "parameters": {"kind": "layer", "name": "nope"}})
        self.assertIn("nope", result.err)

    def test_json_progress(self):
        out = self.assertExit(0, self.daemon.emctl("load-model", FFN10, "--json")).out
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(lines[-1]["resident"], 4)
        self.assertNotIn("layer", lines[-1])

    def test_plan(self):
        before = self.daemon.stats()["scheduler"]
        for words in ([], ["--capacity=50M"]):
            result = self.assertExit(0, self.daemon.emctl("plan", FFN10, *words))
            for i in range(10):
                self.assertIn("dense_%d" % i, result.out)
            self.assertIn("must-unload", result.out)
        self.assertEqual(self.daemon.stats()["scheduler"], before)

        def plan(*words, code=0):
            return json.loads(self.assertExit(code, self.daemon.emctl("plan", "--json", *words)).out)
        self.assertEqual(plan(FFN10), plan(FFN10, "--capacity=50M"))
        large = plan(FFN10, "--capacity=8G")
        self.assertEqual((large["capacityBytes"], large["mustUnload"], large["resident"]),
                         (8 << 30, 0, 10))
        self.assertEqual(plan(FFN10, "--capacity=50M", "--policy=lru")["evictions"], 4)
        result = self.assertExit(4, self.daemon.emctl("plan", "--json", "--capacity=1M", FFN10))
        self.assertEqual(json.loads(result.out)["outOfMemory"], 10)

    def test_plan_of_a_name_that_a_folder_has(self):
        (self.daemon.directory / "weights").mkdir()
        result = self.assertExit(7, self.daemon.emctl("plan", "weights", cwd=self.daemon.directory))
        self.assertIn("there is no model weights.", result.err)
        self.assertIn("write ./weights.", result.err)

    def test_plan_needs_no_daemon(self):
        environment = clean_environment(EDGEMIND_SOCKET="/nonexistent/s")
        result = run(EMCTL, "plan", FFN10, "--capacity=8G", "--json", env=environment)
        self.assertEqual(json.loads(self.assertExit(0, result).out)["loaded"], 10)
        self.assertExit(3, run(EMCTL, "plan", FFN10, env=environment))

    def test_pipes_and_full_disks(self):
        with open(self.daemon.directory / "many", "w") as file:
            file.write(sized_model("many", *[1] * 1500))
        self.assertExit(0, self.daemon.emctl("load-model", file.name))
        environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket)
        for words in (["list", "many"], ["list", "many", "--json"], ["--help"]):
            with self.subTest(words=words):
                read, write = os.pipe()
                os.close(read)  # the reader has gone: emctl ends without a message
                done = subprocess.run([EMCTL, *words], env=environment, stdout=write,
                                      stderr=subprocess.PIPE, timeout=TIMEOUT)
                os.close(write)
                self.assertEqual(done.stderr, b"")
                with open("/dev/full", "wb") as full:
                    done = subprocess.run([EMCTL, *words], env=environment, stdout=full,
                                          stderr=subprocess.PIPE, timeout=TIMEOUT)
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"standard output", done.stderr)

    def test_closed_standard_descriptors(self):
        """Neither the socket nor the arena takes their numbers: nothing is written where it does not belong."""
        self.daemon.load(sized_model("m", MIB))
        shell = ["sh", "-c", 'exec "$0" "$@" >&-', EMCTL, "--socket", self.daemon.socket]
        for words in (["list"], ["stats", "--json"], ["cat", "m", "l0"]):
            result = self.assertExit(1, run(*shell, *words))
            self.assertIn("cannot write to standard output: Bad file descriptor", result.err)
        shell[2] = 'exec "$0" "$@" <&- 2>&-'
        self.assertIn("m ", self.assertExit(0, run(*shell, "list")).out)
        self.assertExit(7, run(*shell, "unload-model", "other"))
        self.assertEqual(self.daemon.stats()["control"]["errors"], 1)  # the last one

        daemon = self.start(prefix=["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'])
        for fd in range(3):
            self.assertEqual(os.readlink("/proc/%d/fd/%d" % (daemon.pid, fd)), "/dev/null")

    def test_control_characters_on_the_command_line(self):
        for words in (["set-policy", "no\x1bx"], ["ver\x1bb"], ["load-model", "--name", "x\x1b", "f"],
                      ["map", "--svg=/no\x1b/file"], ["--socket=/no\x1bx", "list"], ["hold", "m", "--", "no\x1b"]):
            result = self.daemon.emctl(*words)
            self.assertNotEqual(result.code, 0, words)
            self.assertNotIn("\x1b", result.err)

    def test_list_of_more_than_a_reply_holds(self):
        path = self.daemon.directory / "many"
        path.write_text(sized_model("many", *[1] * 2500))
        self.assertExit(0, self.daemon.emctl("load-model", path))
        out = self.assertExit(0, self.daemon.emctl("list", "many")).out
        for name in ("l0 ", "l999 ", "l1000 ", "l2499 "):
            self.assertIn(name, out)

    def test_definitions_are_looked_up(self):
        here, there = self.directory(), self.directory()
        (there / "m.json").write_text(sized_model("there", 1))

        def load(*words, **variables):
            environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket, **variables)
            return run(EMCTL, "load-model", *words, env=environment, cwd=here)
        path = "%s:%s" % (here / "nope", there)
        self.assertExit(0, load("m.json", EDGEMIND_PATH=path))
        self.assertEqual(self.daemon.call("List")["models"][0]["name"], "there")
        (here / "m.json").write_text(sized_model("here", 1))
        self.assertExit(0, load("m.json", EDGEMIND_PATH=path))  # the current directory comes first
        self.assertEqual(self.daemon.call("List")["models"][1]["name"], "here")
        (here / "m.json").unlink()
        self.assertExit(1, load("./m.json", EDGEMIND_PATH=path))  # a path is a path
        result = self.assertExit(1, load("n.json", EDGEMIND_PATH=path))
        self.assertIn(str(there / "n.json"), result.err)

    def test_socket_is_looked_up(self):
        daemon = self.daemon
        nowhere = "/nonexistent/s"
        clean = clean_environment
        self.assertExit(0, run(EMCTL, "stats", env=clean(EDGEMIND_SOCKET=daemon.socket)))
        for words in (["--socket", daemon.socket, "stats"],
                      ["stats", "--socket=%s" % daemon.socket]):
            self.assertExit(0, run(EMCTL, *words, env=clean(EDGEMIND_SOCKET=nowhere)))
        self.assertExit(3, run(EMCTL, "stats", "--socket", nowhere,
                               env=clean(EDGEMIND_SOCKET=daemon.socket)))
        if os.path.exists("/run/edgemind/io.edgemind.manager"):
            self.skipTest("this machine runs a daemon of its own")
        runtime = self.directory()
        (runtime / "edgemind").mkdir()
        (runtime / "edgemind" / "io.edgemind.manager").symlink_to(daemon.socket)
        result = run(EMCTL, "stats", "--json", env=clean(XDG_RUNTIME_DIR=runtime))
        self.assertEqual(json.loads(self.assertExit(0, result).out)["daemon"]["pid"], daemon.pid)

    def test_watch(self):
        environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket)
        policies = itertools.cycle(("lru", "flush-all"))
        with subprocess.Popen([EMCTL, "watch", "--json"], env=environment, bufsize=0,
                              stdout=subprocess.PIPE) as watcher:
            os.set_blocking(watcher.stdout.fileno(), False)
            text = bytearray()

            def told():  # the test does not know when emctl begins to watch
                self.daemon.call("SetPolicy", policy=next(policies))
                text.extend(watcher.stdout.read() or b"")
                return b"policy-changed" in text
            try:
                wait_until(told, "an event")
            finally:
                watcher.terminate()
        self.assertUnharmed()

    def test_version_of_both(self):
        out = self.assertExit(0, self.daemon.emctl("version")).out
        self.assertGreaterEqual(out.count(self.daemon.stats()["daemon"]["version"]), 2)


if __name__ == "__main__":
    unittest.main()
