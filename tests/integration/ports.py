"""TCP ports of this machine."""
import socket


def free_port():
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
