"""A real Prometheus scrapes a daemon, and the shipped rules and dashboard fit to what it stores."""
import json
import os
import re
import shutil
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request

from harness import MIB, ROOT, TestCase, run, sized_model, wait_until
from ports import free_port

SHIPPED = ROOT / "doc" / "prometheus"
has_prometheus = unittest.skipUnless(shutil.which("prometheus") and shutil.which("promtool"),
                                     "needs the package prometheus")


def dashboard_expressions():
    dashboard = json.loads((SHIPPED / "edgemind-dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@has_prometheus
class Shipped(TestCase):
    def test_rules(self):
        self.assertExit(0, run("promtool", "check", "rules", SHIPPED / "edgemind.rules.yml"))
        self.assertExit(0, run("promtool", "test", "rules", SHIPPED / "edgemind.test.yml"))
        self.assertExit(0, run("promtool", "check", "config", SHIPPED / "prometheus.yml"))

    def test_dashboard(self):
        """promtool checks expressions as rules."""
        rules = [{"record": "r%d" % i, "expr": expression.replace("$__rate_interval", "1m")}
                 for i, expression in enumerate(dashboard_expressions())]
        self.assertGreater(len(rules), 20)
        path = self.directory() / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        self.assertExit(0, run("promtool", "check", "rules", path))


@has_prometheus
class Scraping(TestCase):
    def start_prometheus(self):
        """Scrapes every second, with the shipped rules. Returns its address."""
        directory, port = self.directory(), free_port()
        config = (SHIPPED / "prometheus.yml").read_text()
        config = config.replace("127.0.0.1:9464", "127.0.0.1:%d" % self.metrics_port) \
            .replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s") \
            .replace("edgemind.rules.yml", str(SHIPPED / "edgemind.rules.yml"))
        (directory / "prometheus.yml").write_text(config)
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                ["prometheus", "--config.file=%s" % (directory / "prometheus.yml"),
                 "--storage.tsdb.path=%s" % (directory / "data"),
                 "--web.listen-address=127.0.0.1:%d" % port], stdout=log, stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return "http://127.0.0.1:%d" % port

    def query(self, expression):
        """Its result, or nothing while Prometheus starts."""
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(self.prometheus + "/api/v1/query?" + words, timeout=60) as reply:
                return json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == 400:
                raise AssertionError(error.read().decode()) from error
            return []
        except urllib.error.URLError:
            return []

    def value(self, expression):
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def test_query(self):
        self.metrics_port = free_port()
        daemon = self.start(capacity="4M", policy="lru",
                            metrics_listen="127.0.0.1:%d" % self.metrics_port)
        daemon.call("LoadModel", definition=sized_model("a", MIB, 3 * MIB))
        daemon.call("LoadModel", definition=sized_model("b", MIB))
        self.prometheus = self.start_prometheus()
        wait_until(lambda: self.value("edgemind_evictions_total") == 1, "a scrape")
        self.assertEqual(self.value('up{job="edgemind"}'), 1)
        self.assertEqual(self.value('edgemind_model_evictions_total{model="a"}'), 1)
        self.assertEqual(self.value('edgemind_model_resident_bytes{model="b"}'), MIB)
        self.assertEqual(self.value("edgemind_fill_duration_seconds_count"), 3)
        client = self.connect(daemon)
        view = client.call("BeginView", model="a", program="p", bytes=1, outsideBytes=0)["view"]
        client.call("Acquire", model="a", layer="l0", view=view)
        wait_until(lambda: self.value("edgemind_thrash_total") == 1, "the reload")
        wait_until(lambda: (self.value("rate(edgemind_thrash_total[1m])") or 0) > 0, "a rate")
        self.assertGreater(self.value("histogram_quantile(0.5, rate(edgemind_call_duration_seconds_"
                                      "bucket{reply=\"deferred\"}[1m]))"), 0)
        # Every panel finds its series. Without load its value may be none, but not the series.
        for expression in dashboard_expressions():
            for name in set(re.findall(r"edgemind_\w+", expression)):
                if name != "edgemind_system_memory_pressure_ratio":  # not every kernel has it
                    self.assertTrue(self.query(name), name)
            self.query(expression.replace("$instance", "x").replace("$__rate_interval", "1m"))
        rules = json.loads(urllib.request.urlopen(self.prometheus + "/api/v1/rules",
                                                  timeout=60).read())["data"]["groups"][0]["rules"]
        self.assertEqual({rule["health"] for rule in rules} - {"unknown"}, {"ok"})
        self.assertEqual([rule["name"] for rule in rules if rule["state"] == "firing"], [])


if __name__ == "__main__":
    unittest.main()
