"""emctl plan with passes: its calls, its output for people and scripts, and that the daemon
predicts a run with each policy without changing anything."""
import json
import unittest

from harness import EMCTL, FFN10, MIB, TestCase, clean_environment, run, sized_model
from leasing import POLICIES
from scripted_daemon import ScriptedDaemon, error
from terminal import on_terminal


def foreseen_pass(hits, usec=None):
    found = {"hits": hits, "loaded": 10 - hits, "bytesLoaded": (10 - hits) * MIB, "evictions": 3,
             "flushes": 1}
    return found if usec is None else dict(found, usec=usec)


def foreseen(policy, passes, **changes):
    return dict({"model": "m", "policy": policy, "capacityBytes": 5 * MIB, "steps": [],
                 "stepsTotal": 0, "hits": 0, "loaded": 10, "mustUnload": 1, "outOfMemory": 0,
                 "busy": 0, "evictions": 6, "flushes": 1, "resident": 4, "passes": passes},
                **changes)


def stream(*replies):
    return [{"parameters": reply, "continues": i < len(replies) - 1}
            for i, reply in enumerate(replies)]


def table(text, heading):
    """The rows below a heading, split at blanks, up to a line with fewer words."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(heading))
    n_words = len(lines[begin].split())
    rows = []
    for line in lines[begin + 1:]:
        words = line.replace(" MiB", "MiB").replace(" KiB", "KiB").replace(" ms", "ms").split()
        if len(words) != n_words:
            break
        rows.append(words)
    return rows


class Scripted(TestCase):
    def plan(self, replies, *words, show=run):
        """Runs emctl plan against these replies. Returns its result and the call that it made."""
        path = self.directory() / "s"
        with ScriptedDaemon(path, lambda call: replies) as daemon:
            result = show(EMCTL, "plan", "m", *words, env=clean_environment(EDGEMIND_SOCKET=path))
        self.assertEqual(len(daemon.calls), 1)
        return result, daemon.calls[0]

    def test_calls(self):
        one = [{"parameters": foreseen("lru", [foreseen_pass(0)])}]
        for words, parameters in (
                ([], {}),
                (["--policy=lru"], {"policy": "lru"}),
                (["--passes=7"], {"passes": 7}),
                (["--policy=next-use", "--passes=1000"], {"policy": "next-use", "passes": 1000}),
                (["--disk-rate=500M"], {"passes": 5, "diskBytesPerSecond": 500 << 20}),
                (["--disk-rate=1.5G", "--passes=1"],
                 {"passes": 1, "diskBytesPerSecond": 3 << 29}),
                (["--compute=2ms"], {"passes": 5, "computeUsec": 2000}),
                (["--compute=1.5s"], {"passes": 5, "computeUsec": 1500000}),
                (["--compute=300us"], {"passes": 5, "computeUsec": 300}),
                (["--on-full=ask", "--passes=2"], {"onFull": "ask", "passes": 2})):
            with self.subTest(words=words):
                result, call = self.plan(one, *words)
                self.assertExit(0, result)
                self.assertEqual(call, {"method": "io.edgemind.manager.Plan",
                                        "parameters": dict(parameters, model="m")})
        _, call = self.plan(stream(one[0]["parameters"]), "--policy=all")
        self.assertEqual(call, {"method": "io.edgemind.manager.Plan", "more": True,
                                "parameters": {"model": "m", "policy": "all", "passes": 5}})

    def test_passes(self):
        passes = [foreseen_pass(0, 30000), foreseen_pass(4, 20000), foreseen_pass(5, 10000),
                  foreseen_pass(5, 10000)]
        step = {"layer": "l0", "decision": "loaded", "hit": False, "bytes": 1, "victims": 0,
                "victimBytes": 0}
        reply = foreseen("next-use", passes, steps=[step], stepsTotal=1)
        result, _ = self.plan([{"parameters": reply}], "--disk-rate=1M", "--compute=1ms")
        self.assertExit(0, result)
        self.assertIn("l0 ", result.out)  # the load is shown as ever
        rows = table(result.out, "PASS")
        self.assertEqual([row[:4] for row in rows], [["1", "0.0%", "10.0MiB", "30.0ms"],
                                                     ["2", "40.0%", "6.0MiB", "20.0ms"],
                                                     ["3-4", "50.0%", "5.0MiB", "10.0ms"]])
        self.assertEqual(result.out.splitlines()[-1],
                         "mean of passes 3 to 4: 50.0% hits, 5.0 MiB read, 10.0 ms, 100 passes/s")
        self.assertEqual(result.err, "")

    def test_without_a_rate(self):
        reply = [{"parameters": foreseen("lru", [foreseen_pass(0)])}]
        result, _ = self.plan(reply, "--compute=1ms")
        self.assertExit(0, result)
        self.assertNotIn("TIME", result.out)
        self.assertIn("--disk-rate", result.err)
        result, _ = self.plan(reply, "--passes=1")
        self.assertEqual(result.err, "")

    def test_all(self):
        replies = [foreseen("flush-all", [foreseen_pass(0, 160000)] * 3),
                   foreseen("lru", [foreseen_pass(0, 160000)] * 3),
                   foreseen("next-use", [foreseen_pass(3, 110000), foreseen_pass(5, 80000),
                                         foreseen_pass(5, 80000)])]
        result, _ = self.plan(stream(*replies), "--policy=all")
        self.assertExit(0, result)
        self.assertEqual(result.err, "")
        self.assertNotIn("DECISION", result.out)
        self.assertEqual(table(result.out, "POLICY"),
                         [["flush-all", "0.0%", "10.0MiB", "160ms", "6.25"],
                          ["lru", "0.0%", "10.0MiB", "160ms", "6.25"],
                          ["next-use", "50.0%", "5.0MiB", "80.0ms", "12.5"]])
        self.assertTrue(result.out.endswith("; best: next-use\n"), result)
        self.assertLessEqual(len(result.out.splitlines()), 24)  # a screen
        result, _ = self.plan(stream(*replies), "--policy=all", "--json")
        self.assertEqual([json.loads(line) for line in result.out.splitlines()], replies)

    def test_refused(self):
        """Exit status 4 and one message, however many policies say so."""
        replies = [foreseen(policy, [], outOfMemory=2, loaded=0) for policy in POLICIES]
        for parts, words in ((replies, ["--policy=all"]), (replies[:1], ["--passes=3"])):
            result, _ = self.plan(stream(*parts), *words)
            self.assertExit(4, result)
            self.assertEqual(result.err.count("out of memory"), 1)
            self.assertEqual(result.out.count("no run"), len(parts))

    def test_errors(self):
        for replies, code, said in (
                (error("NotFound", kind="model", name="m"), 7, "m"),
                (stream(foreseen("lru", [foreseen_pass(0)]), {})[:1] +
                 error("Busy", leases=[], leasesTotal=0), 6, "busy"),
                ([{"error": "org.varlink.service.InvalidParameter",
                   "parameters": {"parameter": "policy"}}], 1,
                 "the policy all. Does it have another version?"),
                ([{"error": "org.varlink.service.InvalidParameter",
                   "parameters": {"parameter": "passes"}}], 1, "passes"),
                (stream(foreseen("lru", [foreseen_pass(0)]), {}), 1, "not what"),
                (stream(foreseen("lru", [3])), 1, "not what"),
                (None, 3, "hung up")):
            with self.subTest(replies=replies):
                result, _ = self.plan(replies, "--policy=all")
                self.assertExit(code, result)
                self.assertIn(said, result.err)

    def test_terminals(self):
        """Tables fit and have the important columns; sentences may wrap."""
        passes = [foreseen_pass(0, 160000), foreseen_pass(5, 80000)]
        replies = stream(*[foreseen(policy, passes) for policy in POLICIES])
        for columns in (40, 80):
            path = self.directory() / "s"
            with ScriptedDaemon(path, lambda call: replies) as daemon:
                code, text = on_terminal(daemon.socket, "plan", "m", "--policy=all",
                                         columns=columns, NO_COLOR="1")
            self.assertEqual(code, 0)
            self.assertIn("TIME/PASS", text)
            self.assertEqual("FLUSHES" in text, columns == 80)
            for line in text.splitlines():
                if "," not in line:
                    self.assertLessEqual(len(line), columns)

    def test_usage(self):
        for words in (["--passes=0"], ["--passes=1001"], ["--passes=many"], ["--passes"],
                      ["--disk-rate=0"], ["--disk-rate=fast"], ["--compute=2m"],
                      ["--compute=-1s"], ["--wait=1s"]):
            with self.subTest(words=words):
                result = self.assertExit(2, run(EMCTL, "plan", "m", *words))
                self.assertEqual(result.out, "")
                self.assertIn("--help", result.err)
        self.assertExit(2, run(EMCTL, "load-model", "m", "--passes=3"))


class Daemons(TestCase):
    options = {"capacity": "50M"}

    def plans(self, *words, code=0):
        result = self.assertExit(code, self.daemon.emctl("plan", "--json", *words))
        return [json.loads(line) for line in result.out.splitlines()]

    def test_all_policies(self):
        before = self.daemon.stats()["scheduler"]
        plans = self.plans(FFN10, "--policy=all")
        self.assertEqual([plan["policy"] for plan in plans], POLICIES)
        for plan in plans:
            self.assertEqual(len(plan["passes"]), 5)
            for one in plan["passes"]:
                self.assertEqual(one["hits"] + one["loaded"], 10)
                self.assertIsNone(one.get("usec"))
            alone, = self.plans(FFN10, "--policy=" + plan["policy"], "--passes=5")
            self.assertEqual(alone, plan)
        self.assertEqual(plans, self.plans(FFN10, "--policy=all", "--capacity=50M"))
        self.assertEqual(self.daemon.stats()["scheduler"], before)
        lru, next_use = (plans[POLICIES.index(policy)]["passes"][-1]
                         for policy in ("lru", "next-use"))
        self.assertEqual(lru["hits"], 0)
        self.assertGreater(next_use["hits"], 0)
        self.assertLess(next_use["bytesLoaded"], lru["bytesLoaded"])
        text = self.assertExit(0, self.daemon.emctl("plan", FFN10, "--policy=all")).out
        self.assertEqual([row[0] for row in table(text, "POLICY")], POLICIES)
        best = max(plans, key=lambda plan: sum(one["hits"] for one in plan["passes"][2:]))
        self.assertTrue(text.endswith("; best: %s\n" % best["policy"]), text)

    def test_without_passes_there_is_no_run(self):
        plan, = self.plans(FFN10)
        self.assertEqual(plan["passes"], [])
        self.assertNotIn("PASS", self.daemon.emctl("plan", FFN10).out)

    def test_times(self):
        compute = 20000
        for plan in self.plans(FFN10, "--policy=all", "--disk-rate=500M", "--compute=20ms"):
            for one in plan["passes"]:
                self.assertGreaterEqual(one["usec"], compute)
            # A pass may begin to read for the next one, but in total reading takes that long.
            seconds = sum(one["usec"] + 1 for one in plan["passes"]) / 1e6
            self.assertGreaterEqual(seconds * (500 << 20),
                                    sum(one["bytesLoaded"] for one in plan["passes"]))

    def test_a_model_that_fits(self):
        for plan in self.plans(FFN10, "--capacity=1G", "--policy=all", "--passes=3"):
            self.assertEqual([one["hits"] for one in plan["passes"]], [10] * 3)
        text = self.daemon.emctl("plan", FFN10, "--capacity=1G", "--policy=all").out
        self.assertTrue(text.endswith("; all are as good\n"), text)

    def test_a_registered_model(self):
        self.daemon.call("LoadModel", definition=sized_model("m", *[20 * MIB] * 4))
        self.assertEqual(len(self.plans("m", "--passes=1000")[0]["passes"]), 1000)
        self.assertExit(7, self.daemon.emctl("plan", "nope", "--policy=all"))

    def test_refused(self):
        plans = self.plans(FFN10, "--capacity=1M", "--policy=all", code=4)
        self.assertEqual([plan["passes"] for plan in plans], [[]] * len(POLICIES))
        # The load stops with MustUnload, so there is no run.
        plan, = self.plans(FFN10, "--on-full=ask", "--passes=2")
        self.assertEqual(plan["passes"], [])
        self.assertIn("no run", self.daemon.emctl("plan", FFN10, "--on-full=ask", "--passes=2").out)

    def test_unknown_policy(self):
        for words in (["--policy=nope"], ["--policy=nope", "--passes=3"]):
            result = self.assertExit(2, self.daemon.emctl("plan", FFN10, *words))
            self.assertIn("next-use", result.err)

    def test_no_daemon(self):
        environment = clean_environment(EDGEMIND_SOCKET="/nonexistent/s")
        words = (FFN10, "--policy=all", "--passes=2")
        self.assertExit(3, run(EMCTL, "plan", *words, env=environment))
        result = run(EMCTL, "plan", *words, "--capacity=20M", env=environment)
        self.assertEqual(self.assertExit(0, result).err, "")

    def test_a_reader_that_has_gone(self):
        result = run("sh", "-c", '"$1" plan "$2" --policy=all --passes=1000 | head -n 1', "sh",
                     EMCTL, FFN10, env=clean_environment(EDGEMIND_SOCKET=self.daemon.socket))
        self.assertEqual(self.assertExit(0, result).err, "")


if __name__ == "__main__":
    unittest.main()
