"""The other end of sd_notify(3), for a daemon under test."""
import os
import select
import socket
import threading
import time

PATIENCE = 60  # seconds; takes so long only if nobody receives the messages


class Notifications:
    """A service manager's end of sd_notify. Like the real one, it always receives every message."""

    def __init__(self, path):
        self.messages = []  # lists of lines, in order
        self.waited_for = 0  # how many of them `wait` has checked
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
            with self.news:  # a message is always in the queue or in the list
                message = self.socket.recv(1 << 16)
                if not message:
                    return
                self.messages.append(message.decode().splitlines())
                self.news.notify_all()

    def wait(self, line, seconds):
        """Waits for a message with this line ("KEY=": any value), after the last one that was
        waited for. Returns its lines, or None if no such message was sent in time."""
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
