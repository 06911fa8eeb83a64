"""EdgeMind from Python: one file, the standard library, and NumPy where it is there.

    import edgemind

    with edgemind.Connection() as daemon:
        daemon.load_model("model.safetensors")
        with daemon.acquire("model", "model.layers.0", wait=5) as layer:
            layer.data                                # the layer's bytes, in the arena
            layer.tensors["model.layers.0.weight"]    # one tensor, without a copy
        with daemon.run("model") as run:
            for layer in run.layers():                # one pass
                ...
        daemon.call("Stats")["arena"]["usedBytes"]    # any method, as the interface file says

What a layer hands out is read-only and lies in the arena, which every process of the machine
shares. It may be used until the layer is given back: by release() or the end of its `with`, by a
run's next layer or end, or by the connection's end. `data` and the memoryviews in `tensors` then
raise ValueError. NumPy arrays, and slices that the caller made, cannot be taken back: they then
show whatever comes to lie there next. Copy what is needed longer.

When the daemon is restarted the connection ends with it: the next call raises ConnectionError, and
what was read since the last one may have been something else. A new Connection may acquire the same
layers; none is taken up by itself. If the daemon did not keep its arena it cuts it to nothing, and
reading what is left of a layer ends the process by SIGBUS. (libedgemind takes leases up again, and
turns the signal into an error.)

Tensors are as in their file, little-endian as is every machine that this is for. With NumPy they
are arrays of the tensor's shape, else memoryviews of it. Types that these have no name for come as
flat bytes (uint8, or format "B"), and `layout` has type and shape. These are BF16, the 8-bit
floats and everything smaller, and the quantised ones; without NumPy also F16 and C64, and a tensor
of no elements.

An error reply raises the class of its name, below Error. A connection that cannot be made, or
breaks, raises OSError (mostly ConnectionError), ends, and takes its leases and runs with it.

A connection and what came from it are for one thread at a time; threads take a connection each.

After a fork they are the parent's, and each process makes its own Connection. In the child whatever
would use the parent's raises ChildProcessError (an OSError) and sends nothing; close() and the end
of a `with` do nothing there, so that the parent keeps what it holds. The child's copy of the socket
is closed as it is forked: the parent's leases end with the parent. Arrays and memoryviews that the
parent had made before may be read in the child for as long as the parent holds the layer; nothing
tells the child when that ends.
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
FDS_MAX = 253  # that a call carries
SEGMENTS_CACHED_MAX = 8192  # each is a mapping, of which a process may have some 65,000

# By dtype: what NumPy, and what memoryview.cast calls it.
FORMATS = {
    "F64": ("<f8", "d"), "F32": ("<f4", "f"), "F16": ("<f2", None), "C64": ("<c8", None),
    "I64": ("<i8", "q"), "I32": ("<i4", "i"), "I16": ("<i2", "h"), "I8": ("i1", "b"),
    "U64": ("<u8", "Q"), "U32": ("<u4", "I"), "U16": ("<u2", "H"), "U8": ("u1", "B"),
    "BOOL": ("?", "?"),
}


class Error(Exception):
    """An error reply: `name` as on the wire, `parameters` as the interface file says."""

    def __init__(self, name: str, parameters: dict):
        super().__init__(name, parameters)
        self.name = name
        self.parameters = parameters

    def __str__(self) -> str:
        return f"{self.name.rpartition('.')[2]} {json.dumps(self.parameters)}"


class OutOfMemory(Error):
    """The layer is larger than the whole arena."""


class MustUnload(Error):
    """The arena is full: the victims would have to give way."""


class Busy(Error):
    """Clients hold, or the daemon is loading, the layers that would have to give way."""


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
    """The operating system refused something to the daemon."""


class PermissionDenied(Error):
    """This user may not call this method."""


class InvalidParameter(Error):
    """The method has no such parameter, or not of this value."""


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
    """Where a tensor lies in its layer, and what it is."""
    name: str
    dtype: str
    shape: Tuple[int, ...]  # outermost first
    offset: int  # in bytes, from the layer's first
    nbytes: int


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: closes its copies of the parent's sockets; the parent's stay open."""
    for connection in list(_connections):
        connection._socket.close()


