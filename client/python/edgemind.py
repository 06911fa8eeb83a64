"""EdgeMind from Python: one file that needs the standard library, and uses NumPy if it is installed.

    import edgemind

    with edgemind.Connection() as daemon:
        daemon.load_model("model.safetensors")
        with daemon.acquire("model", "model.layers.0", wait=5) as layer:
            layer.data                                # the layer's bytes, in the arena
            layer.tensors["model.layers.0.weight"]    # one tensor, without a copy
        with daemon.run("model") as run:
            for layer in run.layers():                # one pass
                ...
        daemon.call("Stats")["arena"]["usedBytes"]    # any method of the interface file

A layer's `data` and `tensors` are read-only and point into the arena, which all processes of the
machine share. They may be used until the layer is released: by release(), by the end of its `with`,
by the next layer of a run or the run's end, or by the connection's end. After that, `data` and the
memoryviews in `tensors` raise ValueError. NumPy arrays, and slices that the caller has made, stay
usable, but then show whatever the daemon puts into the same memory. Copy data that is needed longer.

When the daemon is restarted, its connections end. The next call raises ConnectionError, and bytes
that were read since the call before may be wrong. A new Connection may acquire the same layers;
nothing is acquired again automatically. If the daemon did not keep its arena, it truncates the old
one to zero bytes, and a process that still reads a layer in it is killed by SIGBUS. (libedgemind
takes leases up again, and turns the signal into an error.)

Tensors have the bytes of their file, which are little-endian, as are all supported machines. With
NumPy, tensors are arrays with the tensor's shape; without NumPy, they are memoryviews with that
shape. Some types have no equivalent: BF16, the 8-bit floats, all smaller types, and the quantised
types; without NumPy also F16, C64, and tensors without elements. Such tensors are flat bytes (uint8,
or format "B"), and `layout` has their type and shape.

An error reply raises the subclass of Error with its name. If a connection cannot be made or breaks,
OSError (usually ConnectionError) is raised, and the connection ends with its leases and runs.

Only one thread at a time may use a connection and its objects. Each thread should have its own.

After a fork the connection and its objects belong to the parent, and each process makes its own
Connection. In the child, everything that would use the parent's connection raises ChildProcessError
(an OSError) and sends nothing. close() and the end of a `with` do nothing there, so that the parent
keeps its leases. During the fork the child's copy of the socket is closed, so the parent's leases end
with the parent. The child may read arrays and memoryviews from before the fork for as long as the
parent holds the layer. Nothing tells the child when the parent releases it.
"""
from __future__ import annotations

import array
import collections
import contextlib
import ctypes
import errno
import json
import mmap
import os
import re
import socket
import stat
import weakref
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Tuple

try:
    import numpy
except ImportError:
    numpy = None

__all__ = [
    "AlreadyLoaded", "Busy", "Connection", "Error", "ExpectedMore", "IOFailed", "InterfaceNotFound",
    "InvalidDefinition", "InvalidParameter", "Layer", "Lease", "LimitExceeded", "MethodNotFound",
    "MethodNotImplemented", "MustUnload", "NotFound", "OutOfMemory", "PermissionDenied", "Run",
    "RunLayer", "SourceChanged", "Tensor",
]

MANAGER = "io.edgemind.manager"
SERVICE = "org.varlink.service"
SYSTEM_SOCKET = "/run/edgemind/" + MANAGER

CALL_BYTES_MAX = 64 << 10
DEFINITION_BYTES_MAX = 16 << 20
NAME_BYTES_MAX = 255
FDS_MAX = 253  # in one call
SEGMENTS_CACHED_MAX = 8192  # each is a mapping; a process may have about 65,000 mappings

# For each dtype: its name in NumPy, and its name for memoryview.cast.
FORMATS = {
    "F64": ("<f8", "d"), "F32": ("<f4", "f"), "F16": ("<f2", None), "C64": ("<c8", None),
    "I64": ("<i8", "q"), "I32": ("<i4", "i"), "I16": ("<i2", "h"), "I8": ("i1", "b"),
    "U64": ("<u8", "Q"), "U32": ("<u4", "I"), "U16": ("<u2", "H"), "U8": ("u1", "B"),
    "BOOL": ("?", "?"),
}


