"""Files whose server stops to answer, as a dead network file system's: a FUSE mount of one folder.

The protocol is the kernel's (linux/fuse.h, version 7.31). Needs root, and a kernel with FUSE.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import stat
import struct
import unittest

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, INTERRUPT, \
    BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 36, 42
NO_REPLY = {FORGET, BATCH_FORGET, INTERRUPT}
IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
ROOT_NODE, MAX_BYTES = 1, 1 << 20
FOPEN_NOFLUSH = 1 << 5
MNT_DETACH, UMOUNT_NOFOLLOW, PR_SET_PDEATHSIG = 2, 8, 1

libc = ctypes.CDLL(None, use_errno=True)


def attributes(node, mode, n_bytes):
    return struct.pack("<6Q10I", node, n_bytes, (n_bytes + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1,
                       0, 0, 0, 4096, 0)


class State(ctypes.Structure):
    """What the test says, and what the server has seen."""

    _fields_ = [("hung", ctypes.c_uint64), ("hung_offset", ctypes.c_uint64),
                ("stops", ctypes.c_uint64), ("n_hung", ctypes.c_uint64),
                ("is_stopped", ctypes.c_uint64), ("error", ctypes.c_uint64)]


class SlowFiles:
    """A mount on `directory` with `files` ({name: bytes}), and the process that serves it.

    `hang` makes it keep requests without an answer: who waits for one cannot even be killed. `resume`
    answers them. `fail` makes reads fail with this errno, as of a broken disk; 0: no more. After
    `stop` it takes no further request, and the kernel lets those that wait be killed. `abort` ends
    it, and fails what waits. The kernel may keep attributes for `valid_sec`.

    No process can end that has a file open of a server that does not answer: the kernel asks the
    server, and waits uninterruptibly. So by default these files ask to be left alone (`flushes`),
    and behave as those of NFS.

    While the server does not answer, this process must neither touch the files nor start programs, which
    close them.
    """

    def __init__(self, directory, files, valid_sec=3600, flushes=False):
        self.directory, self.names = directory, list(files)
        self.contents = [files[name] for name in self.names]
        self.valid_sec, self.flushes, self.opened = valid_sec, flushes, []
        self.state = State.from_buffer(mmap.mmap(-1, ctypes.sizeof(State)))
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise unittest.SkipTest("needs /dev/fuse: %s" % error)
        options = "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self.fd
        if libc.mount(b"slow", str(directory).encode(), b"fuse", 0, options.encode()) < 0:
            error = ctypes.get_errno()
            os.close(self.fd)
            raise unittest.SkipTest("needs to mount FUSE: %s" % os.strerror(error))
        self.pid = os.fork()
        if self.pid == 0:
            self.run()
        os.close(self.fd)  # so that the mount ends with the server

    def hang(self, *opcodes, offset=0):
        """Of reads, only those from this offset on."""
        self.state.hung_offset = offset
        self.state.hung = sum(1 << opcode for opcode in opcodes)

    def resume(self):
        self.state.hung = 0

    def fail(self, error):
        self.state.error = error

    def forget(self, name):
        """Takes the file out of the page cache, so that the next read asks the server."""
        with open(os.path.join(self.directory, name), "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @property
    def n_hung(self):
        return self.state.n_hung

    def stop(self):
        self.state.stops = 1

    @property
    def is_stopped(self):
        """And a request waits."""
        return self.state.is_stopped == 1

    def abort(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None

    def close(self):
        self.abort()
        while self.opened:
            with contextlib.suppress(OSError):  # the server is gone
                os.close(self.opened.pop())
        libc.umount2(str(self.directory).encode(), MNT_DETACH | UMOUNT_NOFOLLOW)

    def open(self, name):
        """A descriptor, which is open until the end."""
        self.opened.append(os.open(os.path.join(self.directory, name), os.O_RDONLY))
        return self.opened[-1]

    def run(self):
        """The server's process."""
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for fd in os.listdir("/proc/self/fd"):  # sockets of the test end with the test
            if int(fd) > 2 and int(fd) != self.fd:
                with contextlib.suppress(OSError):
                    os.close(int(fd))
        try:
            self.serve()
        finally:
            os._exit(0)

    def serve(self):
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        kept = []
        while True:
            ready = poll.poll(50 if kept else None)
            if kept and not self.state.hung:
                for request in kept:
                    self.reply(request)
                kept = []
            if not ready:
                continue
            if self.state.stops:
                self.state.is_stopped = 1
                signal.pause()
            try:
                request = os.read(self.fd, MAX_BYTES + (64 << 10))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return  # ENODEV: the mount is gone
            opcode = IN_HEADER.unpack_from(request)[1]
            if opcode in NO_REPLY:
                continue
            if self.is_hung(opcode, request):
                self.state.n_hung += 1
                kept.append(request)
                continue
            self.reply(request)

    def reply(self, request):
        _, opcode, unique, node, _, _, _, _, _ = IN_HEADER.unpack_from(request)
        answer = self.answer(opcode, node, request[IN_HEADER.size:])
        error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
        try:
            os.write(self.fd, OUT_HEADER.pack(OUT_HEADER.size + len(body), error, unique) + body)
        except OSError:
            pass  # who asked was interrupted meanwhile

    def is_hung(self, opcode, request):
        if not self.state.hung >> opcode & 1:
            return False
        offset = struct.unpack_from("<Q", request, IN_HEADER.size + 8)[0] if opcode == READ else 0
        return opcode != READ or offset >= self.state.hung_offset

    def entry(self, node):
        if node == ROOT_NODE:
            return attributes(node, stat.S_IFDIR | 0o755, 0)
        return attributes(node, stat.S_IFREG | 0o644, len(self.contents[node - 2]))

    def answer(self, opcode, node, body):
        """The reply's body, or an errno."""
        if opcode == INIT:
            major, minor, readahead, _ = struct.unpack_from("<4I", body)
            return struct.pack("<4IHHIIHH8I", 7, 31, readahead, 0, 16, 12, MAX_BYTES, 1, 256, 0,
                               *[0] * 8)
        if opcode == LOOKUP:
            name = body.rstrip(b"\0").decode()
            if name not in self.names:
                return errno.ENOENT
            found = self.names.index(name) + 2
            return struct.pack("<4QII", found, 0, self.valid_sec, self.valid_sec, 0, 0) + self.entry(found)
        if opcode == GETATTR:
            return struct.pack("<QII", self.valid_sec, 0, 0) + self.entry(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0 if self.flushes else FOPEN_NOFLUSH, 0)
        if opcode == READ and self.state.error:
            return self.state.error
        if opcode == READ:
            _, offset, n_bytes = struct.unpack_from("<QQI", body)
            return self.contents[node - 2][offset:offset + n_bytes]
        if opcode in (RELEASE, FLUSH):
            return b""
        return errno.ENOSYS
