"""What scrapers cost the control plane: 100 at once again and again, or 100 that never read.

    scrapes.py BUILD [ROUNDS]

Measures Stats requests of one daemon, in turn while nobody scrapes, while its own metrics are scraped, and while
the same scrapers are at another daemon: what they cost there is the machine's, and not the daemon's. Prints the
99th percentile of a round trip, the CPU time of the longest turn of the daemon's loop (see loop_turns.c), and
the maximum of its memory beside the arena.
"""
import mmap
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 7
REQUESTS = 1500
os.environ["BUILD"] = str(BUILD)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from harness import FFN10, MIB, Daemon  # noqa: E402
from ports import free_port  # noqa: E402

# Programs that scrape a port until they are killed. They say when they have begun.
SCRAPERS = {
    "100 at once": """
import socket, sys, threading
def scrape():
    while True:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            while connection.recv(1 << 16):
                pass
for _ in range(100):
    threading.Thread(target=scrape).start()
print("begun", flush=True)
""",
    "100 that never read": """
import signal, socket, sys
deaf = []
for _ in range(100):
    deaf.append(socket.socket())
    deaf[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    deaf[-1].connect(("127.0.0.1", int(sys.argv[1])))
    deaf[-1].sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
print("begun", flush=True)
signal.pause()
"""}


class Scraped:
    """A daemon that is scraped, and the turns of its loop."""

    def __init__(self):
        self.port = free_port()
        self.file = tempfile.NamedTemporaryFile()
        self.file.truncate(16)
        self.turns = mmap.mmap(self.file.fileno(), 16)
        self.daemon = Daemon(capacity="50M", metrics_listen="127.0.0.1:%d" % self.port, log_level="error",
                             monitor_interval="1h", environment={
                                 "LD_PRELOAD": BUILD / "tests/bench/loop_turns.so",
                                 "EDGEMIND_LOOP_TURNS": self.file.name})
        self.daemon.call("LoadModel", definition=FFN10.read_text())

    def measure(self):
        """(p99 in microseconds, CPU time of the longest turn in ms, MiB beside the arena)"""
        self.turns[:] = bytes(16)
        words = subprocess.run([BUILD / "tests/bench/roundtrip", self.daemon.socket, "stats", str(REQUESTS)],
                               stdout=subprocess.PIPE, check=True).stdout.split()
        return float(words[1]), struct.unpack("QQ", self.turns[:])[0] / 1e6, self.daemon.overhead_bytes() / MIB


def beside(kind, port, measured):
    scraper = subprocess.Popen([sys.executable, "-c", SCRAPERS[kind], str(port)], stdout=subprocess.PIPE)
    try:
        scraper.stdout.readline()
        return measured.measure()
    finally:
        scraper.stdout.close()
        scraper.kill()
        scraper.wait()


def main():
    figures = {}
    scraped, other = Scraped(), Scraped()
    try:
        for _ in range(ROUNDS + 1):
            for kind in SCRAPERS:
                for arm, figure in (("nobody scrapes", scraped.measure()),
                                    (kind + ", of another daemon", beside(kind, other.port, scraped)),
                                    (kind, beside(kind, scraped.port, scraped))):
                    figures.setdefault(arm, []).append(figure)
    finally:
        scraped.daemon.discard()
        other.daemon.discard()
    print("Stats beside scrapers, %d requests a round, medians of %d rounds\n" % (REQUESTS, ROUNDS))
    print("%-36s %10s %20s %14s" % ("", "p99 us", "longest turn, CPU ms", "overhead MiB"))
    found = {}
    for arm, rounds in figures.items():
        p99, turn, overhead = zip(*rounds[1:])
        found[arm] = statistics.median(p99)
        print("%-36s %10.0f %20.2f %14.1f" % (arm, found[arm], statistics.median(turn), max(overhead)))
    print()
    for kind in SCRAPERS:
        for what, arm in (("idle ones", "nobody scrapes"), ("those beside another's", kind + ", of another daemon")):
            ratio = found[kind] / found[arm]
            print("%-62s %9.2f  goal: at most 2%s" % ("p99 beside %s, in %s" % (kind, what), ratio,
                                                       "" if ratio <= 2 else "  MISSED"))


main()
