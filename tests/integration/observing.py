"""The observer (tests/soak/observer.c), which looks at a daemon through /proc once a millisecond."""
import contextlib
import json
import os
import subprocess

from harness import BUILD, TIMEOUT

OBSERVER = BUILD / "tests" / "soak" / "observer"
FIGURES = ("capacity", "overhead", "descriptors", "threads")
ENDLESS = 1 << 40


class Observer:
    """`limits`: bytes, bytes, and two numbers; a figure that is not named has none."""

    def __init__(self, daemon, limits):
        words = [limits.get(figure, ENDLESS) for figure in FIGURES]
        self.process = subprocess.Popen([OBSERVER, *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with contextlib.suppress(PermissionError):  # so that it looks on time beside all others
            os.sched_setscheduler(self.process.pid, os.SCHED_FIFO, os.sched_param(1))
        self.watch(daemon)

    def watch(self, daemon):
        """From now on it looks at this daemon, or at its next process."""
        self.process.stdin.write(b"%d\n" % daemon.pid)
        self.process.stdin.flush()

    def finish(self):
        """What it has seen, and the limits that it saw exceeded ("": none)."""
        seen, breaches = self.process.communicate(timeout=TIMEOUT)
        return json.loads(seen), breaches.decode()

    def discard(self):
        if self.process.returncode is None:
            self.process.communicate()
