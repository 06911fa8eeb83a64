"""The wire as tests see it: a raw Varlink client, and the interface file as a checker of replies.

The client sends and receives bytes as they are, so that tests can also send what no library would.
Every reply that comes through `Varlink.reply` is held against the interface: each key declared,
each type right, nothing missing. It knows nothing of the daemon's processes; harness.py does.
"""
import array
import json
import re
import socket
import struct

MANAGER = "io.edgemind.manager"
SERVICE = "org.varlink.service"

# https://varlink.org/Service; PermissionDenied and ExpectedMore are systemd's additions.
SERVICE_INTERFACE = """
interface org.varlink.service
method GetInfo() -> (
    vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)
error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
"""


class Interface:
    """A parsed .varlink file: `types`, `methods` (name -> (input, output)) and `errors`."""

    TOKEN = re.compile(r"\s*(?:#[^\n]*\n\s*)*(->|\[string\]|\[\]|[?():,]|[A-Za-z][A-Za-z0-9_.-]*)")
    BASIC = {"bool", "int", "float", "string", "object"}

    def __init__(self, text):
        text = re.sub(r"#[^\n]*", "", text).strip()
        self.tokens, position = [], 0
        while position < len(text):
            match = self.TOKEN.match(text, position)
            if not match:
                raise ValueError("not Varlink: %r" % text[position:position + 40])
            self.tokens.append(match.group(1))
            position = match.end()
        self.types, self.methods, self.errors = {}, {}, {}
        self.expect("interface")
        self.name = self.take()
        while self.tokens:
            keyword, name = self.take(), self.take()
            if keyword == "type":
                self.types[name] = self.struct()
            elif keyword == "error":
                self.errors[name] = self.struct()
            elif keyword == "method":
                given = self.struct()
                self.expect("->")
                self.methods[name] = (given, self.struct())
            else:
                raise ValueError("unexpected %r" % keyword)

    def take(self):
        return self.tokens.pop(0)

    def expect(self, token):
        found = self.take()
        if found != token:
            raise ValueError("expected %r, found %r" % (token, found))

    def struct(self):
        self.expect("(")
        fields = {}
        while self.tokens[0] != ")":
            name = self.take()
            self.expect(":")
            fields[name] = self.type()
            if self.tokens[0] == ",":
                self.take()
        self.expect(")")
        return fields

    def type(self):
        if self.tokens[0] in ("?", "[]", "[string]"):
            return (self.take(), self.type())
        if self.tokens[0] == "(":
            return self.struct()
        return self.take()

    def check(self, value, kind, path):
        """Raises AssertionError where `value` is not of the type `kind`."""
        if isinstance(kind, dict):
            assert isinstance(value, dict), "%s: %r is not an object" % (path, value)
            for key in value:
                assert key in kind, "%s: key %r is not declared" % (path, key)
            for key, field in kind.items():
                if value.get(key) is None:
                    assert field[0] == "?", "%s: key %r is missing" % (path, key)
                else:
                    self.check(value[key], field, "%s.%s" % (path, key))
        elif isinstance(kind, tuple):
            if kind[0] == "?":
                self.check(value, kind[1], path)
            else:
                container = list if kind[0] == "[]" else dict
                assert isinstance(value, container), "%s: %r" % (path, value)
                for item in value if container is list else value.values():
                    self.check(item, kind[1], path + "[]")
        elif kind in self.BASIC:
            python = {"bool": bool, "int": int, "float": (int, float), "string": str,
                      "object": dict}[kind]
            right = isinstance(value, python) and (kind == "bool" or not isinstance(value, bool))
            assert right, "%s: %r is not %s" % (path, value, kind)
        else:
            self.check(value, self.types[kind], path)

    def check_reply(self, method, reply):
        self.check(reply.get("parameters") or {}, self.methods[method][1], method)

    def check_error(self, error, reply):
        assert error in self.errors, "error %r is not declared" % error
        self.check(reply.get("parameters") or {}, self.errors[error], error)


def load_interfaces(manager_text):
    interfaces = [Interface(manager_text), Interface(SERVICE_INTERFACE)]
    return {interface.name: interface for interface in interfaces}


class VarlinkError(Exception):
    """An error reply. `error` is its name without io.edgemind.manager."""

    def __init__(self, reply):
        super().__init__("%s %s" % (reply["error"], json.dumps(reply.get("parameters"))))
        name = reply["error"]
        self.error = name[len(MANAGER) + 1:] if name.startswith(MANAGER + ".") else name
        self.parameters = reply.get("parameters") or {}


def qualified(method):
    return method if "." in method else MANAGER + "." + method


class Varlink:
    """One connection. Context manager; `interfaces` comes from load_interfaces."""

    def __init__(self, address, interfaces, timeout):
        if isinstance(address, socket.socket):
            self.socket = address
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.interfaces = interfaces
        self.buffer = b""
        if self.socket is not address:
            # Blocking, or connect(2) would not wait for a place in the backlog.
            patience = struct.pack("ll", int(timeout), 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            try:
                self.socket.connect(str(address))
            except BaseException:
                self.socket.close()
                raise
        self.socket.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data, fds=()):
        """Raw bytes; the descriptors ride on the first of them."""
        if fds:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            sent = self.socket.sendmsg([data], [rights])
            data = data[sent:]
        if data:
            self.socket.sendall(data)

    def send_call(self, method, parameters=None, fds=(), **flags):
        message = {"method": qualified(method)}
        if parameters is not None:
            message["parameters"] = parameters
        message.update(flags)
        self.send(json.dumps(message).encode() + b"\0", fds)

    def receive(self):
        """The next message's bytes without NUL, or None at the end."""
        while b"\0" not in self.buffer:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.buffer, "the daemon ended inside a message: %r" % self.buffer[:200]
                return None
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return message

    def reply(self, method):
        """The next reply, checked against the interface; None at the end."""
        message = self.receive()
        if message is None:
            return None
        reply = json.loads(message.decode())
        assert isinstance(reply, dict), reply
        assert set(reply) <= {"parameters", "error", "continues"}, reply
        assert reply.get("continues", False) in (True, False), reply
        if "error" in reply:
            assert not reply.get("continues"), reply
            interface, _, error = reply["error"].rpartition(".")
            assert interface in self.interfaces, reply
            self.interfaces[interface].check_error(error, reply)
        else:
            interface, _, name = qualified(method).rpartition(".")
            if name in self.interfaces[interface].methods:
                self.interfaces[interface].check_reply(name, reply)
        return reply

    def result(self, method):
        """The parameters of the next reply; raises VarlinkError, EOFError."""
        reply = self.reply(method)
        if reply is None:
            raise EOFError("the daemon closed the connection")
        if "error" in reply:
            raise VarlinkError(reply)
        return reply.get("parameters") or {}

    def call(self, method, parameters=None, fds=(), **named):
        """Calls and returns the one reply's parameters. Parameters also as keywords."""
        if named:
            parameters = dict(parameters or {}, **named)
        self.send_call(method, parameters, fds)
        return self.result(method)

    def stream(self, method, parameters=None, fds=(), **named):
        """Calls with `more`; yields (parameters, continues) until the final reply."""
        if named:
            parameters = dict(parameters or {}, **named)
        self.send_call(method, parameters, fds, more=True)
        while True:
            reply = self.reply(method)
            if reply is None:
                raise EOFError("the daemon closed the connection")
            if "error" in reply:
                raise VarlinkError(reply)
            yield reply.get("parameters") or {}, reply.get("continues", False)
            if not reply.get("continues"):
                return

    def at_end(self):
        """True if the next thing is the connection's end."""
        return self.receive() is None
