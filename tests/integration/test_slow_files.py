"""A file whose server does not answer keeps nobody waiting but those that asked for it."""
import contextlib
import resource
import signal
import unittest

from harness import MIB, sized_model, wait_until
from leasing import LeaseTestCase, write_model
from machine import IS_ROOT, NOBODY
from slow_files import FLUSH, GETATTR, READ, SlowFiles
from wire import VarlinkError

LAYER_BYTES = 4 * MIB
STUCK_MOST = 2  # plans of a user


@unittest.skipUnless(IS_ROOT, "needs root to mount")
class SlowFilesTest(LeaseTestCase):
    options = {}

    def mount(self, *names, **options):
        """A mount with models of these names, two layers each; self.layers are the last one's."""
        contents = {}
        for seed, name in enumerate(names):
            path = self.directory() / name
            self.layers = write_model(path, (LAYER_BYTES, LAYER_BYTES), seed)
            contents[name] = path.read_bytes()
        files = SlowFiles(self.directory(), contents, **options)
        self.addCleanup(files.close)
        return files

    def send(self, files, name, method="LoadModel", **parameters):
        """Sends a call with the model's file, and does not wait."""
        connection = self.connect()
        connection.send_call(method, dict(parameters, definitionFileDescriptor=0, name=name),
                             [files.open(name)])
        return connection

    def wait_hung(self, files, n=1):
        wait_until(lambda: files.n_hung >= n, "requests without an answer")

    def assertServed(self):
        """Another model is read and loaded."""
        self.load_weights("other", (LAYER_BYTES,))
        self.daemon.call("UnloadModel", model="other")

    def assertGivenUp(self, connection, method="LoadModel"):
        error = self.assertVarlinkError("IOFailed", connection.result, method)
        self.assertEqual(error["errnoName"], "ETIMEDOUT")

    def stuck_layer(self, **options):
        """A mount with a model that is registered, and whose first layer cannot be read."""
        files = self.mount("slow", **options)
        files.hang(READ, offset=MIB)
        loading = self.send(files, "slow")
        self.wait_hung(files)
        return files, loading

    def test_models_that_cannot_be_read(self):
        files = self.mount(*"abcdef")
        files.hang(READ)
        calls = [self.send(files, name) for name in files.names]
        self.wait_hung(files, 4)
        self.assertServed()
        for call in calls:
            self.assertGivenUp(call)
        self.assertServed()
        files.abort()

    def test_a_plan_and_a_load_of_a_model_that_cannot_be_read(self):
        files = self.mount("planned", "loaded")
        files.hang(READ)
        planning = self.send(files, "planned", "Plan")
        self.send(files, "loaded")
        self.wait_hung(files, 2)
        self.assertServed()
        planning.close()
        self.assertServed()
        files.abort()

    def test_plans_of_one_member_that_cannot_be_read(self):
        """They take no thread that others need, however often the member hangs up."""
        files = self.mount(*"abcdefgh")
        files.hang(READ)
        for i, name in enumerate(files.names):
            file = files.open(name)
            with self.connect_as(NOBODY) as member:
                member.send_call("Plan", {"definitionFileDescriptor": 0, "name": name}, [file])
                if i < STUCK_MOST:
                    self.wait_hung(files, i + 1)
        self.assertServed()
        self.assertEqual(files.n_hung, STUCK_MOST)

        def refusal():
            with self.connect_as(NOBODY) as member:
                member.send_call("Plan", {"definition": sized_model("m", MIB)})
                member.socket.settimeout(1)
                try:
                    self.assertEqual(member.result("Plan")["stepsTotal"], 1)
                except VarlinkError as refused:
                    return refused.parameters
                except TimeoutError:  # it waits at first
                    pass
                return None
        self.assertEqual(wait_until(refusal, "a refusal"),
                         {"limit": "plans of a user whose files do not answer", "maximum": STUCK_MOST})
        with self.connect_as(NOBODY - 1) as other:
            self.assertEqual(other.call("Plan", definition=sized_model("m", MIB))["stepsTotal"], 1)
        files.resume()
        wait_until(lambda: not refusal(), "the member's plans")

    def test_descriptors_that_cannot_be_closed(self):
        files = self.mount("slow", flushes=True)
        files.hang(FLUSH)
        for method, parameters in (("Plan", {"definitionFileDescriptor": 0, "name": "slow"}),
                                   ("FindModel", {"fileDescriptor": 0}), ("Stats", {})):
            with self.connect() as connection:
                connection.send_call(method, parameters, [files.open("slow")])
                connection.reply(method)
            self.assertServed()
        with self.connect() as connection:
            connection.send(b"half a message", [files.open("slow")])
        self.assertServed()
        files.abort()

    def test_descriptors_that_pile_up(self):
        """A member's count until they are closed; root's, and another member's, are still taken and closed."""
        files = self.mount("slow", flushes=True)
        files.hang(FLUSH)
        fds = [files.open("slow")] * 253
        others = self.connect_as(NOBODY - 1)
        limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        wrong = {"definition": "{}", "weights": [{"path": "p", "fileDescriptor": i} for i in (*range(252), 999)]}
        for i in range(2 * limits[0] // len(fds)):
            method, parameters = (("Stats", {}), ("Plan", wrong))[i % 2]
            with self.connect_as(NOBODY) as hog:
                hog.send_call(method, parameters, fds)
                with contextlib.suppress(VarlinkError):  # no more of them are taken
                    hog.reply(method)
        self.daemon.stats()
        self.assertLess(self.daemon.n_fds(), limits[0] * 3 // 4)
        n_fds = self.daemon.n_fds()
        with open("/dev/null", "rb") as null:
            others.send_call("Stats", {}, [null.fileno()] * len(fds))
            self.assertVarlinkError("org.varlink.service.InvalidParameter", others.result, "Stats")
        wait_until(lambda: self.daemon.n_fds() <= n_fds, "the other member's to be closed")
        self.assertEqual(files.n_hung, 1)
        path = self.directory() / "other"
        write_model(path, (LAYER_BYTES,), 1)
        with open(path, "rb") as file:
            others.call("Plan", {"definitionFileDescriptor": 0, "name": "o"}, [file.fileno()])
        self.assertServed()
        files.abort()

    def test_a_layer_that_cannot_be_read(self):
        files, loading = self.stuck_layer()
        second = self.connect()
        second.send_call("Acquire", {"model": "slow", "layer": "b.1"})
        self.assertServed()
        self.assertGivenUp(loading)
        self.assertGivenUp(second, "Acquire")
        for layer in ("b.0", "b.1"):  # and at once from now on
            error = self.assertVarlinkError("IOFailed", self.daemon.call, "Acquire", model="slow",
                                            layer=layer)
            self.assertEqual(error["errnoName"], "ETIMEDOUT")
        self.assertServed()
        # Its pages are not given to others while a thread may still write into them.
        self.assertVarlinkError("Busy", self.daemon.call, "UnloadModel", model="slow")
        self.assertGreater(self.daemon.stats()["arena"]["usedBytes"], 0)

        files.abort()
        wait_until(lambda: self.daemon.stats()["arena"]["usedBytes"] == 0, "the pages")
        self.daemon.call("UnloadModel", model="slow")
        self.assertServed()
        self.assertUnharmed()

    def end_with_stopped_server(self, method):
        files = self.mount("slow")
        file = files.open("slow")
        files.stop()
        self.connect().send_call(method, {"definitionFileDescriptor": 0, "name": "slow"}, [file])
        wait_until(lambda: files.is_stopped, "a request that waits")
        self.daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.process.wait(10), 0)

    def test_the_end_does_not_wait_for_a_plan(self):
        self.end_with_stopped_server("Plan")

    def test_the_end_does_not_wait_for_a_model(self):
        self.end_with_stopped_server("LoadModel")

    def test_the_end_leaves_nothing_but_what_cannot_be_killed(self):
        """The kernel does not let a thread go whose request the server has taken."""
        files, _ = self.stuck_layer()
        self.daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "without it" in self.daemon.read_log(), "its last words")
        self.assertFalse(self.daemon.socket.exists())
        wait_until(lambda: self.daemon.status()["State"].startswith("Z"), "the main thread's end")
        files.abort()
        self.assertEqual(self.daemon.process.wait(10), 0)

    def test_a_configuration_that_cannot_be_read(self):
        files = SlowFiles(self.directory(), {"conf": b"on-full = ask\n"})
        self.addCleanup(files.close)
        self.daemon.config.unlink(missing_ok=True)
        self.daemon.config.symlink_to(files.directory / "conf")
        files.hang(READ)
        for _ in range(2):
            self.daemon.process.send_signal(signal.SIGHUP)
            self.daemon.wait_notify("RELOADING=1")
        self.wait_hung(files)
        self.assertServed()
        # What was wanted meanwhile comes afterwards.
        self.daemon.config.unlink()
        self.daemon.config.write_text("policy = lru\n")
        files.abort()
        self.daemon.wait_notify("READY=1")
        self.assertIn("the old configuration stays", self.daemon.read_log())
        self.assertEqual(self.daemon.call("SetPolicy")["policy"], "lru")

    def test_a_server_that_does_not_say_how_large_a_file_is(self):
        files = self.mount("slow", valid_sec=0)
        self.send(files, "slow").result("LoadModel")
        self.daemon.call("UnloadLayer", model="slow", layer="b.1")
        files.hang(GETATTR, READ)
        acquiring = self.connect()
        acquiring.send_call("Acquire", {"model": "slow", "layer": "b.1"})
        self.wait_hung(files)
        self.assertServed()
        self.daemon.wait_sample()
        self.daemon.call("List")
        client = self.client()
        self.assertEqual(client.read(client.lease(model="slow", layer="b.0")),
                         self.layers["b.0"])
        files.abort()
