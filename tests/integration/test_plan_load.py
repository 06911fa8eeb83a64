"""Plans that take long: no other client waits for them, they end with their clients, and they are
bounded."""
import json
import os
import pathlib
import resource
import select
import unittest

from harness import TestCase, memory_file, sized_model, wait_until

PAGE = 4096
# When the loop still made plans, a plan of this model blocked all clients for seconds.
LAYERS = 8000
MOST = 16  # plans of an administrator


def large(name="large"):
    return json.dumps({"name": name,
                       "layers": [{"name": "l%d" % i, "bytes": PAGE} for i in range(LAYERS)]})


class Long(TestCase):
    options = {"capacity": "16M", "policy": "next-use"}

    def plan(self, client, passes=10):
        """Sends a Plan and does not wait for its reply."""
        with memory_file(large()) as file:
            client.send_call("Plan", {"definitionFileDescriptor": 0, "passes": passes,
                                      "diskBytesPerSecond": 10 ** 9, "computeUsec": 10 ** 5},
                             fds=[file.fileno()])

    def test_nobody_waits_for_a_plan(self):
        with self.daemon.connect() as planner:
            self.plan(planner)
            for _ in range(20):
                self.daemon.stats()
            self.assertFalse(select.select([planner.socket], [], [], 0)[0], "the plan was ready before")

    def cpu_seconds(self):
        stat = pathlib.Path("/proc/%d/stat" % self.daemon.pid).read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def whole_plan_seconds(self):
        began = self.cpu_seconds()
        with self.daemon.connect() as planner:
            self.plan(planner)
            planner.reply("Plan")  # in a slow build only the error that it takes too long
        return self.cpu_seconds() - began

    def wait_working(self):
        began = self.cpu_seconds()
        wait_until(lambda: self.cpu_seconds() > began + 0.1, "the plan goes on")

    def test_a_plan_ends_with_its_client(self):
        whole = self.whole_plan_seconds()
        began = self.cpu_seconds()
        for _ in range(2):
            with self.daemon.connect() as planner:
                self.plan(planner)
                self.wait_working()
        # The administrators' turn is free again.
        self.daemon.load(sized_model("m", PAGE))
        self.assertEqual(self.daemon.call("Plan", model="m")["stepsTotal"], 1)
        self.assertLess(self.cpu_seconds() - began, whole / 2)

    def test_the_daemon_ends_in_the_middle_of_a_plan(self):
        whole = self.whole_plan_seconds()
        began = self.cpu_seconds()
        with self.daemon.connect() as planner:
            self.plan(planner)
            self.wait_working()
            others = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.daemon.stop()
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = sum(getattr(ended, kind) - getattr(others, kind) for kind in ("ru_utime", "ru_stime"))
        self.assertLess(used - began, whole / 2)

    def test_plans_of_a_user(self):
        clients = [self.daemon.connect() for _ in range(MOST + 1)]
        try:
            for client in clients[:MOST]:
                self.plan(client)
            wait_until(lambda: self.daemon.stats()["control"]["requests"] > MOST, "plans begin")
            found = self.assertVarlinkError("LimitExceeded", clients[MOST].call, "Plan",
                                            definition=sized_model("m", PAGE))
            self.assertEqual(found, {"limit": "plans of a user", "maximum": MOST})
        finally:
            for client in clients:
                client.close()
        self.assertUnharmed()

    def test_a_run_over_many_layers_begins_while_others_are_served(self):
        with self.daemon.connect() as c, memory_file(large()) as file:
            c.call("LoadModel", {"definitionFileDescriptor": 0}, fds=[file.fileno()])
            run = c.call("BeginRun", model="large")
            self.assertEqual(run["layers"], LAYERS)
            c.call("EndRun", run=run["run"])
            # Hanging up before the run has its plan.
            for _ in range(20):
                with self.daemon.connect() as other:
                    other.send_call("BeginRun", {"model": "large"})
            wait_until(lambda: c.call("Stats")["scheduler"]["runs"] == 0, "the runs end")
            c.call("UnloadModel", model="large")


if __name__ == "__main__":
    unittest.main()
