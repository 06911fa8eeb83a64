"""Configuration, signals, the service manager's protocols: how edgemindd starts, changes, ends."""
import os
import re
import signal
import socket
import stat
import time
import unittest

from harness import EDGEMINDD, INTERFACES, MIB, ROOT, TIMEOUT, TestCase, run, sized_model
from machine import IS_ROOT
import wire


class CheckConfig(TestCase):
    def check(self, text, *words):
        path = self.directory() / "conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        result = run(EDGEMINDD, "--config=%s" % path, "--check-config", *words)
        result.path = path
        return result

    def test_good(self):
        for text in ("capacity = 50M\n", "# a comment\n\ncapacity=50M\n  policy = lru  \n",
                     "capacity = 1%\ncommit = load\nhuge-pages = reserved\nmlock = yes\n"
                     "on-full = ask\nsocket = /nonexistent/s\nsocket-group = root\n"
                     "admin-group = root\nmodel-dir = /\nloaders = 4\nmonitor-interval = 2s\n"
                     "overhead-limit = 16M\nmax-connections = 10\nmax-connections-per-user = 3\n"
                     "log-level = warning", "capacity = 50M\r\n"):
            with self.subTest(text=text):
                self.assertExit(0, self.check(text))
        self.assertExit(0, self.check("", "--capacity=1M"))

    def test_short_forms(self):
        for short, long in (("-h", "--help"), ("-V", "--version")):
            result = self.assertExit(0, run(EDGEMINDD, short))
            self.assertEqual(result.out, run(EDGEMINDD, long).out)

    def test_bad(self):
        """Each error names the file, the line, and the correct values."""
        for text, line, word in (
                ("capacity = 50M\npolicy = belady\n", 2, "lru"),
                ("capacity = lots\n", 1, "capacity"), ("\n\ncapcity = 50M\n", 3, "capacity"),
                ("capacity = 50M\n[section]\n", 2, "section"), ("capacity\n", 1, "="),
                ("capacity = 50M\nmlock = maybe\n", 2, "yes"),
                ("capacity = 50M\nloaders = 0\n", 2, "loaders"),
                ("capacity = 50M\nmonitor-interval = -1s\n", 2, "monitor-interval"),
                ("capacity = 50M\ncapacity = 60M\n", 2, "capacity"),
                ("capacity = 50M\nlog-level = loud\n", 2, "debug"),
                ("capacity = 50M\nconfig = /etc/x\n", 2, "config"),
                ("capacity = 50M\npolicy = " + "x" * 5000 + "\n", 2, None),
                (b"capacity = 50M\npolicy = l\0ru\n", 2, None)):
            with self.subTest(text=text[:80]):
                result = self.check(text)
                self.assertGreater(result.code, 0, result)
                self.assertIn("%s:%d:" % (result.path, line), result.err)
                self.assertIn(word or "", result.err)
        result = self.check("capacity = 50M\non-pressure = trim\nhuge-pages = reserved\n")
        self.assertExit(2, result)
        self.assertIn("on-pressure=trim cannot be used with huge-pages=reserved", result.err)
        result = self.check("policy = lru\n")  # a capacity must be given somewhere
        self.assertGreater(result.code, 0)
        self.assertIn("capacity", result.err)

    def test_missing_group(self):
        """Another start would not help, so the service manager must not try again."""
        unit = (ROOT / "systemd/edgemindd.service").read_text()
        never = int(re.search(r"(?m)^RestartPreventExitStatus=(\d+)$", unit)[1])
        for option in ("socket-group", "admin-group"):
            result = run(EDGEMINDD, "--capacity=1M", "--socket=%s" % (self.directory() / "s"),
                         "--%s=edgemind-no-such-group" % option)
            self.assertExit(never, result)
            self.assertIn("%s: there is no group edgemind-no-such-group" % option, result.err)

    def test_file(self):
        directory = self.directory()
        os.mkfifo(directory / "fifo")
        for path in (directory / "nope", directory, directory / "fifo", "/dev/zero", ""):
            with self.subTest(path=path):
                result = run(EDGEMINDD, "--config=%s" % path, "--capacity=1M", "--check-config")
                self.assertGreater(result.code, 0, result)
                self.assertIn(str(path), result.err)

    def test_command_line(self):
        for words, text in ((["--nope"], "--nope"), (["--nope=1"], "--nope"),
                            (["--polcy=lru"], "policy"), (["stray"], "stray"), (["-x"], "-x"),
                            (["--policy"], "policy"),
                            (["--policy=belady"], "lru"), (["--check-config=yes"], "check-config"),
                            (["--mlock="], "mlock"), (["--capacity=5", "--loaders=x"], "loaders")):
            with self.subTest(words=words):
                result = self.check("capacity = 50M\n", *words)
                self.assertGreater(result.code, 0, result)
                self.assertIn(text, result.err)
        self.assertExit(0, self.check("capacity = bad\n", "--help"))
        # The command line wins over the file.
        daemon = self.start(config="capacity = 30M\npolicy = lru\non-full = ask\n",
                            policy="flush-all", capacity="10M")
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "flush-all", "onFull": "ask"})
        self.assertEqual(daemon.stats()["arena"]["capacityBytes"], 10 * MIB)

    def test_help_and_version(self):
        help_text = self.assertExit(0, run(EDGEMINDD, "--help")).out
        for option in ("capacity", "commit", "huge-pages", "mlock", "policy", "on-full",
                       "on-pressure", "socket",
                       "socket-group", "admin-group", "model-dir", "loaders", "monitor-interval",
                       "overhead-limit", "max-connections", "max-connections-per-user", "log-level",
                       "config", "check-config", "simulate", "help", "version"):
            self.assertIn("--" + option, help_text)
        version = self.assertExit(0, run(EDGEMINDD, "--version")).out
        self.assertRegex(version, r"^edgemindd \d+\.\d+\.\d+\n$")


