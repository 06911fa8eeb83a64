"""What `emctl top` costs the daemon: its CPU time from /proc, without and with top, with 100,000 layers.

Usage: BUILD=build python3 tests/bench/top_cost.py [SECONDS]
top runs on a pseudo-terminal of 80x24, 2 frames a second. "busy" means that a client requests 100 resident
layers a second, and one absent layer, which evicts another."""
import fcntl
import os
import pathlib
import pty
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import EMCTL, Daemon, clean_environment, sized_model  # noqa: E402

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 20
LAYERS = 100_000


def cpu_seconds(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percent(daemon):
    before, began = cpu_seconds(daemon.pid), time.monotonic()
    time.sleep(SECONDS)
    return 100 * (cpu_seconds(daemon.pid) - before) / (time.monotonic() - began)


class Top:
    def __init__(self, daemon):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [EMCTL, "top"], stdin=theirs, stdout=theirs, stderr=theirs,
            env=clean_environment(EDGEMIND_SOCKET=daemon.socket, TERM="xterm"))
        os.close(theirs)
        threading.Thread(target=self.drain, daemon=True).start()

    def drain(self):
        try:
            while os.read(self.ours, 1 << 16):
                pass
        except OSError:
            pass

    def __enter__(self):
        time.sleep(2)
        return self

    def __exit__(self, *_):
        assert self.process.poll() is None, "top has ended"
        self.process.terminate()
        self.process.wait()


def keep_busy(daemon, ended):
    with daemon.connect() as client:
        i = 0
        while not ended.wait(0.01):
            client.call("LoadLayer", model="m0", layer="l%d" % (i % 50))
            if i % 100 == 0:
                client.call("LoadLayer", model="m%d" % (1 + i // 100 % 2), layer="l1")
            i += 1


for n_models in (10, 1000):
    n = LAYERS // n_models
    with Daemon(capacity=(LAYERS - 1) * 4096, simulate=True, policy="lru", log_level="warning",
                monitor_interval="2s") as daemon:
        for m in range(n_models):
            daemon.load(sized_model("m%d" % m, *[4096] * n), name=None)
        ended = threading.Event()
        idle = percent(daemon)
        with Top(daemon):
            idle_with = percent(daemon)
        thread = threading.Thread(target=keep_busy, args=(daemon, ended))
        thread.start()
        busy = percent(daemon)
        with Top(daemon):
            busy_with = percent(daemon)
        ended.set()
        thread.join()
        print("%4d models of %5d layers: idle %.2f %%, with top %.2f %%; busy %.2f %%, with top %.2f %%"
              % (n_models, n, idle, idle_with, busy, busy_with), flush=True)
