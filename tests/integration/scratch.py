"""Temporary files of the tests. All that a process makes in one place is below one directory, which the process
locks, and removes at its end. A process that was killed leaves it unlocked, and the next one removes it."""
import atexit
import fcntl
import functools
import os
import pathlib
import shutil
import tempfile

PREFIX = "edgemind-tests-"


@functools.lru_cache(None)
def directory_in(place):
    remove_left(place)
    path, owner = tempfile.mkdtemp(prefix=PREFIX, dir=place), os.getpid()
    if lock(path) is None:  # somebody has just taken it for one that was left
        return directory_in.__wrapped__(place)
    os.chmod(path, 0o1777)  # some tests are other users
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(path, ignore_errors=True))
    return path


def lock(path):
    """A descriptor that holds the lock until it is closed; None if another process has it, or has removed the
    directory, or the directory is another user's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and os.path.samestat(status, os.stat(path)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def remove_left(place):
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    for path in pathlib.Path(place).glob(PREFIX + "*"):
        fd = None if str(path) in mounts else lock(path)  # what is mounted below it may not be a test's
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


# Also for the programs that the tests start.
tempfile.tempdir = os.environ["TMPDIR"] = directory_in(tempfile.gettempdir())
