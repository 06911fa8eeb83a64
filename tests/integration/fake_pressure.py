"""The files in which the system says how short memory is, as a daemon reads them in place of the
kernel's: EDGEMIND_TEST_PRESSURE names their directory."""
import re

MIB = 1 << 20


class FakePressure:
    """A machine of 8 GiB that has plenty."""

    def __init__(self, directory, has_stalls=True):
        self.directory = directory
        (directory / "proc" / "pressure").mkdir(parents=True)
        (directory / "proc" / "self").mkdir()
        (directory / "cgroup").mkdir()
        self.put("proc/self/cgroup", "")
        self.available(4096 * MIB)
        self.refaults(0)
        if has_stalls:
            self.stalls(0)

    @property
    def environment(self):
        return {"EDGEMIND_TEST_PRESSURE": str(self.directory)}

    def put(self, name, text):
        """In place, as the daemon keeps its descriptors. The padding makes all texts equally long, so
        that no reader finds the rest of another one."""
        path = self.directory / name
        with open(path, "r+b" if path.exists() else "wb", buffering=0) as file:
            file.write((text.rstrip("\n") + "\n").ljust(256, "\n").encode())

    def stalls(self, percent):
        self.put("proc/pressure/memory", "some avg10=%.2f avg60=0.00 avg300=0.00 total=0" % percent)

    def available(self, n_bytes):
        self.put("proc/meminfo", "MemTotal: %d kB\nMemAvailable: %d kB\n" % (8 << 20, n_bytes >> 10))

    def refaults(self, n_pages):
        self.put("proc/vmstat", "workingset_refault_file %d\n" % n_pages)

    def begin(self):
        self.available(512 * MIB)
        self.stalls(50)

    def end(self):
        self.available(4096 * MIB)
        self.stalls(0)


def until_event(watcher, name, seen=None):
    """The next event of that name. It and those before it go into `seen`."""
    pending = vars(watcher).setdefault("pending_events", [])
    while True:
        while pending:
            event = pending.pop(0)
            if seen is not None:
                seen.append(event)
            if event["event"] == name:
                return event
        pending += watcher.result("Watch")["events"]


def metrics_of(text):
    return {name: float(value) for name, value in re.findall(r"^(edgemind_\S+) (\S+)$", text, re.M)}
