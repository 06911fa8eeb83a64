"""Runs end with their connection, also in the middle of Next, and leave nothing behind."""
import os
import random
import signal
import unittest

import wire
from harness import MIB, sized_model, wait_until
from leasing import WAIT_MAX, Leaser, LeaseTestCase, Process, chosen_seed

KIB = 1 << 10


def stream(pipe, daemon, seed):
    """A client process that goes through one or two models for ever."""
    rng = random.Random(seed)
    with Leaser(daemon) as client:
        runs = [client.call("BeginRun", model=rng.choice("mn"))["run"]
                for _ in range(rng.randrange(1, 3))]
        while True:
            try:
                client.lease("Next", run=rng.choice(runs), waitUsec=rng.randrange(50_000))
            except wire.VarlinkError as refused:
                assert refused.error == "Busy", refused
            if rng.random() < 0.02:
                client.call("EndRun", run=runs.pop())
                runs.append(client.call("BeginRun", model=rng.choice("mn"))["run"])


class Ends(LeaseTestCase):
    options = {"capacity": "6M", "policy": "next-use", "log_level": "warning"}

    def setUp(self):
        super().setUp()
        self.daemon.call("LoadModel", definition=sized_model("m", *[MIB] * 12))
        self.daemon.call("LoadModel", definition=sized_model("n", *[600 * KIB, 70 * KIB] * 9))
        self.n_fds = self.daemon.n_fds_at_rest()

    def test_with_the_connection(self):
        client = self.client()
        for _ in range(3):
            client.lease("Next", run=client.call("BeginRun", model="m")["run"])
        self.assertEqual(self.daemon.stats()["scheduler"]["runs"], 3)
        client.close()
        self.assertNothingLeft(self.n_fds)

    def test_in_the_middle_of_next(self):
        """The client hangs up while a Next is pending whose layer must be loaded first."""
        self.daemon.call("LoadModel", definition=sized_model("large", 5 * MIB, 6 * MIB))
        for i in range(40):
            client = self.client()
            run = client.call("BeginRun", model="large")["run"]
            for _ in range(i % 3):
                client.lease("Next", run=run)
            client.send_call("Next", {"run": run})
            if i % 2:
                self.daemon.call("List")
            client.close()
            self.assertNothingLeft(self.n_fds)

    def test_while_next_waits(self):
        holder, client = self.client(), self.client()
        for i in range(6):
            holder.lease(model="m", layer="l%d" % i)
        run = client.call("BeginRun", model="n")["run"]
        client.send_call("Next", {"run": run, "waitUsec": WAIT_MAX})
        self.wait_for_waiting(1)
        client.close()
        self.wait_for_waiting(0)
        holder.close()
        self.assertNothingLeft(self.n_fds)

    def test_killed_at_random_moments(self):
        seed = chosen_seed()
        rng = random.Random(seed)
        with self.subTest(seed=seed):
            clients = [Process(self, stream, self.daemon, seed + i) for i in range(10)]
            for n in range(120):
                requests = self.daemon.stats()["control"]["requests"] + rng.randrange(1, 80)
                wait_until(lambda: self.daemon.stats()["control"]["requests"] >= requests, "calls")
                victim = clients.pop(rng.randrange(len(clients)))
                self.assertIsNone(os.waitid(os.P_PID, victim.pid,
                                            os.WEXITED | os.WNOHANG | os.WNOWAIT))
                victim.kill()
                clients.append(Process(self, stream, self.daemon, seed + 100 + n))
            for client in clients:
                os.kill(client.pid, signal.SIGKILL)
            for client in clients:
                client.wait()
            self.assertNothingLeft(self.n_fds)


if __name__ == "__main__":
    unittest.main()
