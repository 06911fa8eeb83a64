"""A scripted daemon: it accepts one connection and answers its calls as the test says."""
import json
import os
import socket
import threading

from harness import TIMEOUT


class ScriptedDaemon:
    """Listens at `path`, its `socket`. A thread calls `answer` with the connection and each call,
    and sends the replies (dictionaries) that it returns. After None it closes the connection. A
    context manager."""

    def __init__(self, path, answer):
        self.socket, self.answer = str(path), answer
        self.calls = []
        self.hung_up = False  # the client did
        self.failure = None  # of `answer`

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket)
        self.listener.listen(1)
        self.listener.settimeout(TIMEOUT)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            try:
                self.answer_calls(connection)
            except (BrokenPipeError, ConnectionResetError):
                self.hung_up = True
            except Exception as failure:  # not the thread's, the test's
                self.failure = failure

    def answer_calls(self, connection):
        buffer = b""
        while True:
            while b"\0" not in buffer:
                data = connection.recv(1 << 16)
                if not data:
                    self.hung_up = True
                    return
                buffer += data
            message, buffer = buffer.split(b"\0", 1)
            call = json.loads(message)
            self.calls.append(call)
            replies = self.answer(call)
            if replies is None:
                return
            connection.sendall(b"".join(json.dumps(reply).encode() + b"\0" for reply in replies))

    def __exit__(self, kind, *_):
        self.thread.join()
        self.listener.close()
        os.unlink(self.socket)
        if self.failure and not kind:
            raise self.failure


def error(error_name, **parameters):
    return [{"error": "io.edgemind.manager." + error_name, "parameters": parameters}]
