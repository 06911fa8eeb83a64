"""One kind of client that uses as much of the daemon as it can, until its standard input ends.

    hog.py SOCKET KIND

Prints "ready" when it has begun, and then goes on. It makes as many connections as one user may
have; more only if the daemon was started with a higher limit. If root starts it, it goes on as
another user. A refusal of the daemon is not a failure.
"""
import contextlib
import json
import os
import resource
import select
import socket
import sys
import tempfile
import threading
import time

NOBODY = 65534
PREFIX = "io.edgemind.manager."


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)  # waits for a place in the backlog, as no timeout would let it
    connection.settimeout(20)
    return connection


def message(method, **parameters):
    return json.dumps({"method": PREFIX + method, "parameters": parameters}).encode() + b"\0"


def receive(connection):
    """One reply; None at the end."""
    data = b""
    while not data.endswith(b"\0"):
        piece = connection.recv(1 << 20)
        if not piece:
            return None
        data += piece
    return json.loads(data.split(b"\0")[0])


def largest_definition():
    """100,000 layers in 16 MiB."""
    file = tempfile.TemporaryFile()
    file.write(json.dumps({"name": "hog", "layers": [
        {"name": "%0130d" % i, "bytes": 4096} for i in range(100_000)]}).encode())
    file.flush()
    return file


def connections_of_users(path, n_users, n_each):
    """One user's, unless root does it."""
    found = []
    for i in range(n_users if os.geteuid() == 0 else 1):
        if os.geteuid() == 0:
            os.seteuid(NOBODY - 10 - i)  # the kernel notes it when the connection is made
        found += [connect(path) for _ in range(n_each)]
        if os.getuid() == 0:
            os.seteuid(0)
    return found


def plans(path, _):
    """As many as three users may have, again and again: the largest model, and as many passes as are
    allowed."""
    file = largest_definition()
    text = message("Plan", definitionFileDescriptor=0, policy="next-use", passes=2)
    connections = connections_of_users(path, 3, 4)
    for connection in connections:
        socket.send_fds(connection, [text], [file.fileno()])
    while True:
        yield
        for connection in select.select(connections, [], [], 0.1)[0]:
            receive(connection)
            socket.send_fds(connection, [text], [file.fileno()])


def connections(path, _):
    """10,000 connections, again and again. The daemon may refuse some."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    while True:
        held = [connect(path) for _ in range(min(10_000, limit - 100))]
        yield
        for connection in held:
            connection.close()


def half_open(path, _):
    """1,000 connections with half of a message. The daemon ends them after a while; then they begin again."""
    while True:
        held = []
        for _ in range(1000):
            held.append(connect(path))
            held[-1].sendall(message("Stats")[:20])
        yield
        for connection in held:
            with contextlib.suppress(OSError):
                connection.recv(1)
            connection.close()


def pipelined_stats(path, _):
    """A million calls, and as often again, on 8 connections that read what comes."""
    text, held = message("Stats") * 500, [connect(path) for _ in range(8)]
    for connection in held:
        connection.setblocking(False)
    while True:
        readable, writable, _ = select.select(held, held, [], 0.1)
        for connection in readable:
            connection.recv(1 << 18)
        for connection in writable:
            with contextlib.suppress(BlockingIOError):
                left = unsent.get(connection) or text
                unsent[connection] = left[connection.send(left):]
        yield


unsent = {}


def descriptors(path, _):
    """Whole calls with as many descriptors as a message may have, on each of 32 connections."""
    null = os.open(os.devnull, os.O_RDONLY)
    connections = [connect(path) for _ in range(32)]
    while True:
        for connection in connections:
            socket.send_fds(connection, [message("Stats")], [null] * 253)
        yield
        for connection in connections:
            receive(connection)


def wrong_plans(path, _):
    """The same in calls whose last parameter is wrong, after the method has taken the other descriptors."""
    null = os.open(os.devnull, os.O_RDONLY)
    connections = [connect(path) for _ in range(16)]
    text = message("Plan", definition="{}", weights=[
        {"path": "p", "fileDescriptor": i} for i in (*range(252), 999)])
    while True:
        for connection in connections:
            socket.send_fds(connection, [text], [null] * 253)
        yield
        for connection in connections:
            receive(connection)


def unread_lists(path, _):
    """32 connections that send List but read nothing."""
    connections = [connect(path) for _ in range(32)]
    for connection in connections:
        connection.setblocking(False)
    while True:
        for connection in connections:
            try:
                connection.send(message("List") * 100)
            except (BlockingIOError, OSError):
                pass
        yield
        time.sleep(0.01)


def watchers(path, admin):
    """240 connections that watch but read nothing, while the policy changes."""
    connections = [connect(path) for _ in range(240)]
    for connection in connections:
        connection.sendall(json.dumps({"method": PREFIX + "Watch", "more": True}).encode() + b"\0")
    while True:
        for policy in "lru", "flush-all":
            admin.sendall(message("SetPolicy", policy=policy))
            receive(admin)
        yield


def busy_leases(path, _):
    """Leases up to the limit on 8 connections, and another connection that requests layers for
    which there is no room."""
    connections = [connect(path) for _ in range(8)]
    for connection in connections:
        for _ in range(64):
            connection.sendall(message("Acquire", model="ffn10", layer="dense_0") * 128)
            for _ in range(128):
                reply = receive_one(connection)
                if reply is None or "error" in reply:
                    break
    asking = connect(path)
    while True:
        asking.sendall(message("Acquire", model="big", layer="big"))
        receive(asking)
        yield


buffers = {}


def receive_one(connection):
    """One of several replies."""
    buffer = buffers.get(connection, b"")
    while b"\0" not in buffer:
        piece = connection.recv(1 << 16)
        if not piece:
            return None
        buffer += piece
    text, buffers[connection] = buffer.split(b"\0", 1)
    return json.loads(text)


def pipelined_lists(path, _):
    """240 connections that pipeline List, and read."""
    connections = [connect(path) for _ in range(240)]
    for connection in connections:
        connection.setblocking(False)
    text = message("List") * 20
    while True:
        readable, writable, _ = select.select(connections, connections, [], 0.1)
        for connection in readable:
            try:
                if not connection.recv(1 << 16):
                    connections.remove(connection)
            except (BlockingIOError, OSError):
                pass
        for connection in writable:
            if connection in connections:
                try:
                    connection.send(text)
                except (BlockingIOError, OSError):
                    pass
        yield


def half_messages(path, _):
    """Half of a message with 253 descriptors, on each of 32 connections, again and again."""
    null = os.open(os.devnull, os.O_RDONLY)
    while True:
        connections = []
        for _ in range(32):
            try:
                connection = connect(path)
                socket.send_fds(connection, [b"{"], [null] * 253)
                connections.append(connection)
            except OSError:
                pass
        yield
        time.sleep(0.05)
        for connection in connections:
            connection.close()


KINDS = {function.__name__.replace("_", "-"): function for function in (
    plans, unread_lists, watchers, busy_leases, pipelined_lists, half_messages, connections, half_open,
    pipelined_stats, descriptors, wrong_plans)}


def main():
    def end():
        sys.stdin.read()
        os._exit(0)

    admin = connect(sys.argv[1])
    if os.geteuid() == 0 and sys.argv[2] != "plans":  # which is of several users
        os.setresuid(*3 * (NOBODY,))  # still of the daemon's group, and so a member
    for number, _ in enumerate(KINDS[sys.argv[2]](sys.argv[1], admin)):
        if number == 0:
            print("ready", flush=True)
            threading.Thread(target=end, daemon=True).start()


main()
