"""A private sshd on loopback, and an ssh that reaches it and no other: keys, ports, configurations and
known hosts are in a temporary directory."""
import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import unittest

from harness import EMCTL, IS_ROOT, run, wait_until

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_sshd = unittest.skipUnless(SSHD and shutil.which("ssh"), "needs sshd and ssh")


def write_sshd_config(path, address, port, host_key, authorized):
    """Keys are the only way in."""
    path.write_text("""
ListenAddress %s
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin yes
MaxStartups 100
""" % (address, port, host_key, authorized))


class SshServer:
    """`ssh` is a program to use as EDGEMIND_SSH. It reaches this sshd by the hosts' names "good",
    "good2" and so on. At "refused" nobody listens; "silent" takes connections and never answers;
    "bare" is a host without emctl."""

    def __init__(self, test, hosts=()):
        self.directory = test.directory()
        self.port, self.silent = self.free_port(), socket.create_server(("127.0.0.1", 0))
        test.addCleanup(self.silent.close)
        for key in ("host", "user"):
            assert run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / key).code == 0
        self.write_server()
        self.write_client(hosts)
        if IS_ROOT:  # sshd insists on it
            with contextlib.suppress(FileExistsError):
                os.mkdir("/run/sshd", 0o755)
                test.addCleanup(os.rmdir, "/run/sshd")
        self.start()
        test.addCleanup(self.stop)

    @staticmethod
    def free_port():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            return probe.getsockname()[1]

    def write_server(self):
        """Whatever the client asks to run gets a PATH with this emctl, or for "bare" without."""
        for name, path in (("run", "%s:/usr/bin:/bin" % EMCTL.parent), ("run-bare", "/usr/bin:/bin")):
            script = self.directory / name
            script.write_text('#!/bin/sh\nunset EDGEMIND_SOCKET\nPATH=%s exec sh -c "$SSH_ORIGINAL_COMMAND"\n' % path)
            script.chmod(0o755)
        shutil.copy(self.directory / "user", self.directory / "bare")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / "user-bare")
        (self.directory / "authorized").write_text("".join(
            'restrict,command="%s" %s' % (self.directory / script, (self.directory / (key + ".pub")).read_text())
            for script, key in (("run", "user"), ("run-bare", "user-bare"))))
        write_sshd_config(self.directory / "sshd_config", "127.0.0.1", self.port, self.directory / "host",
                          self.directory / "authorized")

    def write_client(self, hosts):
        key = (self.directory / "host.pub").read_text()
        (self.directory / "known").write_text("[127.0.0.1]:%d %s" % (self.port, key))
        (self.directory / "config").write_text("""
Host refused
  Port %d
Host silent
  Port %d
Host bare
  IdentityFile %s/user-bare
Host *
  HostName 127.0.0.1
  Port %d
  User %s
  IdentityFile %s/user
  IdentitiesOnly yes
  UserKnownHostsFile %s/known
  StrictHostKeyChecking yes
""" % (self.free_port(), self.silent.getsockname()[1], self.directory, self.port,
            pwd.getpwuid(os.geteuid()).pw_name, self.directory, self.directory))
        self.ssh = self.directory / "ssh"
        self.ssh.write_text('#!/bin/sh\nexec ssh -F %s/config "$@"\n' % self.directory)
        self.ssh.chmod(0o755)

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.directory / "sshd_config"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

        def listens():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            with contextlib.suppress(ConnectionRefusedError), \
                    socket.create_connection(("127.0.0.1", self.port)):
                return True
        wait_until(listens, "sshd")

    def stop(self):
        """Ends sshd and its connections."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 15)
        self.process.wait()

    def break_connections(self):
        """Ends the processes of the connections, but not sshd itself."""
        for child in pathlib.Path("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)).read_text().split():
            os.kill(int(child), 9)
