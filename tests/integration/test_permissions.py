"""Who may do what: strangers, members of the socket's group, administrators."""
import os
import shutil
import stat
import unittest

import wire
from harness import EMCTL, FFN10, TestCase, clean_environment, run, sized_model
from machine import NOBODY, group_of, needs_root

DENIED = "org.varlink.service.PermissionDenied"

@needs_root
class Permissions(TestCase):
    def setUp(self):
        super().setUp()
        self.member, self.member_gid = group_of()
        self.admin, self.admin_gid = group_of(self.member_gid)
        self.daemon = self.start(socket_group=self.member, admin_group=self.admin)

    def connect_with(self, *groups, uid=NOBODY):
        """A connection of user `uid`, primary group nobody's, with these supplementary groups."""
        own_groups = os.getgroups()
        os.setgroups(groups)
        os.setegid(NOBODY)
        os.seteuid(uid)
        try:
            return self.connect()  # the kernel notes the peer's user and groups now
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(own_groups)

    def assertMayLook(self, c):
        for method in ("Stats", "List", "Views", "Usage", "History", "org.varlink.service.GetInfo"):
            c.call(method)
        c.call("Plan", definition=sized_model("m", 1))
        self.assertVarlinkError("NotFound", c.call, "Why", model="nope")

    def assertMayNotChange(self, c):
        for method, good in (("LoadModel", {"definition": sized_model("m", 1)}),
                             ("LoadLayer", {"model": "m", "layer": "l"}),
                             ("UnloadLayer", {"model": "m", "layer": "l"}),
                             ("UnloadModel", {"model": "m"}), ("Reset", {}),
                             ("SetPolicy", {"policy": "lru"})):
            # Permission is checked before the parameters are decoded, so bad ones make no
            # difference.
            for parameters in (good, {}, {"nope": [1]}, {"model": 3, "definition": "{"}):
                with self.subTest(method=method, parameters=parameters):
                    found = self.assertVarlinkError(DENIED, c.call, method, parameters)
                    self.assertEqual(found, {})
        self.assertEqual(self.daemon.call("SetPolicy")["policy"], "flush-all")
        self.assertEqual(self.daemon.call("List")["models"], [])

    def test_socket(self):
        found = os.stat(self.daemon.socket)
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
        self.assertEqual(found.st_gid, self.member_gid)

    def test_stranger(self):
        with self.assertRaises(PermissionError):
            self.connect_with()

    def test_stranger_whom_the_socket_lets_in(self):
        """The socket's mode is not the only protection: the daemon also checks the peer's user and
        groups."""
        os.chmod(self.daemon.socket, 0o666)
        c = self.connect_with()
        self.assertIn("interfaces", c.call("org.varlink.service.GetInfo"))
        for method, parameters in (("Stats", {}), ("List", {}), ("Plan", {}), ("Stats", {"x": 1}), ("Views", {}), ("Why", {"model": "m"}),
                                   ("BeginView", {}), ("Usage", {}), ("History", {})):
            self.assertVarlinkError(DENIED, c.call, method, parameters)
        for method in ("Watch", "WatchViews"):
            c.send_call(method, more=True)
            self.assertVarlinkError(DENIED, c.result, method)
        self.assertMayNotChange(c)

    def test_member(self):
        c = self.connect_with(self.member_gid)
        self.assertMayLook(c)
        self.assertMayNotChange(c)
        c.send_call("Watch", more=True)
        self.assertEqual(c.result("Watch")["events"], [])
        self.daemon.call("LoadModel", definition=sized_model("m", 1))
        self.assertIn("model-added", [e["event"] for e in c.result("Watch")["events"]])

    def test_admin(self):
        c = self.connect_with(self.member_gid, self.admin_gid)
        self.assertMayLook(c)
        self.assertEqual(c.call("LoadModel", definition=sized_model("m", 1))["loaded"], 1)
        self.assertEqual(c.call("SetPolicy", policy="lru")["policy"], "lru")
        c.call("LoadLayer", model="m", layer="l0")
        c.call("UnloadLayer", model="m", layer="l0")
        c.call("Reset")
        c.call("UnloadModel", model="m")

    def test_descriptors_of_the_denied_are_closed(self):
        before = self.daemon.n_fds_at_rest()
        c = self.connect_with(self.member_gid)
        with open(FFN10, "rb") as file:
            for _ in range(20):
                self.assertVarlinkError(DENIED, c.call, "LoadModel",
                                        {"definitionFileDescriptor": 0}, fds=[file.fileno()] * 10)
        c.close()
        self.assertFds(before)

    def test_limits_for_users(self):
        """Many connections of one user use up only that user's share; root's share stays free."""
        daemon = self.daemon = self.start(socket_group=self.member, max_connections=12,
                                          max_connections_per_user=8)

        def served(uid):
            count = 0
            for _ in range(10):
                c = self.connect_with(self.member_gid, uid=uid)
                try:
                    c.call("Stats")
                    count += 1
                except (EOFError, OSError, wire.VarlinkError):
                    pass
            return count
        self.assertEqual(served(NOBODY), 8)
        self.assertEqual(served(12345), 4)
        self.assertEqual(served(12346), 0)
        daemon.stats()
        self.assertUnharmed(daemon)

    def test_emctl(self):
        emctl = self.directory() / "emctl"
        os.chmod(emctl.parent, 0o755)
        shutil.copy(EMCTL, emctl)
        definition = emctl.parent / "m.json"
        definition.write_text(sized_model("m", 1))
        environment = clean_environment(EDGEMIND_SOCKET=self.daemon.socket)

        def emctl_as(groups, *words):
            return run(emctl, *words, env=environment, user=NOBODY, group=NOBODY,
                       extra_groups=groups, cwd="/")
        self.assertExit(9, emctl_as([], "stats"))
        self.assertExit(0, emctl_as([self.member_gid], "stats"))
        self.assertExit(0, emctl_as([self.member_gid], "plan", definition))
        self.assertExit(9, emctl_as([self.member_gid], "load-model", definition))
        self.assertExit(9, emctl_as([self.member_gid], "reset"))
        self.assertExit(0, emctl_as([self.member_gid, self.admin_gid], "load-model", definition))


@needs_root
class OwnUser(TestCase):
    def test_the_daemons_own_user_may_all(self):
        daemon = self.start(process={"user": NOBODY, "group": NOBODY, "extra_groups": []})
        self.assertEqual(daemon.status()["Uid"].split()[0], str(NOBODY))
        self.daemon = daemon
        c = Permissions.connect_with(self, uid=NOBODY)
        c.call("LoadModel", definition=sized_model("m", 1))
        self.assertUnharmed(daemon)


if __name__ == "__main__":
    unittest.main()
