"""The machine that the tests run on: its users, processes and settings."""
import grp
import os
import pathlib
import re
import resource
import unittest

IS_ROOT = os.geteuid() == 0
NOBODY = 65534

needs_root = unittest.skipUnless(IS_ROOT, "needs root")


def proc_status(pid):
    """/proc/PID/status, with kB converted to bytes."""
    fields = {}
    for line in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines():
        key, _, value = line.partition(":")
        number = re.fullmatch(r"\s*(\d+)( kB)?", value)
        fields[key] = int(number.group(1)) * (1024 if number.group(2) else 1) if number \
            else value.strip()
    return fields


def limit_addresses(pid, more_bytes):
    """Lets the process map at most so many bytes more than it has mapped."""
    limit = proc_status(pid)["VmSize"] + more_bytes
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def open_fds(pid):
    """Its open descriptors: {path below /proc: target of the link}."""
    found = {}
    for fd in pathlib.Path("/proc/%d/fd" % pid).iterdir():
        try:
            found[fd] = os.readlink(fd)
        except FileNotFoundError:  # closed just now
            pass
    return found


def smaps_entry(pid, name):
    """The smaps entry of a file's mappings: sizes in bytes, VmFlags as a list."""
    entry, inside = {}, False
    for line in pathlib.Path("/proc/%d/smaps" % pid).read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = name in line
        elif inside:
            key, _, value = line.partition(":")
            if key == "VmFlags":
                entry[key] = value.split()
            else:
                entry[key] = entry.get(key, 0) + int(value.split()[0]) * 1024
    return entry


def group_of(*avoid):
    """(name, gid) of an existing group that is not in `avoid`, to be a socket's group or admin
    group."""
    for entry in sorted(grp.getgrall(), key=lambda entry: entry.gr_gid):
        if entry.gr_gid not in (0, NOBODY, *avoid):
            return entry.gr_name, entry.gr_gid
    raise unittest.SkipTest("needs a group besides root's")


def writable_setting(test, path, value):
    """Changes a system file during a test, and restores it afterwards."""
    path = pathlib.Path(path)
    if not IS_ROOT or not os.access(path, os.W_OK):
        raise unittest.SkipTest("needs to write " + str(path))
    old = path.read_text().strip()
    chosen = re.search(r"\[(\S+)\]", old)
    path.write_text(value)
    test.addCleanup(path.write_text, chosen.group(1) if chosen else old)


def allow_huge_pages(test):
    """Lets shared memory have transparent huge pages during a test that asks for them."""
    setting = pathlib.Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if not setting.exists():
        raise unittest.SkipTest("no transparent huge pages for shared memory")
    if not any(word in setting.read_text() for word in ("[advise]", "[always]")):
        writable_setting(test, setting, "advise")