class Reload(TestCase):
    def reload(self, daemon, text):
        """Changes the file (None: removes it), sends SIGHUP and waits until the daemon reports the
        end of the reload. Returns the log."""
        seen = len(daemon.read_log())
        if text is None:
            daemon.config.unlink()
        else:
            daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        lines = daemon.wait_notify("RELOADING=1")
        stamp = [line for line in lines if line.startswith("MONOTONIC_USEC=")]
        self.assertEqual(len(stamp), 1, lines)
        self.assertLess(abs(int(stamp[0].split("=")[1]) / 1e6 - time.monotonic()), TIMEOUT)
        daemon.wait_notify("READY=1")
        return daemon.read_log()[seen:]

    def test_takes_over(self):
        daemon = self.start(config="capacity = 10M\npolicy = flush-all\nlog-level = info\n",
                            capacity=None, log_level=None, monitor_interval=None)
        daemon.call("LoadModel", definition=sized_model("m", MIB))
        self.reload(daemon, "capacity = 10M\npolicy = lru\non-full = ask\n"
                            "monitor-interval = 20ms\n")
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "lru", "onFull": "ask"})
        daemon.wait_sample()
        self.assertEqual(daemon.stats()["scheduler"]["layersLoaded"], 1)  # nothing is lost
        log = self.reload(daemon, "capacity = 11M\nlog-level = error\n")
        self.assertIn("capacity", log)
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "flush-all", "onFull": "evict"})
        self.assertEqual(daemon.stats()["arena"]["capacityBytes"], 10 * MIB)
        # The same warning as before, but now of a level that is not logged.
        self.assertNotIn("capacity", self.reload(daemon, "capacity = 12M\nlog-level = info\n"))
        self.assertIn("capacity", self.reload(daemon, "capacity = 11M\n"))

    def test_what_needs_a_restart_is_reported(self):
        daemon = self.start(config="policy = lru\n")
        log = self.reload(daemon, "loaders = 7\ncommit = load\nhuge-pages = auto\n")
        self.assertIn("loaders", log)
        self.assertIn("commit", log)
        self.assertNotIn("huge-pages changed", log)  # the command line still says never
        self.assertEqual(daemon.stats()["arena"]["commit"], "boot")

    def test_a_broken_file_changes_nothing(self):
        daemon = self.start(config="policy = lru\n")
        log = self.reload(daemon, "on-full = ask\npolicy = belady\n")
        self.assertIn("%s:2:" % daemon.config, log)
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "lru", "onFull": "evict"})
        log = self.reload(daemon, "admin-group = no-such-group-here\non-full = ask\n")
        self.assertIn("no-such-group-here", log)
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "lru", "onFull": "evict"})
        log = self.reload(daemon, None)
        self.assertIn(str(daemon.config), log)
        self.assertEqual(daemon.call("SetPolicy"), {"policy": "lru", "onFull": "evict"})

    def test_watchers_are_told(self):
        daemon = self.start()
        with daemon.connect() as watcher:
            watcher.send_call("Watch", more=True)
            watcher.result("Watch")
            self.reload(daemon, "policy = lru\n")
            events = []
            while "reloaded" not in events:
                events += [event["event"] for event in watcher.result("Watch")["events"]]
            self.assertIn("policy-changed", events)


