"""The metrics: what they say, that Prometheus reads them, and that no HTTP client does harm."""
import http.client
import re
import shutil
import socket
import subprocess
import threading
import time
import unittest
import urllib.request

from harness import MIB, TestCase, proc_status, run, sanitized, sized_model, wait_until
from ports import free_port

CONNECTIONS_MAX, SECONDS_MAX = 16, 5  # scrape_server.h


class Scraped(TestCase):
    options = None

    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.daemon = self.start(capacity="4M", policy="lru",
                                 metrics_listen="127.0.0.1:%d" % self.port)

    def scrape(self, path="/metrics", method="GET", body=None, headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply, reply.read().decode()
        finally:
            connection.close()

    def fresh(self):
        """A text that was written after this call: within 100 ms all get the same one."""
        time.sleep(0.11)
        reply, text = self.scrape()
        self.assertEqual(reply.status, 200)
        return text

    def values(self):
        return dict(re.findall(r"^(edgemind_[^ ]+) ([^ ]+)$", self.fresh(), re.M))

    def raw(self, data=b""):
        connection = socket.create_connection(("127.0.0.1", self.port), 60)
        self.addCleanup(connection.close)
        connection.sendall(data)
        return connection

    def rest(self, connection):
        """All that comes until the end of the stream."""
        found = b""
        try:
            while True:
                data = connection.recv(65536)
                if not data:
                    return found
                found += data
        except ConnectionResetError:
            return found


class Content(Scraped):
    def test_values(self):
        self.daemon.call("LoadModel", definition=sized_model('a"\\b', MIB, 3 * MIB))
        self.daemon.call("LoadModel", definition=sized_model("c", MIB))
        client = self.connect()
        client.call("Acquire", model="c", layer="l0")
        client.call("Acquire", model="c", layer="l0")
        view = client.call("BeginView", model='a"\\b', program="p", bytes=MIB, outsideBytes=0)["view"]
        client.call("Acquire", model='a"\\b', layer="l0", view=view)
        found = self.values()
        for key, value in {
                "edgemind_arena_capacity_bytes": 4 * MIB, "edgemind_lent_bytes": 2 * MIB,
                "edgemind_leases": 3, "edgemind_readers": 1, "edgemind_models": 2,
                "edgemind_evictions_total": 2, "edgemind_reloads_total": 1,
                "edgemind_thrash_total": 1, "edgemind_read_bytes_total": 6 * MIB,
                "edgemind_fill_duration_seconds_count": 4,
                "edgemind_fault_duration_seconds_count": 1, "edgemind_memory_aligned": 1,
                'edgemind_decisions_total{decision="must-unload"}': 2,
                'edgemind_policy_info{policy="lru",on_full="evict"}': 1,
                'edgemind_model_read_bytes_total{model="a\\"\\\\b"}': 5 * MIB,
                'edgemind_model_evictions_total{model="a\\"\\\\b"}': 2,
                'edgemind_model_thrash_total{model="a\\"\\\\b"}': 1,
                'edgemind_model_resident_bytes{model="a\\"\\\\b"}': MIB,
                'edgemind_model_hits_total{model="c"}': 2}.items():
            self.assertEqual(float(found[key]), value, key)
        self.assertGreaterEqual(int(found["edgemind_calls_total"]), 6)
        # Every call has a duration, whichever way its reply was made.
        self.assertEqual(int(found["edgemind_calls_total"]), sum(
            int(found['edgemind_call_duration_seconds_count{reply="%s"}' % reply])
            for reply in ("immediate", "deferred")))
        self.assertNotIn('edgemind_model_hits_total{model="other"}', found)
        # As the operating system sees it.
        rss = proc_status(self.daemon.pid)["VmRSS"]
        self.assertLess(abs(int(found["edgemind_memory_rss_bytes"]) - rss), MIB)

    @unittest.skipUnless(shutil.which("promtool"), "needs promtool, of the package prometheus")
    def test_promtool(self):
        self.daemon.call("LoadModel", definition=sized_model("a", MIB))
        result = subprocess.run(["promtool", "check", "metrics"], input=self.fresh(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_many_models(self):
        """1,000 models with 100,000 layers and long names: the text and its time stay bounded, and
        `other` has what no name has."""
        sizes = [1] * 100
        with self.connect() as client:
            for i in range(1000):
                client.call("LoadModel", definition=sized_model("%03d" % i + "n" * 17, *sizes[:100]),
                            onFull="evict")
        text = self.fresh()
        self.assertLess(len(text), 64 << 10)
        found = re.findall(r'^edgemind_model_misses_total\{model="([^"]*)"\} (\d+)$', text, re.M)
        self.assertEqual(len(found), 101)
        self.assertEqual(found[-1], ("other", str(900 * 100)))
        self.assertEqual(sum(int(n) for _, n in found), 1000 * 100)
        # A name goes with its model; a new model takes its place, and `other` never decreases.
        self.daemon.call("UnloadModel", model=found[0][0])
        self.daemon.call("UnloadModel", model="999" + "n" * 17)
        self.daemon.call("LoadModel", definition=sized_model("other", 1))
        self.daemon.call("LoadModel", definition=sized_model("new", 1))
        found = dict(re.findall(r'^edgemind_model_misses_total\{model="([^"]*)"\} (\d+)$',
                                self.fresh(), re.M))
        self.assertEqual(len(found), 101)
        self.assertEqual((found["other"], found["new"]), (str(900 * 100 + 1), "1"))


class BadInput(Scraped):
    def test_statuses(self):
        for expected, arguments in (
                (405, {"method": "POST", "body": "x"}), (405, {"method": "HEAD"}),
                (405, {"method": "DELETE"}), (405, {"method": "NONSENSE"}), (404, {"path": "/"}),
                (404, {"path": "/metricsx"}), (404, {"path": "/metrics/"}),
                (400, {"headers": {"x": "y" * 10000}}), (400, {"path": "/" + "x" * 10000}),
                (413, {"method": "POST", "body": "x" * 100000})):
            with self.subTest(expected, **arguments):
                reply, text = self.scrape(**arguments)
                self.assertEqual(reply.status, expected)
                self.assertEqual(reply.getheader("Connection"), "close")
        self.assertEqual(self.scrape("/metrics?x=y")[0].status, 200)

    def test_no_http(self):
        for data in (b"nonsense\r\n\r\n", b"\0" * 1000, b"\x16\x03\x01\x02\x00" + b"\xff" * 500,
                     b"GET /metrics HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"):
            with self.subTest(data=data[:20]):
                answer = self.rest(self.raw(data))
                self.assertTrue(not answer or answer.startswith(b"HTTP/1."), answer)
        self.fresh()

    def test_too_slow(self):
        """Also one that sends a byte now and then gets a status and a close."""
        begin = time.monotonic()
        silent, partial, dripping = self.raw(), self.raw(b"GET /metr"), self.raw(b"GET /")
        ended = threading.Event()

        def drip():
            try:
                while not ended.wait(0.2):
                    dripping.send(b"x")
            except OSError:
                pass
        thread = threading.Thread(target=drip)
        thread.start()
        for connection in (silent, partial, dripping):
            self.assertTrue(self.rest(connection).startswith(b"HTTP/1.1 408 "))
        ended.set()
        thread.join()
        self.assertGreaterEqual(time.monotonic() - begin, SECONDS_MAX - 1)

    def test_pipelined(self):
        """One connection is one request."""
        answer = self.rest(self.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3))
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 1)


class Many(Scraped):
    def test_many_that_never_read(self):
        """At most 16 are open. All are closed in time, and then others are served."""
        before = self.daemon.n_fds_at_rest()
        overhead = self.daemon.overhead_bytes()
        deaf = []
        for _ in range(100):
            connection = socket.socket()
            self.addCleanup(connection.close)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(b"GET /metrics HTTP/1.1\r\n")  # the end is missing
            deaf.append(connection)
        wait_until(lambda: self.daemon.n_fds() - before == CONNECTIONS_MAX, "connections")
        for connection in deaf:
            connection.setblocking(False)
            connection.send(b"\r\n")
        self.assertLessEqual(self.daemon.n_fds() - before, CONNECTIONS_MAX)
        self.daemon.call("Stats")
        if not sanitized():
            self.assertLess(self.daemon.overhead_bytes() - overhead, 4 * MIB)
        self.assertEqual(self.scrape()[0].status, 200)
        for connection in deaf:
            connection.close()
        wait_until(lambda: self.daemon.n_fds() == before, "connections to end")
        self.assertEqual(self.scrape()[0].status, 200)

    def test_hundred_at_once(self):
        results = []

        def scrape():
            results.append(self.scrape()[0].status)
        threads = [threading.Thread(target=scrape) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [200] * 100)
        self.assertUnharmed()

    def test_hang_ups(self):
        for data in (b"", b"GET", b"GET /metrics HTTP/1.1\r\n\r\n"):
            for _ in range(50):
                connection = self.raw(data)
                connection.close()
        self.assertEqual(self.scrape()[0].status, 200)
        self.assertUnharmed()

    def test_end_of_the_daemon(self):
        """It ends cleanly with connections in every state."""
        self.raw(), self.raw(b"GET /"), self.raw(b"GET /metrics HTTP/1.1\r\n\r\n")
        self.daemon.call("Stats")
        self.daemon.stop()


class Listening(TestCase):
    def test_off(self):
        daemon = self.start(capacity="4M")
        listening = run("ss", "-Hltnp").out if shutil.which("ss") else ""
        self.assertNotIn("pid=%d," % daemon.pid, listening)

    def test_unix_socket(self):
        path = self.directory() / "metrics"
        daemon = self.start(capacity="4M", metrics_listen=path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"\nedgemind_arena_capacity_bytes 4194304\n", answer)
        daemon.stop()
        self.assertFalse(path.exists())

    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
                port = probe.getsockname()[1]
        except OSError as error:
            self.skipTest("no IPv6: %s" % error)
        self.start(capacity="4M", metrics_listen="[::1]:%d" % port)
        with urllib.request.urlopen("http://[::1]:%d/metrics" % port, timeout=60) as reply:
            self.assertEqual(reply.status, 200)

    def test_refused(self):
        for address in ("9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999",
                        "[::1]", "metrics", "/" + "x" * 108):
            with self.subTest(address):
                result = self.start_refused(capacity="4M", metrics_listen=address)
                self.assertIn("metrics-listen", result.err)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            result = self.start_refused(capacity="4M",
                                        metrics_listen="127.0.0.1:%d" % other.getsockname()[1])
        self.assertIn("Address already in use", result.err)


if __name__ == "__main__":
    unittest.main()
