"""Checks that nothing on the daemon's event loop reads a file or waits.

    tests/loop_calls.py BUILD

The loop calls functions by their addresses: callbacks of events, methods, observers, hooks. So every
function of the daemon whose address is taken somewhere counts as running on the loop, except those in
WORKERS, which run on other threads. From these the direct calls are followed, in the compiled objects,
so nothing that the preprocessor or the optimiser has done can deceive the check. A call in BLOCKING
that is reached this way must stand in ALLOWED with the reason why it does not wait. Entries that are not
needed any more are reported, too.

Limits: what the C library and libevent do inside is not seen, and a call in ALLOWED is trusted. It says
nothing about how long a computation takes; tests/bench/loop.py measures that. What only main and
daemon_run call, before the loop and after it, does not count.
"""
import collections
import pathlib
import re
import subprocess
import sys

BLOCKING = set("""
    read readv pread preadv preadv2 write writev pwrite pwritev open openat creat fopen fread fgets getline
    fsync fdatasync sync syncfs sync_file_range posix_fadvise readahead copy_file_range sendfile splice
    stat lstat fstat fstatat statx statfs fstatfs access faccessat readlink opendir readdir unlink rename
    mkdir rmdir link symlink truncate ftruncate fallocate chmod fchmod chown lchown flock lockf
    sleep usleep nanosleep clock_nanosleep pause sigsuspend sigwait waitpid wait system popen
    poll ppoll select pselect epoll_wait connect accept getgrnam getpwnam getpwuid getgrgid getaddrinfo
    pthread_join pthread_clockjoin_np pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait
    sem_wait sem_timedwait pthread_barrier_wait pthread_rwlock_rdlock pthread_rwlock_wrlock
    sd_bus_open_system sd_bus_call sd_bus_call_method ini_parse ini_parse_file ini_parse_stream malloc_trim
    mlock mlock2 madvise munmap
""".split())

# Functions whose address is taken, but that do not run on the loop.
WORKERS = {
    "daemon/daemon:take_fd": "before the loop runs",
    "daemon/disposal:free_step": "a closer thread",
    "daemon/methods/method_plan:dispose_step": "a planner thread",
    "daemon/reload:load": "a reader thread",
    "daemon/restart/handover:handover_prepare": "a reader thread: a part of import_step",
    "daemon/system/memory_gate:extend": "a reader or planner thread: only steps have a budget",
    "daemon/system/workers:run": "every worker thread",
    "daemon/weights/loader:fill_step": "a loader thread",
    "daemon/weights/model_reader:dispose_step": "a reader thread",
    "daemon/weights/model_reader:import_step": "a reader thread",
    "daemon/weights/shards:shards_pread": "a reader thread: model_parse",
}

# (object, call): why it does not wait. The optimiser merges functions, but not objects.
MEMORY = "a file in memory"
KERNEL = "the kernel makes this file when it is read; no disk"
ALLOWED = {
    ("common/definition/weight_file", "readlink"): "of /proc/self/fd: the kernel knows the name",
    ("common/definition/weight_file", "statx"): "AT_STATX_DONT_SYNC: asks no file server",
    ("common/log", "poll"): "does not wait",
    ("common/log", "write"): "only if the stream is writable",
    ("daemon/arena/backing_ledger", "fallocate"): "a worker thread: " + MEMORY,
    ("daemon/arena/backing_ledger", "fstat"): MEMORY,
    ("daemon/arena/backing_ledger", "ftruncate"): MEMORY,
    ("daemon/arena/backing_ledger", "munmap"): "of nothing that was read",
    ("daemon/arena/backing", "open"): "of /proc/self/fd: " + MEMORY,
    ("daemon/arena/populate", "madvise"): "the threads that commit the arena, and loaders",
    ("daemon/control/connection", "poll"): "does not wait",
    ("daemon/control/server", "open"): "/dev/null",
    ("daemon/monitor/memory_history", "pwrite"): MEMORY,
    ("daemon/monitor/monitor", "fstat"): MEMORY,
    ("daemon/restart/ledger_file", "pread"): MEMORY,
    ("daemon/restart/ledger_file", "pwrite"): MEMORY,
    ("daemon/restart/ledger_steps", "fallocate"): MEMORY,
    ("daemon/restart/ledger_steps", "ftruncate"): MEMORY,
    ("daemon/system/procfs", "open"): KERNEL,
    ("daemon/system/procfs", "pread"): KERNEL,
    ("daemon/system/workers", "pthread_join"): "the thread has nothing left to do but to return",
}