os.register_at_fork(after_in_child=_after_fork)

_PART = r"(?<=[^/])-(\d{5})-of-(\d{5})\.gguf$"
_SHARD = _PART.replace("gguf", "safetensors")
# What files are called in every repository, or by their hash.
_GENERIC = (r"(model|pytorch_model|diffusion_pytorch_model|adapter_model|consolidated|weights|"
            r"ggml-model)($|[._-])|[0-9a-f]{40,}$")
# https://huggingface.co/docs/huggingface_hub/guides/manage-cache
_CACHED = (r"/models--((?:[^/](?!--))*[^/]?)(?:--([^/]*))?/"
           r"(?:blobs/|snapshots/[^/]*(?:/(.+(?=/)))?)")

Segments = Sequence[Tuple[int, int]]  # offset and length, in bytes of the arena's file

_libc = ctypes.CDLL(None, use_errno=True)
# Where off_t may have 32 bits there is mmap64.
_mmap = _libc.mmap64 if hasattr(_libc, "mmap64") else _libc.mmap
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                  ctypes.c_int64]
_mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PROT_NONE, _MAP_FIXED = 0, 0x10  # what the module mmap leaves out
_MAP_FAILED = ctypes.c_void_p(-1).value
_HUGE_PAGE = 2 << 20


def _map(address: Optional[int], length: int, protection: int, flags: int, fd: int = -1,
         offset: int = 0) -> int:
    mapped = _mmap(address, length, protection, flags, fd, offset)
    if mapped == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "cannot map the arena")
    return mapped


