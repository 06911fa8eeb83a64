"""emctl without memory: each allocation fails once, alone or with all that follow. What emctl then
says and does is the whole thing, or an error that names the reason; no call lacks a parameter."""
import json
import mmap
import signal
import struct
import tempfile
import unittest

from harness import BUILD, MIB, TestCase, clean_environment, run, sanitized, sized_model

NEVER = (1 << 64) - 1
STEP = 3  # of the allocations, a third fails; the first one differs from run to run of a command
# jansson 2.14 reads on behind a string whose closing quote it had no memory for. The program itself
# never dies.
DEATHS = (-signal.SIGABRT, -signal.SIGSEGV)
REASONS = ("Cannot allocate memory", "out of memory")
LONG = "a-model-with-a-long-name"


@unittest.skipIf(sanitized(), "the sanitizers bring an allocator of their own")
class OutOfMemory(TestCase):
    options = {"capacity": "20M", "policy": "flush-all"}

    def setUp(self):
        super().setUp()
        self.file = tempfile.NamedTemporaryFile()
        self.addCleanup(self.file.close)
        self.file.truncate(mmap.PAGESIZE)
        self.map = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)
        self.addCleanup(self.map.close)
        self.daemon.load(sized_model(LONG, MIB, 2 * MIB, 3 * MIB))

    def emctl(self, words, first=NEVER, n=1):
        """Its result, and whether an allocation failed."""
        struct.pack_into("QQQ", self.map, 0, 0, first, min(first + n, NEVER))
        result = run(BUILD / "faults" / "emctl", *words, env=clean_environment(
            EDGEMIND_SOCKET=self.daemon.socket, EDGEMIND_FAULTS=self.file.name))
        return result, struct.unpack_from("Q", self.map, 0)[0] > first

    def check(self, *words, before=None, state=None):
        """`before` makes the daemon's state what it was; `state` is what may only be as it was, or
        as the command makes it."""
        def prepare():
            if before:
                before()
            return state and state()

        states = [prepare()]
        expected, _ = self.emctl(words)
        states.append(state and state())
        for n in (1, NEVER):
            first, has_failed = n % STEP, True
            while has_failed:
                prepare()
                result, has_failed = self.emctl(words, first, n)
                where = "%s, allocation %d and %d in all: %s" % (words, first, n, result)
                self.assertIn(state and state(), states, where)
                if result.code in DEATHS:
                    self.assertIn("died in libjansson.so", result.err, where)
                elif result.code == expected.code:
                    self.assertEqual(result.out, expected.out, where)
                    self.assertEqual(result.err, expected.err, where)
                else:
                    self.assertTrue(any(reason in result.err for reason in REASONS), where)
                first += STEP

    def test_what_is_shown(self):
        # Not the tables: libsmartcols leaves out cells that it has no memory for.
        for words in (("list", "--json"), ("list", "--tensors", LONG, "--json"),
                      ("plan", LONG, "--policy=lru", "--json"), ("version",), ("set-policy",),
                      ("version", "--json"), ("load-layer", LONG, "l2"),
                      ("list", "a-model-that-is-not-there"),
                      ("list", "a-model-that-is-not-there", "--json")):
            with self.subTest(words=words):
                self.check(*words)

    def test_units(self):
        layers = [{"name": "l%d" % i, "type": "linear", "in_features": 8, "out_features": 8} for i in range(3)]
        self.daemon.load(json.dumps({"name": "tensors", "layers": layers}))
        self.check("list", "tensors", "--units", "--json")

    def test_a_trace(self):
        path = self.daemon.directory / "route.csv"
        path.write_text("# layer=0 expert_bytes=10 dense_bytes=5\n" +
                        "".join("0,1,%d,0,0,%d\n" % (step, step % 3) for step in range(9)))
        self.check("plan", "--trace", path, "--capacity=20", "--disk-rate=1M", "--json")

    def test_no_parameter_is_lost(self):
        def policy():
            scheduler = self.daemon.stats()["scheduler"]
            return scheduler["policy"], scheduler["onFull"]

        self.check("set-policy", "lru", "--on-full=ask", state=policy,
                   before=lambda: self.daemon.call("SetPolicy", policy="flush-all", onFull="evict"))

    def test_a_load_without_room_asks(self):
        path = self.daemon.directory / "m"
        path.write_text(json.dumps({"name": "m", "layers": [{"bytes": 15 * MIB}]}))

        def forget():
            if any(model["name"] == "m" for model in self.daemon.call("List")["models"]):
                self.daemon.call("UnloadModel", model="m")

        self.check("load-model", path, "--on-full=ask", "--json", before=forget,
                   state=lambda: self.daemon.call("List", model=LONG)["layers"])


if __name__ == "__main__":
    unittest.main()