class Life(TestCase):
    def test_ends_cleanly(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start()
            daemon.call("LoadModel", definition=sized_model("m", MIB))
            idle = daemon.connect()
            daemon.process.send_signal(number)
            daemon.wait_notify("STOPPING=1")
            self.assertEqual(daemon.process.wait(TIMEOUT), 0)
            self.assertFalse(daemon.socket.exists())
            self.assertTrue(idle.at_end())
            idle.close()
            daemon.stop()

    def test_ready_after_commitment(self):
        """At READY the memory is committed, the monitor has its first sample, and the socket is
        served."""
        daemon = self.start(capacity="30M")
        status = daemon.status()
        self.assertGreaterEqual(status["RssShmem"] + 64 * 4096 * status["Threads"], 30 * MIB)
        ready = [lines for lines in daemon.notifications.messages if "READY=1" in lines]
        self.assertIn("30.0 MiB", "".join(ready[0]))
        daemon.call("LoadModel", definition=sized_model("m", 5 * MIB))
        while "5.0 MiB" not in daemon.wait_notify("STATUS=")[0]:
            pass

    def test_watchdog(self):
        daemon = self.start(environment={"WATCHDOG_USEC": 200000})
        for _ in range(3):
            daemon.wait_notify("WATCHDOG=1")

    def test_second_daemon_on_the_same_socket(self):
        daemon = self.start()
        result = self.start_refused(capacity="1M", socket=daemon.socket)
        self.assertIn(str(daemon.socket), result.err)
        self.assertUnharmed(daemon)

    def test_stale_socket_is_replaced(self):
        directory = self.directory()
        path = directory / "stale"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        daemon = self.start(socket=path)
        daemon.socket = path
        daemon.stats()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        daemon.stop()
        self.assertFalse(path.exists())

    def test_other_files_are_not_replaced(self):
        directory = self.directory()
        for path in (directory / "file", directory / "link", directory / "inner"):
            if path.name == "file":
                path.write_text("precious")
            elif path.name == "link":
                path.symlink_to(directory / "file")
            else:
                path.mkdir()
            with self.subTest(path=path.name):
                result = self.start_refused(capacity="1M", socket=path)
                self.assertIn(str(path), result.err)
                self.assertTrue(path.exists())
        self.assertEqual((directory / "file").read_text(), "precious")

    @unittest.skipIf(IS_ROOT, "root's default is below /run")
    def test_default_socket_of_an_ordinary_user(self):
        runtime = self.directory()
        daemon = self.start(socket=None, environment={"XDG_RUNTIME_DIR": runtime})
        daemon.socket = runtime / "edgemind" / "io.edgemind.manager"
        daemon.stats()
        daemon.stop()
        self.assertFalse(daemon.socket.exists())

    def test_simulation(self):
        """A simulated daemon decides as the real one does, but commits no memory."""
        daemon = self.start(simulate=True, capacity="1T")
        daemon.call("LoadModel", definition=sized_model("m", 700 << 30, 700 << 30))
        stats = daemon.stats()
        self.assertEqual(stats["arena"]["backing"], "simulated")
        self.assertEqual(stats["scheduler"]["flushes"], 1)
        self.assertLess(daemon.status()["RssShmem"], MIB)
        self.assertTrue(stats["monitor"]["aligned"])
        refused = self.start_refused(simulate=True, capacity="5")
        self.assertIn("less than one page", refused.err)


class SocketActivation(TestCase):
    # A socket has to be descriptor 3, and LISTEN_PID the daemon's own.
    LAUNCHER = 'exec 3<&"$FD" && LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=varlink exec "$@"'

    def activate(self, given, **options):
        given.set_inheritable(True)
        return self.start(prefix=["sh", "-c", self.LAUNCHER, "sh"], socket=None,
                          environment={"FD": given.fileno()},
                          process={"pass_fds": [given.fileno()]}, **options)

    def test_listening_socket(self):
        path = self.directory() / "activated"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(8)
            waiting = wire.Varlink(path, INTERFACES, TIMEOUT)  # before there is a daemon
            waiting.send_call("Stats")
            daemon = self.activate(listener)
        with waiting:
            self.assertEqual(waiting.result("Stats")["daemon"]["pid"], daemon.pid)
        daemon.socket = path
        self.assertUnharmed(daemon)
        daemon.stop()
        self.assertTrue(path.exists())  # the service manager's, not the daemon's

    def test_connected_socket(self):
        """A daemon with one connection and no listener ends with it."""
        ours, theirs = socket.socketpair()
        with theirs:
            daemon = self.activate(theirs, simulate=True)
        with wire.Varlink(ours, INTERFACES, TIMEOUT) as c:
            self.assertEqual(c.call("Stats")["arena"]["backing"], "simulated")
            c.call("LoadModel", definition=sized_model("m", MIB))
        self.assertEqual(daemon.process.wait(TIMEOUT), 0)

    def test_not_a_listening_socket(self):
        """A descriptor that is not a Unix stream socket is not served, and does no harm."""
        path = self.directory() / "s"
        with open(os.devnull, "rb") as null:
            os.set_inheritable(null.fileno(), True)
            daemon = self.start(prefix=["sh", "-c", self.LAUNCHER, "sh"], socket=path,
                                environment={"FD": null.fileno()},
                                process={"pass_fds": [null.fileno()]})
        daemon.socket = path
        self.assertUnharmed(daemon)


if __name__ == "__main__":
    unittest.main()
