"""The clocks of the programs of a test, which the test can set, stop and let sleep (shifted_clocks.c)."""
import mmap
import struct
import tempfile

from harness import BUILD

SHIM = BUILD / "tests" / "integration" / "shifted_clocks"


class Clocks:
    """`environment` is for programs that are to have these clocks. Times are in seconds."""

    def __init__(self, test):
        self.file = tempfile.NamedTemporaryFile()
        test.addCleanup(self.file.close)
        self.file.truncate(mmap.PAGESIZE)
        self.shifts = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)
        self.environment = {"LD_PRELOAD": SHIM, "EDGEMIND_SHIFTED_CLOCKS": self.file.name}

    def shift(self, index, seconds):
        before, = struct.unpack_from("q", self.shifts, 8 * index)
        struct.pack_into("q", self.shifts, 8 * index, before + seconds)

    def set(self, seconds):
        """The wall clock is set forward, or back."""
        self.shift(0, seconds)

    def stop(self, seconds):
        """As if the programs had been stopped for so long, and were continued now."""
        self.shift(1, seconds)

    def sleep(self, seconds):
        """As if the machine had slept."""
        self.shift(2, seconds)