class _Arena:
    """The arena's file: mapped whole, once, and again for each layer that lies in several segments.
    A mapping lasts as long as anything looks through it."""

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
        """The segments' bytes as one range; a new view of the same memory each time."""
        end = max(offset + length for offset, length in segments)
        if end > len(self.whole):  # with commit=load the file grows
            size = os.fstat(self.file.fileno()).st_size
            if end > size:
                raise ConnectionError("the arena is shorter than the daemon says")
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

    def map(self, segments: Segments) -> memoryview:
        starts = [offset // self.page * self.page for offset, _ in segments]
        ends = [-(-(offset + length) // self.page) * self.page for offset, length in segments]
        skip = segments[0][0] - starts[0]
        n_bytes = sum(length for _, length in segments)
        room = sum(ends) - sum(starts)
        if skip + n_bytes + ends[-1] - sum(segments[-1]) != room:
            raise ConnectionError("the layer's segments do not meet at pages")
        # So that the kernel can map huge pages of the arena as such.
        align = max(self.page, _HUGE_PAGE) if len(segments) == 1 else self.page
        reserved = _map(None, room + align, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = -(-reserved // align) * align
        bytes_ = (ctypes.c_ubyte * n_bytes).from_address(address + skip)
        unmap = weakref.finalize(bytes_, _libc.munmap, reserved, room + align)
        unmap.atexit = False  # something may still look through it then
        for start, end in zip(starts, ends):
            _map(address, end - start, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED,
                 self.file.fileno(), start)
            address += end - start
        return memoryview(bytes_).cast("B").toreadonly()


class Layer:
    """A layer that is held in the arena: `name`, `nbytes` and `layout`, a Tensor by its name."""

    def __init__(self, connection: Connection, reply: dict):
        self._connection = connection
        self._segments = tuple((s["offset"], s["length"]) for s in reply["segments"])
        self._data: Optional[memoryview] = None
        self._tensors: Optional[dict] = None
        self.lease: str = reply["lease"]
        self.name: str = reply["layer"]
        self.nbytes: int = reply["bytes"]
        self.layout = {t["name"]: Tensor(t["name"], t["dtype"], tuple(t["shape"]), t["offset"],
                                         t["bytes"]) for t in reply["tensors"]}
        self.released = False
        connection._held.add(self)

    @property
    def data(self) -> memoryview:
        """The layer's bytes."""
        self._connection._check_process()
        if self.released:
            raise ValueError("the layer has been given back")
        if self._data is None:
            self._data = self._connection._view(self._segments)
        return self._data

    @property
    def tensors(self) -> dict:
        """An array or memoryview by the tensor's name. Empty once the layer was given back."""
        data = self.data
        if self._tensors is None:
            self._tensors = {name: _tensor(data, tensor) for name, tensor in self.layout.items()}
        return self._tensors

    def _drop(self) -> None:
        self.released = True
        self._connection._held.discard(self)
        views = [self._data, *(self._tensors or {}).values()]
        if self._tensors:
            self._tensors.clear()
        for view in views:
            if isinstance(view, memoryview):
                with contextlib.suppress(BufferError):  # an array that the caller made of it
                    view.release()


def _tensor(data: memoryview, tensor: Tensor) -> Any:
    data = data[tensor.offset:tensor.offset + tensor.nbytes]
    array_type, view_format = FORMATS.get(tensor.dtype, (None, None))
    if numpy is not None:  # not numpy.ndarray(), which lets the caller make it writable
        flat = numpy.frombuffer(data, array_type or "u1")
        return flat.reshape(tensor.shape) if array_type else flat
    return data.cast(view_format, tensor.shape) if view_format and data else data


class Lease(Layer):
    """A layer of acquire(). A context manager."""

    def release(self) -> None:
        """Gives the layer back. No error if that has been done, or the connection has ended."""
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
    """A layer of a run, held until the run's next. `index`: its place in the model; `pass_`: how
    often the run has come to the model's end, both from 0; `hit`: it was not loaded for this use,
    be it ahead."""

    def __init__(self, connection: Connection, reply: dict):
        super().__init__(connection, reply)
        self.index: int = reply["index"]
        self.pass_: int = reply["pass"]
        self.hit: bool = reply["hit"]


class Run:
    """Goes through a model's layers, `n_layers` of them, again and again. A context manager, and an
    iterator without end: each layer is held until the next one is asked for. After an error, the
    next layer may be asked for again."""

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
        self._drop_layer()  # whatever comes of the call
        reply = self._connection.call("Next", run=self._run, waitUsec=_usec(self.wait))
        self._layer = RunLayer(self._connection, reply)
        return self._layer

    def layers(self) -> Iterator[RunLayer]:
        """The layers up to the model's end: one pass, or the rest of one. The last one is held
        until the run goes on."""
        for layer in self:
            yield layer
            if layer.index == self.n_layers - 1:
                return

    def end(self) -> None:
        """Gives the layer back and ends the run. No error if that has been done."""
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
    """Where the daemon listens: $EDGEMIND_SOCKET, the system's, or the user's own."""
    given, runtime = os.environ.get("EDGEMIND_SOCKET"), os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return given
    own = f"{runtime}/edgemind/{MANAGER}"
    return own if runtime and not _exists(SYSTEM_SOCKET) and _exists(own) else SYSTEM_SOCKET


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:  # one that may not be looked at is there, too
        pass
    except OSError:
        return False
    return True


class Connection:
    """A connection to the daemon at the socket `path` (default: find_socket()). A context manager.

    `timeout`: so many seconds without an answer end the connection with socket.timeout. It must be
    longer than every `wait` and than a layer takes to load. Default: as long as it takes."""

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
        """Ends the connection, and with it its leases and runs."""
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
        returns the reply's parameters. A parameter that is None is left out. `fds` are passed along
        and stay the caller's."""
        self._send(method, fds, parameters, more=False)
        return self._receive()

    def stream(self, method: str, /, *, fds: Sequence[int] = (), **parameters: Any
               ) -> Iterator[dict]:
        """Calls with `more` and yields the parameters of each reply. Nothing else can be called
        meanwhile; leaving before the last reply ends the connection."""
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
                   on_full: Optional[str] = None,
                   progress: Optional[Callable[[dict], Any]] = None) -> dict:
        """Loads the model of a definition, a safetensors or GGUF file or the index of a sharded
        one, with the weight files that it names or its other parts, and returns LoadModel's final
        reply. `path` may also be the folder of an index or of a single weight file. `name` is for
        weights; they are otherwise called as their file, an index as its directory, and what lies
        in the cache of Hugging Face's libraries as its repository. `on_full`: "evict" or "ask". `progress` gets each reply; if it raises, the load is cancelled and the
        connection ends."""
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
                name=name or own_name, onFull=on_full)))
            reply = {}
            for reply in replies:
                if progress:
                    progress(reply)
            return reply

    def acquire(self, model: str, layer: str, wait: Optional[float] = None) -> Lease:
        """Holds a layer, which is loaded if it is missing. If other clients hold
        the layers that would have to give way: Busy at once, or after `wait` seconds. The layer is held until it is released, whatever
        becomes of the Lease, or until the connection ends."""
        return Lease(self, self.call("Acquire", model=model, layer=layer, waitUsec=_usec(wait)))

    def run(self, model: str, wait: Optional[float] = None) -> Run:
        """Begins a run over a model's layers. `wait` as for acquire(), for each layer."""
        return Run(self, model, wait)

    def _is_parents(self) -> bool:
        """Whether the connection was made before this process was forked."""
        return self._process != os.getpid()

    def _check_process(self) -> None:
        if self._is_parents():
            raise ChildProcessError(errno.ECHILD, "the connection is that of the process that this "
                                    "one was forked from; make one in this process")

    def _view(self, segments: Segments) -> memoryview:
        if self._arena is None:
            raise ValueError("a daemon that simulates has no bytes")
        return self._arena.view(segments)

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
            raise ValueError("the call is longer than the 64 KiB that a daemon takes")
        message += b"\0"
        try:
            if fds:  # they ride on the first byte
                message = message[socket.send_fds(self._socket, [message], fds):]
            self._socket.sendall(message)
        except BrokenPipeError:
            pass  # the daemon's last reply says more
        except BaseException:
            self.close()
            raise

    def _receive(self) -> dict:
        """The next reply's parameters. A stream goes on if more replies follow."""
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
            raise ConnectionError("the daemon's reply makes no sense") from error
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
    """The folder's index, or else its only weight file; parts of one file count as one."""
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
    """A shard of several says nothing of the others: the index beside it takes its place."""
    shard = re.search(_SHARD, path)
    if not shard or int(shard[2]) < 2:
        return path
    return path[:shard.start()] + ".safetensors.index.json"


def _parts(path: str) -> list:
    """All parts of the split GGUF file that `path` is one of; empty if it is none."""
    part = re.search(_PART, path)
    if not part or not 1 <= int(part[1]) <= int(part[2]) <= FDS_MAX:
        return []
    return ["%s-%05d-of-%s.gguf" % (path[:part.start()], i, part[2])
            for i in range(1, int(part[2]) + 1)]


def _describe(path: str, fd: int, by_directory: bool) -> Tuple[Optional[str], list]:
    """What the file's model is called (None: a definition has its own name), and the weight files
    that it names. The daemon says what is wrong with them."""
    head, size = os.pread(fd, 9, 0), os.fstat(fd).st_size
    # No JSON text has a zero byte, and no safetensors header is so long that its length has none.
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
    """What the model in a file is called, as libedgemind and emctl call it."""
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
    """As a model's name: controls and bytes that are no UTF-8 as \\uXXXX, and not too long."""
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
    """Whether a weight file may be called so: beside the file that names it, or below."""
    return (isinstance(path, str) and path != "" and not path.startswith("/") and "\0" not in path
            and ".." not in path.split("/"))