class Error(Exception):
    """An error reply: its full `name`, and its `parameters` as the interface file describes them."""

    def __init__(self, name: str, parameters: dict):
        super().__init__(name, parameters)
        self.name = name
        self.parameters = parameters

    def __str__(self) -> str:
        return f"{self.name.rpartition('.')[2]} {json.dumps(self.parameters)}"


class OutOfMemory(Error):
    """The layer is larger than the whole arena."""


class MustUnload(Error):
    """The arena is full: the victims would have to be evicted."""


class Busy(Error):
    """The layers that would have to be evicted are being loaded, or clients hold them."""


class NotFound(Error):
    """No such model, layer, lease, run or file."""


class AlreadyLoaded(Error):
    """A model of this name is registered."""


class InvalidDefinition(Error):
    """The definition, or the weight file, is not valid."""


class SourceChanged(Error):
    """A weight file changed after the model was registered."""


class LimitExceeded(Error):
    """The daemon's limit is reached."""


class IOFailed(Error):
    """The daemon could not read a file, or another system call of the daemon failed."""


class PermissionDenied(Error):
    """This user may not call this method."""


class InvalidParameter(Error):
    """The method does not have this parameter, or does not accept its value."""


class InterfaceNotFound(Error):
    """The daemon has no such interface."""


class MethodNotFound(Error):
    """The interface has no such method."""


class MethodNotImplemented(Error):
    """The daemon does not have this method."""


class ExpectedMore(Error):
    """The method is for Connection.stream."""


ERRORS = {f"{MANAGER}.{error.__name__}": error for error in (
    OutOfMemory, MustUnload, Busy, NotFound, AlreadyLoaded, InvalidDefinition, SourceChanged,
    LimitExceeded, IOFailed)}
ERRORS.update((f"{SERVICE}.{error.__name__}", error) for error in (
    PermissionDenied, InvalidParameter, InterfaceNotFound, MethodNotFound, MethodNotImplemented,
    ExpectedMore))


class Tensor(NamedTuple):
    """A tensor's type and shape, and its place in the layer."""
    name: str
    dtype: str
    shape: Tuple[int, ...]  # outermost first
    offset: int  # in bytes, from the layer's first byte
    nbytes: int


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    """Runs in the child. Closes its copies of the parent's sockets, which stay open in the parent."""
    for connection in list(_connections):
        connection._socket.close()


os.register_at_fork(after_in_child=_after_fork)

_PART = r"(?<=[^/])-(\d{5})-of-(\d{5})\.gguf$"
_SHARD = _PART.replace("gguf", "safetensors")
# Names that files have in every repository, and names that are hashes.
_GENERIC = (r"(model|pytorch_model|diffusion_pytorch_model|adapter_model|consolidated|weights|"
            r"ggml-model)($|[._-])|[0-9a-f]{40,}$")
# https://huggingface.co/docs/huggingface_hub/guides/manage-cache
_CACHED = (r"/models--((?:[^/](?!--))*[^/]?)(?:--([^/]*))?/"
           r"(?:blobs/|snapshots/[^/]*(?:/(.+(?=/)))?)")

Segments = Sequence[Tuple[int, int]]  # offset and length, in bytes of the arena's file

_libc = ctypes.CDLL(None, use_errno=True)
# If off_t has 32 bits, libc has mmap64.
_mmap = _libc.mmap64 if hasattr(_libc, "mmap64") else _libc.mmap
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                  ctypes.c_int64]
_mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PROT_NONE, _MAP_FIXED = 0, 0x10  # the module mmap does not have these
_MAP_FAILED = ctypes.c_void_p(-1).value
_HUGE_PAGE = 2 << 20


def _map(address: Optional[int], length: int, protection: int, flags: int, fd: int = -1,
         offset: int = 0) -> int:
    mapped = _mmap(address, length, protection, flags, fd, offset)
    if mapped == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "cannot map the arena")
    return mapped


