"""A real terminal for tests: tmux without a window. Its screen can be read, resized and typed into."""
import re
import shutil
import subprocess
import unittest

from harness import TIMEOUT, clean_environment, wait_until

needs_tmux = unittest.skipUnless(shutil.which("tmux"), "needs tmux")


class TerminalScreen:
    """Runs a command on a terminal of `columns` x `rows`. After the command its exit code is shown
    as "ended N"."""

    def __init__(self, test, *words, columns=80, rows=24, term="screen-256color", **variables):
        self.socket = test.directory() / "tmux"
        (self.socket.parent / "run").write_text(
            '#!/bin/sh\ntrap : INT\n"$@"\necho "ended $?"\nexec sleep %d\n' % TIMEOUT)
        test.addCleanup(self.tmux, "kill-server", check=False)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, "env", "TERM=" + term,
                  *("%s=%s" % item for item in variables.items()), "sh", self.socket.parent / "run",
                  *words)

    def tmux(self, *words, check=True):
        done = subprocess.run(["tmux", "-S", str(self.socket), *map(str, words)], check=check,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT,
                              env=clean_environment(TERM="xterm", LC_ALL="C.UTF-8"))
        return done.stdout.decode()

    def lines(self):
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").split("\n")[:-1]]

    def text(self):
        return "\n".join(self.lines())

    def styled(self):
        """The text with its escape sequences."""
        return self.tmux("capture-pane", "-p", "-e")

    def wait_for(self, pattern):
        """Waits until the screen matches, and returns its text."""
        found = []

        def matches():
            found[:] = [self.text()]
            return re.search(pattern, found[0])
        try:
            wait_until(matches, "the screen to match %r" % pattern)
        except AssertionError:
            raise AssertionError("no %r on the screen:\n%s" % (pattern, found[0])) from None
        return found[0]

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", columns, "-y", rows)
