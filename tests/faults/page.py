"""What fails: the page that the daemon of BUILD/faults looks at (faults.h), and the kinds of faults."""
import errno
import mmap
import struct
import tempfile
from typing import NamedTuple

NEVER = (1 << 64) - 1
DISK_USEC = 10_000_000  # how long a slow disk takes
LESS = 0  # a call does less than it was asked

# The system calls of the daemon, and how each may fail. After "*" also all that follow fail.
CALLS = """
    read EINTR LESS             write EINTR EAGAIN LESS      pread EINTR EIO EIO* LESS
    preadv2 EAGAIN EOPNOTSUPP   pwrite EINTR ENOSPC ENOSPC* LESS
    open EMFILE EMFILE* EACCES  openat EMFILE* EACCES        fstat EIO EIO*
    stat EIO                    statx EIO EIO*               fstatfs EIO
    ftruncate ENOMEM EPERM      fallocate EOPNOTSUPP EINTR   fchmod EPERM
    readlink EACCES             memfd_create EMFILE ENOMEM
    mmap ENOMEM ENOMEM*         madvise EAGAIN EINVAL*
    socket EMFILE EMFILE*       bind EADDRINUSE              listen EADDRINUSE
    accept4 EMFILE ECONNABORTED EINTR                        connect ECONNREFUSED EAGAIN
    send EPIPE                  sendto EAGAIN* ENOBUFS       recv ECONNRESET EINTR LESS
    sendmsg EINTR EPIPE ECONNRESET LESS                      recvmsg EINTR ECONNRESET ENOMEM
    readv ECONNRESET EINTR LESS writev ECONNRESET EINTR
    getsockopt ENOBUFS          setsockopt ENOMEM*           fcntl ENOMEM EINTR
    epoll_create1 EMFILE        epoll_ctl ENOMEM ENOMEM* ENOSPC
    epoll_wait EINTR            eventfd EMFILE EMFILE*       timerfd_create EMFILE
    poll EINTR ENOMEM           pidfd_open EMFILE* ESRCH     getrandom EINTR ENOSYS*
    pthread_create EAGAIN EAGAIN*
"""


class Kind(NamedTuple):
    """One kind of fault. `call` is None for the allocator."""
    call: str
    value: int  # as in faults.h
    n: int  # how many fail, one after the other
    text: str

    @property
    def at(self):
        """Where its numbers are in the page."""
        return 0 if self.call is None else 32


def call_kinds():
    kinds, call = [], None
    for word in CALLS.split():
        if word != "LESS" and not word.startswith("E"):
            call = word
            continue
        name = word.rstrip("*")
        kinds.append(Kind(call, LESS if name == "LESS" else getattr(errno, name),
                          NEVER if word.endswith("*") else 1, "%s: %s" % (call, word)))
    return kinds


ALLOCATION_KINDS = [Kind(None, errno.ENOMEM, 1, "an allocation"),
                    Kind(None, errno.ENOMEM, NEVER, "an allocation and all after it")]
CALL_KINDS = call_kinds()
SLOW_DISK = Kind("pread", -DISK_USEC, 1, "pread: 10 s")


class Faults:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.file.truncate(mmap.PAGESIZE)
        self.map = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)
        self.restart(ALLOCATION_KINDS[0], NEVER)

    def get(self, at):
        return struct.unpack_from("Q", self.map, at)[0]

    def put(self, at, *values):
        struct.pack_into("%dQ" % len(values), self.map, at, *values)

    def count(self, kind):
        return self.get(kind.at)

    def live(self):
        """How many allocations a daemon that has ended did not free."""
        return self.get(24)

    def name(self, kind):
        if kind.call:
            self.put(48, 0)  # from here on no call looks at the name
            self.put(32, 0)
            struct.pack_into("q32s", self.map, 56, kind.value, kind.call.encode())

    def arm(self, kind, first):
        """The `first`-th from now on (from 0) fails, and those after it as `kind` says."""
        self.name(kind)
        self.kind, self.first = kind, min(self.count(kind) + first, NEVER)
        self.put(kind.at + 8, self.first, min(self.first + kind.n, NEVER))

    def disarm(self):
        """Whether a fault has happened since `arm`."""
        reached = self.count(self.kind) > self.first
        self.put(8, NEVER, NEVER)
        self.put(48, 0)
        return reached

    def restart(self, kind, first):
        """For a process that is yet to begin."""
        self.map[:] = bytes(len(self.map))
        self.put(8, NEVER, NEVER)
        self.arm(kind, first)