class _Arena:
    """The arena's file. The whole file is mapped once, and each layer in several segments is mapped
    again. A mapping lasts as long as an object uses it."""

    def __init__(self, fd: int):
        self.file = open(fd, "rb", buffering=0)
        self.page = os.fstatvfs(fd).f_bsize  # of huge pages too
        self.whole = memoryview(b"")
        self.contiguous: collections.OrderedDict[Segments, memoryview] = collections.OrderedDict()

    def close(self) -> None:
        self.file.close()
        self.whole = memoryview(b"")
        self.contiguous.clear()

    def view(self, segments: Segments) -> memoryview:
        """The segments' bytes as one range. Each call makes a new view of the same memory."""
        end = max(offset + length for offset, length in segments)
        if end > len(self.whole):  # with commit=load the file grows
            size = os.fstat(self.file.fileno()).st_size
            if end > size:
                raise ConnectionError("the layer is beyond the end of the arena")
            self.whole = self.map([(0, size)])
        if len(segments) == 1:
            offset, length = segments[0]
            return self.whole[offset:offset + length]
        if segments not in self.contiguous:
            self.contiguous[segments] = self.map(segments)
            while sum(map(len, self.contiguous)) > SEGMENTS_CACHED_MAX and len(self.contiguous) > 1:
                self.contiguous.popitem(last=False)
        self.contiguous.move_to_end(segments)
        return self.contiguous[segments][:]

    def joined(self, segments: Segments) -> Iterator[Segments]:
        """Divides them where they do not meet at the end of a page and the beginning of another."""
        first = 0
        for i in range(1, len(segments) + 1):
            if i == len(segments) or segments[i][0] % self.page or sum(segments[i - 1]) % self.page:
                yield segments[first:i]
                first = i

    def map(self, segments: Segments) -> memoryview:
        starts = [offset // self.page * self.page for offset, _ in segments]
        ends = [-(-(offset + length) // self.page) * self.page for offset, length in segments]
        skip = segments[0][0] - starts[0]
        n_bytes = sum(length for _, length in segments)
        room = sum(ends) - sum(starts)
        if skip + n_bytes + ends[-1] - sum(segments[-1]) != room:
            raise ConnectionError("the layer's segments do not begin and end at pages")
        # Aligned, so that the kernel can map huge pages of the arena as huge pages.
        align = max(self.page, _HUGE_PAGE) if len(segments) == 1 else self.page
        reserved = _map(None, room + align, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = -(-reserved // align) * align
        bytes_ = (ctypes.c_ubyte * n_bytes).from_address(address + skip)
        unmap = weakref.finalize(bytes_, _libc.munmap, reserved, room + align)
        unmap.atexit = False  # other objects may still use the mapping then
        for start, end in zip(starts, ends):
            _map(address, end - start, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED,
                 self.file.fileno(), start)
            address += end - start
        return memoryview(bytes_).cast("B").toreadonly()


class Layer:
    """A held layer: its `name`, its size `nbytes`, and `layout`, which maps names to Tensors. If only
    some units of it are held, `units` has their numbers, and is otherwise None."""

    def __init__(self, connection: Connection, reply: dict, units: Optional[Sequence[int]] = None):
        self._connection = connection
        self._segments = tuple((s["offset"], s["length"]) for s in reply["segments"])
        self._parts: Optional[list] = None  # views of bytes that lie together, in the layer's order
        self._tensors: Optional[dict] = None
        self.lease: str = reply["lease"]
        self.name: str = reply["layer"]
        self.nbytes: int = reply["bytes"]
        self.units = units
        self.layout = {t["name"]: Tensor(t["name"], t["dtype"], tuple(t["shape"]), t["offset"],
                                         t["bytes"]) for t in reply["tensors"]}
        self.released = False
        connection._held.add(self)

    @property
    def data(self) -> memoryview:
        """The layer's bytes."""
        if self.units is not None:
            raise ValueError("units lie apart in the arena; use the layer's tensors")
        return self._views()[0]

    @property
    def tensors(self) -> dict:
        """Maps each tensor's name to its array or memoryview. Empty after the layer's release."""
        views = self._views()
        if self._tensors is None:
            self._tensors = {name: _tensor(_find(views, tensor), tensor)
                             for name, tensor in self.layout.items()}
        return self._tensors

    def _views(self) -> list:
        self._connection._check_process()
        if self.released:
            raise ValueError("the layer has been released")
        if self._parts is None:
            self._parts = self._connection._views(self._segments, self.units is not None)
        return self._parts

    def _drop(self) -> None:
        self.released = True
        self._connection._held.discard(self)
        views = [*(self._parts or ()), *(self._tensors or {}).values()]
        if self._tensors:
            self._tensors.clear()
        for view in views:
            if isinstance(view, memoryview):
                with contextlib.suppress(BufferError):  # the caller has made an array of it
                    view.release()


def _find(views: Sequence[memoryview], tensor: Tensor) -> memoryview:
    """The bytes of a tensor, which are all in one view."""
    begin = tensor.offset
    for view in views:
        if begin + tensor.nbytes <= len(view):
            return view[begin:begin + tensor.nbytes]
        begin -= len(view)
        if begin < 0:
            break
    raise ConnectionError(f"the tensor {tensor.name} does not lie within the layer")


def _tensor(data: memoryview, tensor: Tensor) -> Any:
    array_type, view_format = FORMATS.get(tensor.dtype, (None, None))
    if numpy is not None:  # not numpy.ndarray(), whose arrays the caller could make writable
        flat = numpy.frombuffer(data, array_type or "u1")
        return flat.reshape(tensor.shape) if array_type else flat
    return data.cast(view_format, tensor.shape) if view_format and data else data


class Lease(Layer):
    """A layer of acquire(). A context manager."""

    def release(self) -> None:
        """Releases the layer. It is not an error if the layer is released or the connection ended."""
        self._connection._check_process()
        if not self.released:
            self._connection.call("Release", lease=self.lease)
            self._drop()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._connection._is_parents():
            self.release()


class RunLayer(Layer):
    """A layer of a run, held until the run's next layer. `index` is its index in the model, and `pass_`
    is how often the run has reached the model's end, both from 0. `hit` is False if the layer was
    loaded for this use, even if it was read ahead."""

    def __init__(self, connection: Connection, reply: dict):
        super().__init__(connection, reply)
        self.index: int = reply["index"]
        self.pass_: int = reply["pass"]
        self.hit: bool = reply["hit"]


class Run:
    """Goes through a model's `n_layers` layers again and again. A context manager, and an iterator
    without end, which holds each layer until the next call. After an error the caller may request
    the next layer again."""

    def __init__(self, connection: Connection, model: str, wait: Optional[float]):
        self._connection = connection
        self._layer: Optional[RunLayer] = None
        reply = connection.call("BeginRun", model=model)
        self._run: Optional[str] = reply["run"]
        self.model = model
        self.n_layers: int = reply["layers"]
        self.wait = wait  # seconds, as for acquire(); may be set between layers
        connection._runs.add(self)

    def __iter__(self) -> Run:
        return self

    def __next__(self) -> RunLayer:
        self._connection._check_process()
        if self._run is None:
            raise ValueError("the run has ended")
        self._drop_layer()  # even if the call fails
        reply = self._connection.call("Next", run=self._run, waitUsec=_usec(self.wait))
        self._layer = RunLayer(self._connection, reply)
        return self._layer

    def layers(self) -> Iterator[RunLayer]:
        """The layers up to the model's end: one pass, or the rest of a pass. The last layer is held
        until the run continues or ends."""
        for layer in self:
            yield layer
            if layer.index == self.n_layers - 1:
                return

    def end(self) -> None:
        """Releases the layer and ends the run. It is not an error if the run has ended."""
        self._connection._check_process()
        if self._run is not None:
            self._connection.call("EndRun", run=self._run)
            self._drop()

    def _drop_layer(self) -> None:
        if self._layer is not None:
            self._layer._drop()
            self._layer = None

    def _drop(self) -> None:
        self._run = None
        self._connection._runs.discard(self)
        self._drop_layer()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._connection._is_parents():
            self.end()


def _usec(wait: Optional[float]) -> Optional[int]:
    return None if wait is None else round(wait * 1e6)


def find_socket() -> str:
    """The daemon's socket: $EDGEMIND_SOCKET, the system's, or the user's own."""
    given, runtime = os.environ.get("EDGEMIND_SOCKET"), os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return given
    own = f"{runtime}/edgemind/{MANAGER}"
    return own if runtime and not _exists(SYSTEM_SOCKET) and _exists(own) else SYSTEM_SOCKET


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:  # it exists, but this user may not see it
        pass
    except OSError:
        return False
    return True


class Connection:
    """A connection to the daemon at the socket `path` (default: find_socket()). A context manager.

    If the daemon does not answer for `timeout` seconds, the connection ends with socket.timeout. The
    timeout must be longer than every `wait` and longer than the load of a layer. By default there is
    no timeout."""

    def __init__(self, path: Optional[os.PathLike] = None, timeout: Optional[float] = None):
        self._arena: Optional[_Arena] = None
        self._held: set[Layer] = set()
        self._runs: set[Run] = set()
        self._received = bytearray()
        self._fds: list[int] = []
        self._streaming = False
        self._process = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _connections.add(self)
        try:
            self._socket.connect(os.fspath(path or find_socket()))
            self._socket.settimeout(timeout)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Ends the connection with its leases and runs."""
        if self._is_parents():
            return
        self._socket.close()
        self._streaming = False
        for held in [*self._held, *self._runs]:
            held._drop()
        self._close_fds()
        if self._arena:
            self._arena.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def call(self, method: str, /, *, fds: Sequence[int] = (), **parameters: Any) -> dict:
        """Calls a method of io.edgemind.manager, or of another interface by its full name, and
        returns the reply's parameters. Parameters that are None are not sent. The descriptors `fds`
        are sent, too; the caller still owns them."""
        self._send(method, fds, parameters, more=False)
        return self._receive()

    def stream(self, method: str, /, *, fds: Sequence[int] = (), **parameters: Any
               ) -> Iterator[dict]:
        """Calls with `more` and yields the parameters of each reply. No other call is possible
        meanwhile. If the caller stops before the last reply, the connection ends."""
        self._send(method, fds, parameters, more=True)
        self._streaming = more = True
        try:
            while more:
                reply = self._receive()
                more = self._streaming
                yield reply
        finally:
            if more and self._streaming:
                self.close()

    def load_model(self, path: os.PathLike, name: Optional[str] = None,
                   on_full: Optional[str] = None, replace: bool = False,
                   progress: Optional[Callable[[dict], Any]] = None) -> dict:
        """Loads a model and returns LoadModel's final reply. `path` is a definition, a safetensors or
        GGUF file, the index of sharded safetensors, or a folder with one index or one weight file.
        The weight files that belong to it are opened, too.

        `name` is the model's name in a weight file or an index. By default this is the name of the
        file, of the index's directory, or, in the cache of Hugging Face's libraries, of the
        repository. `on_full` is "evict" or "ask". `replace` lets a known model
        of that name give way. `progress` is called with each reply; if it raises,
        the load is cancelled and the connection ends."""
        with contextlib.ExitStack() as stack:
            def opened(beside: str) -> int:
                fd = _open_regular(beside)
                stack.callback(os.close, fd)
                return fd

            path, is_folder = os.fspath(path), os.path.isdir(path)
            path = _whole(os.fsdecode(_in_folder(path) if is_folder else path))
            parts = _parts(path)
            fds = [opened(parts[0] if parts else path)]
            own_name, named = _describe(path, fds[0], is_folder)
            named += [os.path.basename(part) for part in parts[1:]]
            fds += [opened(os.path.join(os.path.dirname(path), file)) for file in named]
            weights = [{"path": file, "fileDescriptor": i} for i, file in enumerate(named, 1)]
            replies = stack.enter_context(contextlib.closing(self.stream(
                "LoadModel", fds=fds, definitionFileDescriptor=0, weights=weights or None,
                name=name or own_name, onFull=on_full, replace=replace or None)))
            reply = {}
            for reply in replies:
                if progress:
                    progress(reply)
            return reply

    def acquire(self, model: str, layer: str, wait: Optional[float] = None,
                units: Optional[Sequence[int]] = None) -> Lease:
        """Holds a layer, and loads it first if it is not resident. If other clients hold the layers
        that would have to be evicted, raises Busy at once, or after `wait` seconds. The layer is held
        until its release or the connection's end, even if the Lease is garbage-collected.
        With `units` it holds only these, such as experts, all or none: the Lease has their tensors."""
        numbers = None if units is None else [int(unit) for unit in units]
        return Lease(self, self.call("Acquire", model=model, layer=layer, units=numbers,
                                     waitUsec=_usec(wait)), numbers)

    def run(self, model: str, wait: Optional[float] = None) -> Run:
        """Begins a run over a model's layers. `wait` is as for acquire(), for each layer."""
        return Run(self, model, wait)

    def _is_parents(self) -> bool:
        """Whether the connection was made before this process was forked."""
        return self._process != os.getpid()

    def _check_process(self) -> None:
        if self._is_parents():
            raise ChildProcessError(errno.ECHILD, "the connection belongs to the parent process; make "
                                    "a new one in this process")

    def _views(self, segments: Segments, apart: bool) -> list:
        if self._arena is None:
            raise ValueError("the daemon only simulates, so its layers have no bytes")
        groups = self._arena.joined(segments) if apart else [segments]
        return [self._arena.view(group) for group in groups]

    def _send(self, method: str, fds: Sequence[int], parameters: dict, more: bool) -> None:
        self._check_process()
        if self._streaming:
            raise RuntimeError("a stream is being received; call on another connection")
        if self._socket.fileno() < 0:
            raise ConnectionError("the connection has ended")
        call: dict = {"method": method if "." in method else f"{MANAGER}.{method}", "parameters": {
            key: value for key, value in parameters.items() if value is not None}}
        if more:
            call["more"] = True
        message = json.dumps(call, ensure_ascii=False, allow_nan=False).encode()
        if len(message) > CALL_BYTES_MAX:
            raise ValueError("the call is longer than the 64 KiB that a daemon accepts")
        message += b"\0"
        try:
            if fds:  # the descriptors go with the first byte
                message = message[socket.send_fds(self._socket, [message], fds):]
            self._socket.sendall(message)
        except BrokenPipeError:
            pass  # the daemon's last reply says more
        except BaseException:
            self.close()
            raise

    def _receive(self) -> dict:
        """Receives the next reply and returns its parameters. Says in _streaming whether more replies
        follow."""
        self._check_process()
        try:
            message = json.loads(self._message())
            parameters = message.get("parameters") or {}
            name = message.get("error")
            arena = parameters.get("arenaFileDescriptor")
            if arena is not None:
                self._arena = _Arena(self._fds.pop(arena))
            self._close_fds()
            self._streaming = bool(message.get("continues"))
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            self.close()
            raise ConnectionError("the daemon's reply is invalid") from error
        except BaseException:
            self.close()
            raise
        if name is not None:
            raise ERRORS.get(name, Error)(name, parameters)
        return parameters

    def _message(self) -> bytes:
        begin = 0
        while (end := self._received.find(0, begin)) < 0:
            begin = len(self._received)
            data, rights, _, _ = self._socket.recvmsg(
                1 << 16, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC)
            for _, _, numbers in rights:
                fds = array.array("i")
                fds.frombytes(numbers)
                self._fds += fds
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the daemon closed the connection")
            self._received += data
        message = bytes(self._received[:end])
        del self._received[:end + 1]
        return message

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def _open_regular(path: str) -> int:
    # O_NONBLOCK: opening a named pipe must not wait for its writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", path)


def _in_folder(folder: str) -> str:
    """The folder's index, or, if it has none, its only weight file. The parts of a split GGUF file
    count as one file."""
    folder = os.fsdecode(folder)
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    found = [name for name in names if name.endswith(".safetensors.index.json")]
    weights = [name for name in names if name.endswith((".safetensors", ".gguf"))]
    found = found or [name for name in weights if not re.search(_PART, name)
                      or "-00001-of-" in name]
    if not found:
        raise FileNotFoundError(errno.ENOENT, "the folder has no weights in it", folder)
    if len(found) > 1:
        raise OSError(errno.EMLINK, "the folder has several models in it (%s)" % ", ".join(found),
                      folder)
    return os.path.join(folder, found[0])


def _whole(path: str) -> str:
    """The index of the shard `path`, because a shard does not name the others; any other path
    unchanged."""
    shard = re.search(_SHARD, path)
    if not shard or int(shard[2]) < 2:
        return path
    return path[:shard.start()] + ".safetensors.index.json"


def _parts(path: str) -> list:
    """All parts of the split GGUF file that `path` belongs to; empty if it belongs to none."""
    part = re.search(_PART, path)
    if not part or not 1 <= int(part[1]) <= int(part[2]) <= FDS_MAX:
        return []
    return ["%s-%05d-of-%s.gguf" % (path[:part.start()], i, part[2])
            for i in range(1, int(part[2]) + 1)]


def _describe(path: str, fd: int, by_directory: bool) -> Tuple[Optional[str], list]:
    """The name of the file's model (None: a definition has its own name), and the weight files that
    it names. The daemon checks the content."""
    head, size = os.pread(fd, 9, 0), os.fstat(fd).st_size
    # JSON text never has a zero byte. The length of a safetensors header always has one.
    if head[:4] == b"GGUF" or (0 in head[:8] and head[8:] in (b"", b"{")):
        return _name_of(path, False, by_directory), []
    if size > DEFINITION_BYTES_MAX:
        return None, []
    try:
        root = json.loads(os.pread(fd, size, 0))
    except (ValueError, RecursionError):
        return None, []
    root = root if isinstance(root, dict) else {}
    name, named = None, [root.get("weights")]
    if "weight_map" in root and "layers" not in root:
        name = _name_of(path, True, by_directory)
        weight_map = root["weight_map"]
        named = list(weight_map.values()) if isinstance(weight_map, dict) else []
    return name, list(dict.fromkeys(file for file in named if _is_inside(file)))


def _name_of(path: str, is_index: bool, by_directory: bool) -> str:
    """The default name of the model in a file, the same as in libedgemind and emctl."""
    stem = os.path.splitext(re.sub(_PART, ".gguf", os.path.basename(path)))[0]
    if not is_index and not re.match(_GENERIC, stem):
        return _text(stem)
    path = os.path.abspath(path)
    cached = re.search(_CACHED, path)
    if cached:
        return _text((cached[2] or cached[1]) + (cached[3] or "").replace("/", "-"))
    if not is_index and not by_directory:
        return _text(stem)
    return _text(os.path.basename(os.path.dirname(path)) or "model")


def _text(name: str) -> str:
    """A valid model name: control characters and bytes that are not UTF-8 become \\uXXXX, and the name
    is cut to the maximum length."""
    fit = ""
    for character in name:
        code = ord(character) - 0xdc00 if 0xdc80 <= ord(character) <= 0xdcff else ord(character)
        if code != ord(character) or code < 0x20 or 0x7f <= code <= 0x9f:
            character = "\\u%04x" % code
        if len((fit + character).encode()) > NAME_BYTES_MAX:
            break
        fit += character
    return fit


def _is_inside(path: Any) -> bool:
    """Whether the path of a weight file is allowed: it must be in or below the directory of the file
    that names it."""
    return (isinstance(path, str) and path != "" and not path.startswith("/") and "\0" not in path
            and ".." not in path.split("/"))
