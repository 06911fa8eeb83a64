"""emctl top on a real terminal."""
import contextlib
import os
import re
import signal
import socket
import threading

from harness import EMCTL, MIB, sized_model, wait_until
from leasing import LeaseTestCase
from tmux_screen import TerminalScreen, needs_tmux

# What differs from run to run, and what stands for it.
VARYING = ((r"edgemindd [0-9.]+, process \d+, up \d+ s, ", "edgemindd V, process N, up N s, "),
           (r" +\d\d:\d\d:\d\d$", "  HH:MM:SS"), (r"^\d\d:\d\d:\d\d  ", "HH:MM:SS  "),
           (r"on request of user .*", "on request"),
           (r"RSS [0-9.]+ MiB; CPU [0-9.]+%", "RSS N MiB; CPU N%"),
           (r" +(now|\d+ s|\d+ min)( +\d+ +\d+ +[0-9.-]+)$", "  AGE\\2"))


def masked(line):
    for pattern, instead in VARYING:
        line = re.sub(pattern, instead, line)
    return line


@needs_tmux
class Top(LeaseTestCase):
    def setUp(self):
        super().setUp()
        self.daemon = self.start(capacity="50M", policy="lru", commit="load", log_level="info")

    def top(self, *words, daemon=None, **options):
        return TerminalScreen(self, EMCTL, "--socket", (daemon or self.daemon).socket, "top", *words, **options)

    def assertLines(self, screen, first, expected):
        """Waits until these lines, from `first` on, are on the screen."""
        def lines():
            return [masked(line) for line in screen.lines()][first:first + len(expected)]
        try:
            wait_until(lambda: lines() == expected, "these lines")
        except AssertionError:
            self.assertEqual(lines(), expected)

    def load(self, name, *sizes, **parameters):
        self.daemon.call("LoadModel", definition=sized_model(name, *sizes), **parameters)

    def test_screen(self):
        """The whole screen of 80x24, with a lease, a refusal and a model that is not resident."""
        self.load("alpha", 10 * MIB, 5 * MIB)
        self.load("beta", *[5 * MIB] * 3)
        self.load("gone", MIB)
        self.daemon.call("UnloadLayer", model="gone", layer="l0")
        client = self.client()
        client.lease(model="beta", layer="l1")
        screen = self.top()
        screen.wait_for(r"(?m)^RSS  +##")  # two seconds
        self.load("late", MIB)
        screen.wait_for("model late registered")
        self.daemon.call("UnloadModel", model="late")
        screen.wait_for("model late removed")
        self.assertLines(screen, 0, [
            "edgemindd V, process N, up N s, lru, evict  HH:MM:SS",
            "arena 30.0 MiB of 50.0 MiB, 5.0 MiB leased; RSS N MiB; CPU N%; 12% hits",
            "map        " + "a" * 41 + "B" * 14 + "b" * 14,
            "           " + "b" * 14 + "." * 55,
            "50.0 MiB   " + "-" * 69])
        screen.wait_for(r"(?m)^RSS +#+$")
        self.assertLines(screen, 9, [
            "  MODEL             RESIDENT    HITS  MISSES      READ   USED HELD RUNS PASS/MIN",
            "a alpha             15.0 MiB       0       2  15.0 MiB  AGE    0    0        -",
            "b beta              15.0 MiB       1       3  15.0 MiB  AGE    1    0        -",
            "  gone                   0 B       0       1   1.0 MiB  AGE    0    0        -",
            ""])
        self.assertLines(screen, 19, [
            "  EVENTS", "HH:MM:SS  l0 of late loaded, 1.0 MiB",
            "HH:MM:SS  l0 of late evicted, 1.0 MiB, on request", "HH:MM:SS  model late removed",
            "q quit  s sort: resident  / filter  p pause  Up, Down scroll  h help"])

    def test_keys(self):
        for name, size in (("small", MIB), ("large", 9 * MIB), ("medium", 4 * MIB)):
            self.load(name, size)
        self.daemon.call("LoadLayer", model="small", layer="l0")
        screen = self.top()

        def assert_names(*expected):
            def shown():
                return tuple(re.findall(r"(?m)^. (small|large|medium) ", screen.text()))
            wait_until(lambda: shown() == expected, "these models: %r" % (expected,))
        screen.wait_for("sort: resident")
        assert_names("large", "medium", "small")
        screen.type("s")
        screen.wait_for("sort: hits")
        assert_names("small", "large", "medium")
        screen.type("s", "s", "s", "s")
        screen.wait_for("sort: name")
        assert_names("large", "medium", "small")
        screen.type("/", "M", "x", "BSpace", "E")
        screen.wait_for("show models with: ME_")
        assert_names("medium")
        screen.type("Enter")
        screen.wait_for("filter: ME ")
        assert_names("medium")
        screen.type("/", "Escape")
        screen.wait_for("(?m)^. large")
        screen.type("Down")
        assert_names("medium", "small")
        screen.type("Up")
        assert_names("large", "medium", "small")
        screen.type("h")
        self.assertIn("--- is the capacity\n", screen.wait_for("(?s)Keys.*Any key goes back"))
        screen.type("x")
        screen.wait_for("EVENTS")
        screen.type("p")
        screen.wait_for("paused")
        self.load("while-paused", MIB)
        screen.type("p")
        screen.wait_for("(?m)^. while-paused")
        screen.type("q")
        self.assertNotIn("EVENTS", screen.wait_for("ended 0"))

    def test_sizes(self):
        self.load("m", MIB, MIB)
        screen = self.top(columns=200, rows=50)
        screen.wait_for(r"(?m)^  MODEL +RESIDENT.* PASS/MIN +SIZE +LAYERS +STREAMED$")
        text = screen.wait_for(r"(?m)^a m  +2.0 MiB .*  2/2 +0 B$")
        for line in text.split("\n"):
            self.assertLessEqual(len(line), 200)
        screen.resize(80, 24)
        screen.wait_for(r"(?m)PASS/MIN$")
        screen.resize(40, 10)
        screen.wait_for("too small: 40 x 10, needs 60 x 16")
        screen.resize(60, 16)
        text = screen.wait_for("(?ms)^map .*^a m .*^q quit")
        self.assertEqual(len(text.split("\n")), 16)
        screen.type("q")
        screen.wait_for("ended 0")

    def test_without_colour(self):
        self.load("m", MIB)
        colour = r"\x1b\[[0-9;]*3[0-7][;m]"
        screen = self.settled(self.top())
        wait_until(lambda: re.search(colour, screen.styled()), "colours")
        for options in ({"term": "vt100"}, {"NO_COLOR": "1"}):
            with self.subTest(options=options):
                self.assertNotRegex(self.settled(self.top(**options)).styled(), colour)

    def settled(self, screen):
        screen.wait_for("(?m)^a m .*")
        return screen

    def test_streaming(self):
        """A run through a model that is larger than the arena."""
        daemon = self.start(capacity="4M", policy="next-use")
        self.daemon = daemon
        self.load("m", *[MIB] * 6)
        client = self.client(daemon)
        ended = threading.Event()

        def use():
            name = client.call("BeginRun", model="m")["run"]
            while not ended.wait(0.01):
                client.lease("Next", run=name, waitUsec=30_000_000)
        thread = threading.Thread(target=use)
        thread.start()
        try:
            screen = self.top(daemon=daemon, columns=100)
            screen.wait_for(r"(?m)^map  +A+a*(\n +A*a*)?~+$")
            screen.wait_for(r"(?m)^a m .* 1 +[1-9]\d*$|^a m .* 1 +[1-9]\d* ")  # passes a minute
        finally:
            ended.set()
            thread.join()

    def test_views(self):
        self.load("m", *[MIB] * 4)
        client = self.client()
        view = client.call("BeginView", model="m", program="engine", bytes=5 * MIB,
                           outsideBytes=MIB)["view"]
        for layer in ("l0", "l1"):
            client.lease(model="m", layer=layer, view=view)
        self.top().wait_for(r"(?m)^view +\[#{8}-{4}\.{8}\] 2\.0 MiB of 5\.0 MiB held, engine \(%d\) on m$"
                            % os.getpid())

    def test_the_daemon_restarts(self):
        self.load("before", MIB)
        screen = self.top()
        screen.wait_for("(?m)^a before")
        self.daemon.process.kill()
        self.daemon.process.wait()
        screen.wait_for(r"(?m)no answer for \d+ s; trying again$")
        screen.wait_for("the daemon is away: ")
        self.daemon.start({}, {}, (), {"capacity": "50M", "commit": "load"})
        self.daemon.wait_notify("READY=1")
        screen.wait_for("connected again, to process %d" % self.daemon.pid)
        self.load("after", MIB)
        screen.wait_for("(?m)^a after")
        wait_until(lambda: not re.search("(?m)^. before|no answer", screen.text()), "the old to go")

    def test_a_daemon_that_stops_answering(self):
        screen = self.top()
        screen.wait_for("no models")
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            screen.wait_for(r"no answer for \d+ s; trying again")
            screen.type("h")  # keys are served all the same
            screen.wait_for("Any key goes back")
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        screen.type("x")
        screen.wait_for(r"(?m)  \d\d:\d\d:\d\d$")

    def test_names_are_harmless(self):
        self.load("\u6a21\u578b-\u00fc", MIB)
        self.load("x" * 200, MIB)
        self.top().wait_for("(?ms)^a x+\u2026x+ +1.0 MiB .*^b \u6a21\u578b-\u00fc +1.0 MiB ")

    def test_only_what_changes_is_sent(self):
        """The bytes that the daemon sends in a frame do not grow with the number of models."""
        for i in range(300):
            self.load("model-%d" % i, 4096)
        everything = self.daemon.call("Usage")
        with Counter(self, self.daemon.socket) as counter:
            screen = TerminalScreen(self, EMCTL, "--socket", counter.path, "top")
            screen.wait_for("(?m)^. model-299|model-1 ")
            counter.settle()
            before = dict(counter.methods)
            n_bytes = counter.n_bytes
            wait_until(lambda: counter.methods["Stats"] >= before["Stats"] + 6, "six frames")
            sent = counter.n_bytes - n_bytes
        self.assertEqual(len(everything["models"]), 100)
        self.assertLess(sent / 6, 4096)

    def test_no_terminal(self):
        result = self.assertExit(2, self.daemon.emctl("top"))
        self.assertIn("needs a terminal", result.err)
        self.top(term="dumb").wait_for(r"(?s)cannot place text.*ended 1")
        nowhere = self.directory() / "s"
        TerminalScreen(self, EMCTL, "--socket", nowhere, "top").wait_for("(?s)no daemon at.*ended 3")

    def test_interrupted(self):
        screen = self.top()
        screen.wait_for("EVENTS")
        screen.type("C-c")
        self.assertNotIn("EVENTS", screen.wait_for("ended 130"))


class Counter:
    """Stands between a client and the daemon, and counts what passes."""

    def __init__(self, test, daemon_socket):
        self.path = test.directory() / "s"
        self.daemon_socket = str(daemon_socket)
        self.n_bytes = 0
        self.methods = {}

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            daemon = socket.socket(socket.AF_UNIX)
            daemon.connect(self.daemon_socket)
            for ends in ((client, daemon, False), (daemon, client, True)):
                threading.Thread(target=self.copy, args=ends, daemon=True).start()

    def copy(self, source, target, from_daemon):
        with source, target, contextlib.suppress(ConnectionError):
            while data := source.recv(1 << 16):
                if from_daemon:
                    self.n_bytes += len(data)
                else:
                    for method in re.findall(rb'"io\.edgemind\.manager\.(\w+)"', data):
                        self.methods[method.decode()] = self.methods.get(method.decode(), 0) + 1
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def settle(self):
        """Waits until the first listing is over."""
        before = self.methods.get("Stats", 0)
        wait_until(lambda: self.methods.get("Stats", 0) >= before + 3, "frames")
