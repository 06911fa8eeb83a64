"""Runs that do not exist, runs of other connections, and too many runs; and errors after which a
run keeps its place."""
import os
import unittest

from harness import MIB, sized_model
from leasing import WAIT_MAX, LeaseTestCase, Process, hold, write_model
from machine import needs_root

INVALID = "org.varlink.service.InvalidParameter"
OF_A_CONNECTION, OF_A_USER, OF_MEMBERS, LEASES_OF_A_CONNECTION = 64, 256, 960, 4096


class Names(LeaseTestCase):
    options = {"capacity": "4M"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB, MIB))
        self.runner = self.client()
        self.run_ = self.runner.call("BeginRun", model="m")["run"]

    def assertNoRun(self, client, name):
        for method in ("Next", "EndRun"):
            found = self.assertVarlinkError("NotFound", client.call, method, run=name)
            self.assertEqual(found, {"kind": "run", "name": name})

    def test_begins_at_a_layer(self):
        daemon = self.start(capacity=4 * MIB)
        daemon.load(sized_model("m", MIB, MIB, MIB))
        client = self.client(daemon)
        for at in (3, 4, 2 ** 40):
            self.assertVarlinkError(INVALID, client.call, "BeginRun", model="m", at=at)
        run = client.call("BeginRun", model="m", at=2)["run"]
        places = [client.call("Next", run=run) for _ in range(2)]
        self.assertEqual([(place["index"], place["pass"]) for place in places], [(2, 0), (0, 1)])

    def test_model_that_does_not_exist(self):
        for name in ("none", "", "M"):
            found = self.assertVarlinkError("NotFound", self.runner.call, "BeginRun", model=name)
            self.assertEqual(found, {"kind": "model", "name": name})
        self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 1)

    def test_somebody_elses(self):
        lease = self.runner.lease("Next", run=self.run_)
        other = self.client()
        self.assertNoRun(other, self.run_)
        own = other.call("BeginRun", model="m")["run"]
        self.assertNotEqual(own, self.run_)
        self.assertNoRun(other, self.run_)
        self.assertVarlinkError("Busy", self.daemon.call, "UnloadLayer", model="m",
                                layer=lease["layer"])
        self.assertEqual(self.runner.lease("Next", run=self.run_)["index"], 1)

    def test_after_its_end(self):
        self.runner.lease("Next", run=self.run_)
        self.runner.call("EndRun", run=self.run_)
        self.assertNoRun(self.runner, self.run_)
        self.assertNotEqual(self.runner.call("BeginRun", model="m")["run"], self.run_)
        self.assertNoRun(self.runner, self.run_)

    def test_names_that_never_were(self):
        for name in ("", "0", "-1", "+" + self.run_, " " + self.run_, self.run_ + " ",
                     self.run_ + "x", "0" + self.run_, str(1 << 64), "9" * 1000, "m"):
            with self.subTest(name=name[:30]):
                self.assertNoRun(self.runner, name)
        self.runner.lease("Next", run=self.run_)

    def test_parameters(self):
        for method, parameters in (("BeginRun", {}), ("BeginRun", {"model": 1}),
                                   ("BeginRun", {"model": "m", "layer": "l0"}), ("Next", {}),
                                   ("Next", {"run": 1}), ("Next", {"run": [self.run_]}),
                                   ("Next", {"run": self.run_, "waitUsec": WAIT_MAX + 1}),
                                   ("Next", {"run": self.run_, "waitUsec": -1}),
                                   ("Next", {"run": self.run_, "waitUsec": "1"}), ("EndRun", {}),
                                   ("EndRun", {"run": None})):
            with self.subTest(method=method, parameters=parameters):
                self.assertVarlinkError(INVALID, self.runner.call, method, parameters)
        self.assertEqual(self.runner.lease("Next", run=self.run_)["index"], 0)

    def test_its_lease_is_the_runs(self):
        lease = self.runner.lease("Next", run=self.run_)
        found = self.assertVarlinkError("NotFound", self.runner.call, "Release",
                                        lease=lease["lease"])
        self.assertEqual(found["kind"], "lease")
        busy = self.assertVarlinkError("Busy", self.daemon.call, "Reset")
        self.assertHolders(busy, os.getpid(), [lease["layer"]])

    def test_the_model_stays_while_it_runs(self):
        """Busy names the client that runs, although it holds nothing yet."""
        busy = self.assertVarlinkError("Busy", self.daemon.call, "UnloadModel", model="m")
        self.assertIn(os.getpid(), [lease["pid"] for lease in busy["leases"]])
        self.daemon.call("Reset")
        self.runner.call("EndRun", run=self.run_)
        self.daemon.call("UnloadModel", model="m")

    def test_too_many(self):
        runs = [self.run_] + [self.runner.call("BeginRun", model="m")["run"]
                              for _ in range(OF_A_CONNECTION - 1)]
        found = self.assertVarlinkError("LimitExceeded", self.runner.call, "BeginRun", model="m")
        self.assertEqual(found["maximum"], OF_A_CONNECTION)
        self.assertIn("run", found["limit"])
        for run in runs:
            self.runner.lease("Next", run=run)
        self.client().call("BeginRun", model="m")  # another connection has its own
        self.runner.call("EndRun", run=runs.pop(5))
        runs.append(self.runner.call("BeginRun", model="m")["run"])
        self.assertVarlinkError("LimitExceeded", self.runner.call, "BeginRun", model="m")
        for run in runs:
            self.assertEqual(self.runner.lease("Next", run=run)["index"], run != runs[-1])

    def test_too_many_of_a_user(self):
        clients = [self.client() for _ in range(OF_A_USER // OF_A_CONNECTION)]
        for client in clients:
            for _ in range(OF_A_CONNECTION - (client is clients[0])):  # one has begun already
                client.call("BeginRun", model="m")
        found = self.assertVarlinkError("LimitExceeded", clients[0].call, "BeginRun", model="m")
        self.assertEqual(found, {"limit": "runs of a user", "maximum": OF_A_USER})
        self.runner.call("EndRun", run=self.run_)
        clients[0].call("BeginRun", model="m")

    @needs_root
    def test_too_many_of_all(self):
        """Members leave some for administrators."""
        self.runner.call("EndRun", run=self.run_)
        n = 0
        for user in range(1001, 1005):
            for _ in range(OF_A_USER // OF_A_CONNECTION):
                member = self.connect_as(user)
                for _ in range(min(OF_A_CONNECTION, OF_MEMBERS - n)):
                    member.call("BeginRun", model="m")
                    n += 1
        found = self.assertVarlinkError("LimitExceeded", member.call, "BeginRun", model="m")
        self.assertEqual(found, {"limit": "runs", "maximum": OF_MEMBERS})
        self.runner.call("BeginRun", model="m")


class Stopped(LeaseTestCase):
    """An error leaves the run where it is, without a layer."""
    options = {"capacity": "4M", "policy": "next-use"}

    def begin(self, *sizes):
        self.daemon.call("LoadModel", definition=sized_model("m", *sizes))
        client = self.client()
        return client, client.call("BeginRun", model="m")["run"]

    @staticmethod
    def holders(busy):
        return [(lease["model"], lease["layer"], lease["pid"]) for lease in busy["leases"]
                if not lease["loading"]]

    def assertHoldsNothing(self):
        self.assertEqual(self.daemon.stats()["arena"]["leasedBytes"], 0)

    def test_busy(self):
        client, run = self.begin(MIB, 4 * MIB, MIB)
        client.lease("Next", run=run)
        self.daemon.call("LoadModel", definition=sized_model("n", MIB))
        holder = Process(self, hold, self.daemon, [("n", "l0")])
        holder.hear()
        for wait in ({}, {"waitUsec": 0}, {"waitUsec": 1000}):
            busy = self.assertVarlinkError("Busy", client.call, "Next", dict(wait, run=run))
            self.assertIn(("n", "l0", holder.pid), self.holders(busy))
            self.assertNotIn(("m", "l0", os.getpid()), self.holders(busy))  # is given back
        client.send_call("Next", {"run": run, "waitUsec": WAIT_MAX})
        self.wait_for_waiting(1)
        holder.say()
        reply = client.leased_reply("Next")
        self.assertEqual((reply["index"], reply["pass"]), (1, 0))
        self.assertEqual(client.lease("Next", run=run)["index"], 2)
        holder.kill()

    def test_a_wait_for_oneself(self):
        """A run does not wait for leases of its own connection."""
        client, run = self.begin(MIB, 4 * MIB)
        client.lease("Next", run=run)
        lease = client.lease(model="m", layer="l0")
        self.assertVarlinkError("Busy", client.call, "Next", run=run, waitUsec=WAIT_MAX)
        client.release(lease)
        self.assertHoldsNothing()
        self.assertEqual(client.lease("Next", run=run)["index"], 1)

    def test_the_file_changed(self):
        path = self.directory() / "m"
        layers = write_model(path, [3 * MIB] * 3)
        client = self.client()
        client.load_model(path, name="m")
        run = client.call("BeginRun", model="m")["run"]
        client.lease("Next", run=run)
        was = os.stat(path)
        os.utime(path)
        for _ in range(2):
            self.assertVarlinkError("SourceChanged", client.call, "Next", run=run)
            self.assertHoldsNothing()
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        # It may have been written to, so only a new load of the model helps.
        self.assertVarlinkError("SourceChanged", client.call, "Next", run=run)
        client.call("EndRun", run=run)
        client.call("UnloadModel", model="m")
        client.load_model(path, name="m")
        run = client.call("BeginRun", model="m")["run"]
        for index in (0, 1, 2, 0):
            reply = client.lease("Next", run=run)
            self.assertEqual(reply["index"], index)
            self.assertEqual(client.read(reply), layers[reply["layer"]])

    def test_too_many_leases(self):
        client, run = self.begin(1, 1)
        leases = []
        for _ in range(LEASES_OF_A_CONNECTION):
            client.send_call("Acquire", {"model": "m", "layer": "l0"})
        for _ in range(LEASES_OF_A_CONNECTION):
            leases.append(client.leased_reply())
        found = self.assertVarlinkError("LimitExceeded", client.call, "Next", run=run)
        self.assertEqual(found["maximum"], LEASES_OF_A_CONNECTION)
        client.release(leases[0])
        for index in (0, 1, 0):  # it releases one for each that it leases
            self.assertEqual(client.lease("Next", run=run)["index"], index)


if __name__ == "__main__":
    unittest.main()
