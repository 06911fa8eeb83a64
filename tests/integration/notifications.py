"""The other end of sd_notify(3), for a daemon under test."""
import os
import select
import socket
import threading
import time

PATIENCE = 60  # seconds; only ever spent when nobody takes what was sent


class Notifications:
    """A service manager's end of sd_notify: takes what comes, always, as the real one does."""

    def __init__(self, path):
        self.messages = []  # lists of lines, in order
        self.waited_for = 0  # how many of them `wait` has gone through
        self.news = threading.Condition()
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(path, 0o777)
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()

    def take(self):
        while True:
            select.select([self.socket], [], [])
            with self.news:  # a message is in the queue or in the list, and never on its way
                message = self.socket.recv(1 << 16)
                if not message:
                    return
                self.messages.append(message.decode().splitlines())
                self.news.notify_all()

    def wait(self, line, seconds):
        """The lines of the next message, after the last one waited for, that has this line ("KEY=":
        any value). None if none was sent in time, however late it is taken."""
        with self.news:
            patience = time.monotonic() + seconds + PATIENCE
            while True:
                while self.waited_for < len(self.messages):
                    lines = self.messages[self.waited_for]
                    self.waited_for += 1
                    if any(got == line or line.endswith("=") and got.startswith(line)
                           for got in lines):
                        return lines
                if self.news.wait(seconds) or self.waited_for < len(self.messages):
                    continue
                if not self.is_behind() or time.monotonic() > patience:
                    return None

    def is_behind(self):
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        if self.thread.is_alive():
            self.socket.sendto(b"", self.path)
            self.thread.join()
        self.socket.close()
