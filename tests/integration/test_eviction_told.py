"""One eviction, explained from each of the places where people look: `emctl why`, the journal, and the metrics."""
import os
import re
import time
import urllib.request

from harness import MIB, TestCase, sized_model
from journal import Journal, needs_journal
from ports import free_port


@needs_journal
class Eviction(TestCase):
    def setUp(self):
        super().setUp()
        self.journal, self.port = Journal(self), free_port()
        self.daemon = self.start(capacity="4M", policy="lru", log_level="debug", prefix=self.journal.prefix,
                                 metrics_listen="127.0.0.1:%d" % self.port)
        self.daemon.call("LoadModel", definition=sized_model("old", MIB, 2 * MIB))
        self.before = self.metrics()
        self.daemon.call("LoadModel", definition=sized_model("new", 2 * MIB))

    def metrics(self):
        time.sleep(0.11)  # within 100 ms all get the same text
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.port, timeout=60) as reply:
            return dict(re.findall(r"^(edgemind_[^ ]+) ([^ ]+)$", reply.read().decode(), re.M))

    def test_why(self):
        text = self.assertExit(0, self.daemon.emctl("why", "old", "l0")).out
        self.assertRegex(text, r"^old/l0 is not in the arena\.\n")
        self.assertRegex(text, r"It was evicted at \d\d:\d\d:\d\d \(\d+ s ago\) to make room for new/l0, which \S+ \(pid %d\) "
                               r"requested with LoadModel\. Policy: lru\.\n$" % os.getpid())

    def test_journal(self):
        entry = self.journal.find(EDGEMIND_EVENT="layer-evicted")
        self.assertEqual({name: entry[name] for name in entry if name.startswith("EDGEMIND_")}, {
            "EDGEMIND_EVENT": "layer-evicted", "EDGEMIND_MODEL": "old", "EDGEMIND_LAYER": "l0",
            "EDGEMIND_TO": "new/l0", "EDGEMIND_POLICY": "lru", "EDGEMIND_METHOD": "LoadModel",
            "EDGEMIND_USER": str(os.geteuid()), "EDGEMIND_PID": str(os.getpid())})
        self.assertEqual(entry["MESSAGE"], "l0 of old evicted, 1.0 MiB, to make room for new/l0, which user %d (pid %d) "
                                           "requested with LoadModel; policy lru" % (os.geteuid(), os.getpid()))

    def test_metrics(self):
        """Whose layer went, for whose, because the arena was full, and under which policy."""
        after = self.metrics()

        def grew(name):
            return float(after[name]) - float(self.before.get(name, 0))
        self.assertEqual(grew("edgemind_evictions_total"), 1)
        self.assertEqual(grew('edgemind_model_evictions_total{model="old"}'), 1)
        self.assertEqual(grew('edgemind_model_resident_bytes{model="old"}'), -MIB)
        self.assertEqual(grew('edgemind_model_evictions_total{model="new"}'), 0)
        self.assertEqual(grew('edgemind_model_misses_total{model="new"}'), 1)
        self.assertEqual(grew('edgemind_model_resident_bytes{model="new"}'), 2 * MIB)
        self.assertEqual(grew('edgemind_decisions_total{decision="must-unload"}'), 1)
        self.assertEqual(after['edgemind_policy_info{policy="lru",on_full="evict"}'], "1")