CALL = re.compile(r"\b(?:call|jmp|bl|b|blx)\b")


def sections(path):
    """What each function of an object calls, and whose addresses are taken in it."""
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", path], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    calls, taken, function, instruction = collections.defaultdict(set), set(), None, ""
    for line in text.splitlines():
        label = re.match(r"[0-9a-f]+ <([^>]+)>:$", line)
        relocation = re.search(r": R_\S+\s+([^\s+-]+)", line)
        if label:
            function = plain(label.group(1))
        elif relocation:
            name = plain(relocation.group(1))
            if CALL.search(instruction):
                calls[function].add(name)
            else:
                taken.add(name)
        else:
            instruction = line
    data = subprocess.run(["objdump", "-r", path], check=True, stdout=subprocess.PIPE).stdout.decode()
    code = False
    for line in data.splitlines():
        if line.startswith("RELOCATION RECORDS"):
            code = re.search(r"\[\.(text|debug|eh_frame)", line) is not None
        elif not code and len(line.split()) == 3 and "R_" in line:
            taken.add(plain(re.split(r"[+-]0x", line.split()[2])[0]))
    return calls, taken


def plain(name):
    """Without what the compiler added: .text.f, f.part.0, f.constprop.0, f.cold"""
    name = re.sub(r"^\.text\.(unlikely\.|startup\.|hot\.)?", "", name)
    return re.sub(r"\.(part|constprop|isra|cold|lto_priv)(\.\d+)*", "", name).split("@")[0]


def graph(build):
    """Which functions each function calls, and whose addresses are taken. A function is OBJECT:NAME,
    one of another library is NAME."""
    parts, globals_ = [], {}
    for path in (path for room in ("common", "proto", "daemon")
                 for path in sorted((build / room).rglob("*.o"))):
        where = str(path.relative_to(build))[:-2]
        symbols = subprocess.run(["nm", "--defined-only", path], check=True,
                                 stdout=subprocess.PIPE).stdout.decode()
        own = {}
        for _, kind, name in map(str.split, symbols.splitlines()):
            if kind in "tT":
                own[plain(name)] = "%s:%s" % (where, plain(name))
            if kind == "T":
                globals_[name] = own[name]
        parts.append((own, *sections(path)))
    calls, taken = collections.defaultdict(set), set()
    for own, own_calls, own_taken in parts:
        names = {**globals_, **own}
        for function, called in own_calls.items():
            calls[names.get(function, function)] |= {names.get(name, name) for name in called}
        taken |= {names[name] for name in own_taken if name in names}
    return calls, taken


def reached(calls, roots):
    """Each function that is reached, with the one that calls it."""
    callers, waiting = {root: None for root in roots}, list(roots)
    while waiting:
        function = waiting.pop()
        for called in calls.get(function, ()):
            if called not in callers and called not in BLOCKING:
                callers[called] = function
                waiting.append(called)
    return callers


def main():
    calls, taken = graph(pathlib.Path(sys.argv[1]))
    callers = reached(calls, sorted(taken - set(WORKERS)))
    found = {(function, call) for function in callers for call in calls.get(function, ())
             if call in BLOCKING}
    used = set()
    for function, call in sorted(found):
        if (function.split(":")[0], call) in ALLOWED:
            used.add((function.split(":")[0], call))
            continue
        chain = [function]
        while callers[chain[-1]]:
            chain.append(callers[chain[-1]])
        print("%s on the loop: %s" % (call, " < ".join(chain)))
    for place, call in sorted(set(ALLOWED) - used):
        print("%s does not call %s on the loop any more" % (place, call))
    for function in sorted(set(WORKERS) - taken):
        print("%s is not called by its address any more" % function)


if __name__ == "__main__":
    main()
