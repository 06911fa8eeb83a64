"""The other end of sd_notify(3), for a daemon under test."""
import os
import socket
import threading


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
            message = self.socket.recv(1 << 16)
            if not message:
                return
            with self.news:
                self.messages.append(message.decode().splitlines())
                self.news.notify_all()

    def wait(self, line, seconds):
        """The lines of the next message, after the last one waited for, that has this line ("KEY=":
        any value). None if there is none in time."""
        with self.news:
            while True:
                while self.waited_for < len(self.messages):
                    lines = self.messages[self.waited_for]
                    self.waited_for += 1
                    if any(got == line or line.endswith("=") and got.startswith(line)
                           for got in lines):
                        return lines
                if not self.news.wait(seconds):
                    return None

    def close(self):
        if self.thread.is_alive():
            self.socket.sendto(b"", self.path)
            self.thread.join()
        self.socket.close()
