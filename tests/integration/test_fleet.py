"""emctl --hosts FILE stats: the daemons of several hosts in one table, through a real sshd."""
import json
import re
import time

from harness import EMCTL, MIB, TestCase, clean_environment, run, sized_model
from ssh_server import SshServer, needs_sshd


@needs_sshd
class Hosts(TestCase):
    options = {"capacity": "50M", "commit": "load", "log_level": "info"}

    def setUp(self):
        super().setUp()
        self.server = SshServer(self)
        self.daemon.call("LoadModel", definition=sized_model("m", MIB, MIB))
        self.file = self.directory() / "hosts"

    def stats(self, text, *words, socket=None):
        self.file.write_text(text)
        return run(EMCTL, "--hosts", self.file, "--socket", socket or self.daemon.socket, "stats", *words,
                   env=clean_environment(EDGEMIND_SSH=self.server.ssh))

    def test_table(self):
        result = self.assertExit(0, self.stats("good  # the first\n\n# nothing\n  good2\r\ngood3"))
        rows = result.out.splitlines()
        self.assertEqual(rows[0].split(), "HOST USED CAPACITY RSS MODELS LAYERS HITS MISSES EVICTIONS ALIGNED".split())
        self.assertEqual([row.split()[0] for row in rows[1:]], ["good", "good2", "good3"])
        self.assertRegex(rows[1], r"^good +2.0 MiB 50.0 MiB +\S+ MiB +1 +2 +0 +2 +0 +yes$")
        self.assertEqual(self.assertExit(0, self.stats("# none\n")).out, "")

    def test_unreachable_hosts_are_named(self):
        """One of each kind, and the others are shown. A host that never answers costs 10 s, and not
        one after the other."""
        began = time.monotonic()
        result = self.assertExit(3, self.stats("silent\nrefused\ngood\nbare\nsilent\nsilent\n"))
        self.assertLess(time.monotonic() - began, 25)
        self.assertEqual(re.findall(r"(?m)^(\w+) .*\b(yes|unreachable)$", result.out),
                         [("silent", "unreachable"), ("refused", "unreachable"), ("good", "yes"),
                          ("bare", "unreachable"), ("silent", "unreachable"), ("silent", "unreachable")])
        self.assertRegex(result.err, "(?m)^emctl: refused: ssh cannot reach it: .*refused.$")
        self.assertRegex(result.err, "(?m)^emctl: bare: it has no emctl in ssh's PATH: .*not found.$")
        self.assertEqual(len(re.findall("(?m)^emctl: silent: (no answer within 10 s|ssh cannot reach it: .*out.*).$",
                                        result.err)), 3)
        result = self.assertExit(3, self.stats("good\n", socket="/nowhere/s"))
        self.assertIn("emctl: good: it has no daemon: emctl: no daemon at /nowhere/s", result.err)

    def test_json(self):
        result = self.assertExit(3, self.stats("good\nrefused\n", "--json"))
        good, refused = map(json.loads, result.out.splitlines())
        self.assertEqual((good["host"], good["stats"]["daemon"]["pid"]), ("good", self.daemon.pid))
        self.assertEqual(refused["host"], "refused")
        self.assertIn("ssh cannot reach it", refused["error"])

    def test_more_hosts_than_at_once(self):
        """Forty handshakes would take a small machine too long, so this ssh only runs the command.
        It also notes how many of its kind there are."""
        counts = self.directory() / "counts"
        self.server.ssh.write_text("""#!/bin/sh
pgrep -c -P $PPID >>%s
for command; do :; done
PATH=%s:$PATH exec sh -c "$command"
""" % (counts, EMCTL.parent))
        names = ["host%d" % i for i in range(40)]
        result = self.assertExit(0, self.stats("\n".join(names)))
        self.assertEqual([row.split()[0] for row in result.out.splitlines()[1:]], names)
        found = [int(n) for n in counts.read_text().split()]
        self.assertEqual(len(found), 40)
        self.assertLessEqual(max(found), 16)
        self.assertGreater(max(found), 1)

    def test_no_descriptor_is_free(self):
        """No ssh can be started: that is said, and emctl signals no process."""
        self.file.write_text("good\ngood2\n")
        for n_files in (4, 6):  # no pipe; a pipe, but no connection
            result = self.assertExit(3, run(
                "setsid", "-w", "prlimit", "--nofile=%d" % n_files, EMCTL, "--hosts", self.file, "stats",
                env=clean_environment(EDGEMIND_SSH=self.server.ssh)))
            self.assertEqual(len(re.findall("(?m)^emctl: good2?: Too many open files.$", result.err)), 2)

    def test_bad_files(self):
        self.assertIn("cannot begin with '-'", self.assertExit(2, self.stats("-oProxyCommand=x\n")).err)
        self.assertIn("more than 1000", self.assertExit(2, self.stats("good\n" * 1001)).err)
        missing = run(EMCTL, "--hosts", "/nowhere", "stats")
        self.assertIn("cannot read /nowhere", self.assertExit(1, missing).err)
        self.assertExit(2, run(EMCTL, "--hosts", self.file, "list"))
        self.assertExit(2, run(EMCTL, "--hosts", self.file, "-H", "good", "stats"))
