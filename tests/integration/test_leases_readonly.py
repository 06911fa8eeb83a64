"""A client of another user can only read the arena through its descriptor.

Every attempt to do more is also made on a file of the client's own, where it must succeed. So no attempt
fails only because the test is wrong.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import unittest

from harness import MIB, PAGE
from leasing import Leaser, LeaseTestCase, Process, sha256
from machine import NOBODY, group_of, needs_root

F_SEAL_WRITE = 8
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
MADV_REMOVE = 9
MAP_FAILED = ctypes.c_void_p(-1).value

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
libc.mprotect.argtypes = libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def check(result, failed=-1):
    if result == failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Mapping:
    """A page of the file, mapped."""

    def __init__(self, fd, protection, flags=mmap.MAP_SHARED):
        self.address = check(libc.mmap(None, PAGE, protection, flags, fd, 0), MAP_FAILED)

    def __enter__(self):
        return self.address

    def __exit__(self, *_):
        libc.munmap(self.address, PAGE)


def map_writable(fd):
    with Mapping(fd, mmap.PROT_READ | mmap.PROT_WRITE) as address:
        ctypes.memset(address, 0xee, 1)


def make_writable(fd):
    with Mapping(fd, mmap.PROT_READ) as address:
        check(libc.mprotect(address, PAGE, mmap.PROT_READ | mmap.PROT_WRITE))
        ctypes.memset(address, 0xee, 1)


def remove_mapped(fd):
    with Mapping(fd, mmap.PROT_READ) as address:
        check(libc.madvise(address, PAGE, MADV_REMOVE))


def reopen(flags):
    def attempt(fd):
        os.close(os.open("/proc/self/fd/%d" % fd, flags))
    return attempt


def copy_into(function):
    def attempt(fd):
        with open("/proc/self/exe", "rb") as source:
            function(source.fileno(), fd)
    return attempt


ATTEMPTS = {
    "map writable": map_writable,
    "make a mapping writable": make_writable,
    "remove mapped pages": remove_mapped,
    "open to read and write": reopen(os.O_RDWR),
    "open to write": reopen(os.O_WRONLY),
    "open to append": reopen(os.O_WRONLY | os.O_APPEND),
    "open and truncate": reopen(os.O_RDONLY | os.O_TRUNC),
    "write": lambda fd: os.write(fd, b"\xee"),
    "pwrite": lambda fd: os.pwrite(fd, b"\xee", 0),
    "sendfile": copy_into(lambda source, fd: os.sendfile(fd, source, 0, 1)),
    "ftruncate": lambda fd: os.ftruncate(fd, 0),
    "truncate": lambda fd: os.truncate("/proc/self/fd/%d" % fd, 0),
    "grow": lambda fd: os.ftruncate(fd, os.fstat(fd).st_size + PAGE),
    "fallocate": lambda fd: os.posix_fallocate(fd, 0, os.fstat(fd).st_size + PAGE),
    "punch": lambda fd: check(libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, PAGE)),
    "zero": lambda fd: check(libc.fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_ZERO_RANGE, 0, PAGE)),
    "fchmod": lambda fd: os.fchmod(fd, 0o666),
    "chmod": lambda fd: os.chmod("/proc/self/fd/%d" % fd, 0o666),
    "touch": lambda fd: os.utime(fd),
    "seal": lambda fd: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, F_SEAL_WRITE),
}
NOT_EVERYWHERE = {"remove mapped pages", "zero"}  # refused even to an owner, here or there
REFUSED = (errno.EACCES, errno.EPERM, errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP)


def outcome(attempt, fd):
    try:
        attempt(fd)
        return 0
    except OSError as failed:
        return failed.errno


def own_file():
    """A memfd of this user with some bytes, and the right to seal it."""
    fd = os.memfd_create("own", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, bytes(2 * PAGE))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def attack(pipe, daemon, arena_path):
    """A client process that reports who it is, the result of each attempt on the arena and on its
    own file, and the bytes that it reads before and after."""
    with Leaser(daemon) as client:
        reply = client.lease(model="m", layer="b.0")
        arena = client.fds[0]
        pipe.say([os.getuid(), client.digest(reply)])
        for attempt in ATTEMPTS.values():
            own = own_file()
            pipe.say([outcome(attempt, arena), outcome(attempt, own)])
            os.close(own)
        with Mapping(arena, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE) as address:
            ctypes.memset(address, 0xee, PAGE)  # its own copy
        pipe.say(client.digest(reply))
        for path in ("/proc/%d/mem" % daemon.pid, arena_path):
            pipe.say(outcome(lambda path: os.close(os.open(path, os.O_RDWR)), path))
        pipe.hear()


@needs_root
class OtherUser(LeaseTestCase):
    def test_nothing_but_reading(self):
        group, gid = group_of()
        daemon = self.daemon = self.start(capacity="8M", socket_group=group)
        layers = self.load_weights("m", [3 * MIB + 1])
        path = daemon.arena_path()
        arena = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, arena)

        def arena_now():
            found = os.fstat(arena)
            return (sha256(os.pread(arena, 8 * MIB + 1, 0)), found.st_size, found.st_mode,
                    found.st_blocks, found.st_mtime_ns, fcntl.fcntl(arena, fcntl.F_GET_SEALS))

        before = arena_now()
        attacker = Process(self, attack, daemon, path, user=NOBODY, groups=[gid])
        self.assertEqual(attacker.hear(), [NOBODY, sha256(layers["b.0"])])
        for name in ATTEMPTS:
            on_arena, on_own = attacker.hear()
            with self.subTest(name):
                self.assertIn(on_arena, REFUSED)
                self.assertTrue(on_own == 0 or name in NOT_EVERYWHERE, os.strerror(on_own))
        self.assertEqual(attacker.hear(), sha256(layers["b.0"]))
        for _ in range(2):
            self.assertIn(attacker.hear(), REFUSED)
        self.assertEqual(arena_now(), before)
        attacker.say()
        attacker.end()
        self.assertUnharmed()
        self.assertTrue(daemon.wait_sample()["aligned"])


if __name__ == "__main__":
    unittest.main()
