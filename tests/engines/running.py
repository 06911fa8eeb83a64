"""The engine as a process that others look at: its tokens as they come, and its memory."""
import os
import pathlib
import subprocess
import threading
import time

ENGINE_SECONDS = 120  # at most, for one run


class EngineFailed(Exception):
    pass


class Engine:
    """llama.js, started with these words. `tokens`, `milliseconds` and `moments` (seconds since 1970)
    grow while it runs."""

    def __init__(self, words, environment=None, seconds=ENGINE_SECONDS):
        self.words = [str(word) for word in words]
        self.tokens, self.milliseconds, self.moments = [], [], []
        self.own_bytes = 0
        self.began = time.time()
        self.deadline = time.monotonic() + seconds
        self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, env=environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self.process.pid
        self.error = b""
        self.readers = [threading.Thread(target=reader) for reader in
                        (self.read_tokens, self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read_tokens(self):
        for line in self.process.stdout:
            token, milliseconds, moment = line.split()
            self.milliseconds.append(float(milliseconds))
            self.moments.append(float(moment) / 1000)
            self.tokens.append(int(token))

    def read_errors(self):
        self.error = self.process.stderr.read()

    def look(self):
        """Notes its own memory. Whether it still runs; kills it if it has run for too long."""
        if self.process.poll() is not None:
            return False
        if time.monotonic() >= self.deadline:
            self.process.kill()
        try:
            text = pathlib.Path("/proc/%d/status" % self.pid).read_text()
        except (ProcessLookupError, FileNotFoundError):
            return False
        fields = dict(line.split(":", 1) for line in text.splitlines())
        self.own_bytes = max(self.own_bytes, int(fields.get("RssAnon", "0 kB").split()[0]) << 10)
        return True

    def wait(self):
        """Returns its exit status when it has ended and all that it wrote has been read."""
        while self.look():
            time.sleep(0.02)
        self.process.wait()
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode

    def finish(self):
        """The same, if it ends as it should, and without a word."""
        status = self.wait()
        if status != 0 or self.error:
            raise EngineFailed("the engine ended with %s after %s:\n%s" % (
                status, self.words, self.error.decode()))
        return self

    def kill(self):
        self.process.kill()
        self.wait()

    def median(self):
        """Milliseconds of a token, without the first token."""
        later = sorted(self.milliseconds[1:])
        return later[len(later) // 2]


class Sampler:
    """Measures the maximum memory of the arena, every millisecond."""

    def __init__(self, arena):
        self.fd = os.open(arena, os.O_RDONLY)
        self.most, self.n, self.seconds, self.is_over = 0, 0, 0, False
        self.thread = threading.Thread(target=self.look)

    def look(self):
        begin = time.monotonic()
        while not self.is_over:
            self.most = max(self.most, os.fstat(self.fd).st_blocks * 512)
            self.n += 1
            time.sleep(0.001)
        self.seconds = time.monotonic() - begin

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        os.close(self.fd)
