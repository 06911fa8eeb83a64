"""Runs emctl on a terminal of its own."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios

from harness import EMCTL, TIMEOUT, clean_environment


def on_terminal(daemon_socket, *words, columns=80, **variables):
    """Runs emctl with a terminal of this width as its output. Returns (exit code, text)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = clean_environment(EDGEMIND_SOCKET=daemon_socket, TERM="xterm", **variables)
    process = subprocess.Popen([str(word) for word in (EMCTL, *words)], env=environment,
                               stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while select.select([ours], [], [], TIMEOUT)[0]:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # EIO: the other side has been closed
            break
        if not data:
            break
        text += data
    os.close(ours)
    return process.wait(TIMEOUT), text.decode()
