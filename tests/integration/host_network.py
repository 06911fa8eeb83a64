"""Hosts in network namespaces of their own, each with an sshd and a daemon, and a namespace from which they are
reached. Needs root, ip and sshd."""
import contextlib
import os
import shutil
import subprocess
import unittest

from harness import EMCTL, IS_ROOT, clean_environment, run, wait_until
from ssh_server import SSHD, write_sshd_config

PORT = 22


def can_have_namespaces():
    """Whether this machine lets a test make them."""
    name = "em-probe-%d" % os.getpid()
    made = IS_ROOT and shutil.which("ip") and run("ip", "netns", "add", name).code == 0
    return bool(made) and run("ip", "netns", "del", name).code == 0


needs_network = unittest.skipUnless(SSHD and shutil.which("ssh") and can_have_namespaces(),
                                    "needs sshd, ssh and network namespaces")


class HostNetwork:
    """`add` makes a host; "10.77.N.2" is its name. `run` runs emctl in a further host, from which all
    can be reached. The addresses exist only in these namespaces."""

    def __init__(self, test):
        self.test, self.n_hosts, self.directory = test, 0, test.directory()
        for key in ("host", "user"):
            assert run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / key).code == 0
        key = (self.directory / "host.pub").read_text()
        (self.directory / "known").write_text("* " + key)
        (self.directory / "config").write_text("""
IdentityFile %s/user
IdentitiesOnly yes
UserKnownHostsFile %s/known
StrictHostKeyChecking yes
""" % (self.directory, self.directory))
        self.ssh = self.directory / "ssh"
        self.ssh.write_text('#!/bin/sh\nexec ssh -F %s/config "$@"\n' % self.directory)
        self.ssh.chmod(0o755)
        with contextlib.suppress(FileExistsError):
            os.mkdir("/run/sshd", 0o755)
            test.addCleanup(os.rmdir, "/run/sshd")
        self.here = self.add_namespace("here")

    def add_namespace(self, name):
        name = "em-%d-%s" % (os.getpid(), name)
        self.succeeds("ip", "netns", "add", name)
        self.test.addCleanup(run, "ip", "netns", "del", name)
        self.succeeds("ip", "-n", name, "link", "set", "lo", "up")
        return name

    @staticmethod
    def succeeds(*words):
        done = run(*words)
        assert done.code == 0, (words, done)

    def ip(self, *words, namespace=None):
        self.succeeds("ip", "-n", namespace or self.here, *words)

    def add_link(self):
        """Another namespace with an address. Returns both."""
        self.n_hosts += 1
        namespace, link = self.add_namespace(str(self.n_hosts)), "to%d" % self.n_hosts
        self.ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        for end, device, number in ((self.here, link, 1), (namespace, "eth0", 2)):
            self.ip("addr", "add", "10.77.%d.%d/24" % (self.n_hosts, number), "dev", device, namespace=end)
            self.ip("link", "set", device, "up", namespace=end)
        return namespace, "10.77.%d.2" % self.n_hosts

    def add(self, daemon):
        """A host on which emctl finds this daemon. Returns its address."""
        namespace, address = self.add_link()
        base = self.directory / str(self.n_hosts)
        base.mkdir()
        script = base / "run"
        script.write_text('#!/bin/sh\nexport EDGEMIND_SOCKET=%s PATH=%s:/usr/bin:/bin\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
                          % (daemon.socket, EMCTL.parent))
        script.chmod(0o755)
        (base / "authorized").write_text('restrict,command="%s" %s' % (
            script, (self.directory / "user.pub").read_text()))
        write_sshd_config(base / "config", address, PORT, self.directory / "host", base / "authorized")
        with open(base / "log", "ab") as log:
            sshd = subprocess.Popen(["ip", "netns", "exec", namespace, SSHD, "-D", "-e", "-f", base / "config"],
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.test.addCleanup(sshd.wait)
        self.test.addCleanup(sshd.terminate)
        wait_until(lambda: "listening on" in (base / "log").read_text(), "sshd in " + namespace)
        return address

    def add_silent(self):
        """A host that takes every packet and answers none."""
        namespace, address = self.add_link()
        link = "to%d" % self.n_hosts
        hardware = run("ip", "netns", "exec", namespace, "cat", "/sys/class/net/eth0/address").out.strip()
        self.ip("addr", "flush", "dev", "eth0", namespace=namespace)
        self.ip("neigh", "add", address, "lladdr", hardware, "dev", link, "nud", "permanent")
        return address

    def cut(self, address, is_cut=True):
        """Pulls the cable of a host, or puts it back."""
        self.ip("link", "set", "to" + address.split(".")[2], "down" if is_cut else "up")

    def words(self, *words):
        return ["ip", "netns", "exec", self.here, EMCTL, *words]

    def environment(self):
        return clean_environment(EDGEMIND_SSH=self.ssh)

    def run(self, *words):
        return run(*self.words(*words), env=self.environment())
