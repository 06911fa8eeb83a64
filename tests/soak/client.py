"""A client of the soak: its connection, and the leases that it holds with their right bytes."""
import contextlib
import sys

import wire
from service_manager import Reader

LOST = (EOFError, OSError)  # errors of a call whose daemon is killed
REFUSALS = {"Busy", "NotFound", "AlreadyLoaded", "MustUnload"}
WRONG = "wrong bytes in %s/%s"


class Failed(Exception):
    """Something that must never happen."""


class Connection(Reader):
    """Counts its calls, and looks at the descriptors that come."""

    def __init__(self, service, count):
        super().__init__(service)
        self.count = count

    def receive(self):
        try:
            return super().receive()
        except AssertionError as cut:  # the end came inside a message
            raise EOFError from cut

    def result(self, method):
        self.count("calls")
        return super().result(method)

    def lease(self, method="Acquire", **parameters):
        reply = super().lease(method, **parameters)
        if len(self.fds) != 1 or sum(s["length"] for s in reply["segments"]) != reply["bytes"]:
            raise Failed("%d descriptors of the arena, and %s" % (len(self.fds), reply))
        return reply


class Held:
    """A lease that the client has: of which layer, with which bytes, and the reply."""

    def __init__(self, key, reply, digest):
        self.key, self.reply, self.digest = key, reply, digest


class Client:
    def __init__(self, shared, number, is_admin, service, models):
        self.shared, self.number, self.is_admin = shared, number, is_admin
        self.service, self.models = service, models
        self.connection, self.held, self.slow = None, {}, None  # lease: Held

    def count(self, counter, n=1):
        self.shared.count(self.number, counter, n)

    def lost(self):
        """The daemon was killed. Takes some of the leases up again."""
        while True:
            if not self.shared.explains(self.epoch):
                raise Failed("the daemon closed a connection, and was not killed") from sys.exc_info()[1]
            self.count("connections_lost")
            before, self.held = self.held, {}
            try:
                self.connect()
                for held in before.values():
                    if held.reply["fill"] % 2:
                        self.take_up(held)
                return
            except TimeoutError as hang:
                raise Failed("no reply after a restart") from hang
            except LOST:
                pass

    def connect(self):
        if self.connection:
            self.connection.close()
        self.epoch = self.shared.epoch
        self.connection = Connection(self.service, self.count)
        epoch = self.shared.epoch  # the daemon of a later one may have the connection
        self.connection.call("org.varlink.service.GetInfo")
        self.epoch = epoch
        self.count("connections")

    def take_up(self, held):
        """If the daemon still has the bytes of that load, they are the same bytes in the same place."""
        try:
            again = self.connection.lease(model=held.key[0], layer=held.key[1], fill=held.reply["fill"])
        except wire.VarlinkError as refused:
            if refused.error not in REFUSALS:
                raise
            return
        self.hold(held.key, again)
        if again["fill"] == held.reply["fill"] and (
                again["segments"] != held.reply["segments"] or
                self.held[again["lease"]].digest != held.digest):
            raise Failed("%s/%s was taken up, but has changed" % held.key)

    def hold(self, key, reply):
        """Reads a layer that was leased just now."""
        held = Held(key, reply, self.connection.digest(reply))
        if held.digest not in self.models.digests[key]:
            self.ascertain(WRONG % key)
        self.held[reply["lease"]] = held
        self.count("layers_read")
        self.count("bytes_read", reply["bytes"])

    def check_held(self):
        """Reads all layers that are held."""
        for held in list(self.held.values()):
            if self.connection.digest(held.reply) != held.digest:
                self.ascertain(WRONG % held.key + " during the lease")
            self.count("layers_read")
            self.count("bytes_read", held.reply["bytes"])

    def ascertain(self, what):
        """What was found is wrong, unless the connection, and with it the leases, had ended already."""
        self.connection.call("org.varlink.service.GetInfo")
        raise Failed(what)

    @contextlib.contextmanager
    def refused(self, *errors):
        """What must be refused, with one of these errors."""
        try:
            yield
        except wire.VarlinkError as refused:
            if refused.error not in errors:
                raise Failed("%s instead of %s" % (refused, " or ".join(errors))) from refused
            self.count("refusals")
        else:
            raise Failed("was granted, and not refused with %s" % " or ".join(errors))
