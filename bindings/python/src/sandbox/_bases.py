"""What both faces share: owning handles, and everything that does not wait."""

from __future__ import annotations

import warnings
from collections import deque
from ctypes import byref, c_uint64, c_void_p, create_string_buffer
from typing import Any, Generic, TypeVar

from . import _abi, _arguments, _json
from ._handle import Handle, close_at_exit, raise_error, take_owned, text_of
from .errors import FailedPreconditionError
from .values import HostReport, OutputChunk, PoolInfo, SandboxSpec

T = TypeVar("T")


def call_json(function: Any, handle: Handle) -> Any:
    """One of the functions that answer at once with JSON."""
    owned, error = c_void_p(), c_void_p()
    if function(handle.ptr, byref(owned), byref(error)):
        raise_error(error)
    return _json.load(take_owned(owned))


def open_handle(function: Any, free: Any, *arguments: Any) -> Handle:
    """One of the functions that make a handle at once."""
    made, error = c_void_p(), c_void_p()
    if function(*arguments, byref(made), byref(error)):
        raise_error(error)
    assert made.value is not None
    return Handle(made.value, free)


class RootBase:
    """A runtime or client."""

    _close_function: Any

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._closed = False
        close_at_exit(handle, type(self)._close_function)

    @property
    def closed(self) -> bool:
        return self._closed

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}{' closed' if self._closed else ''}>"


class RuntimeBase(RootBase):
    _close_function = _abi.runtime_close

    @property
    def live(self) -> int:
        """Sandboxes handed out and alive."""
        number, error = c_uint64(), c_void_p()
        if _abi.runtime_live(self._handle.ptr, byref(number), byref(error)):
            raise_error(error)
        return number.value

    def _pools(self) -> list[PoolInfo]:
        return [_json.pool(one) for one in call_json(_abi.runtime_pools, self._handle)]

    def _host(self) -> HostReport:
        return _json.host(call_json(_abi.runtime_host, self._handle))

    def _next_adopted(self) -> Handle | None:
        made, error = c_void_p(), c_void_p()
        if _abi.runtime_next_adopted(self._handle.ptr, byref(made), byref(error)):
            raise_error(error)
        return None if made.value is None else Handle(made.value, _abi.sandbox_free)


class SandboxBase:
    """What a sandbox says without being asked."""

    def __init__(self, handle: Handle, owner: object, opened: bool) -> None:
        self._handle = handle
        self._owner = owner
        self._opened = opened

    @property
    def id(self) -> str:
        """``"sbx-"`` and 8 hex digits."""
        return text_of(_abi.sandbox_id(self._handle.ptr))

    @property
    def closed(self) -> bool:
        return bool(_abi.sandbox_closed(self._handle.ptr))

    @property
    def spec(self) -> SandboxSpec:
        """What it is made of."""
        return _json.spec(call_json(_abi.sandbox_spec, self._handle))

    @property
    def unenforced(self) -> list[str]:
        """Limits and locks that the host does not enforce; empty unless the spec allowed that."""
        owned, error = c_void_p(), c_void_p()
        if _abi.sandbox_unenforced(self._handle.ptr, byref(owned), byref(error)):
            raise_error(error)
        return (take_owned(owned) or b"").decode("utf-8", "surrogateescape").splitlines()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.id}{' closed' if self.closed else ''}>"


class Stash(Generic[T]):
    """What a cancelled read brought all the same: the next read's."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[T] = deque()

    def keep(self, value: T) -> None:
        self._kept.append(value)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def take(self) -> T:
        return self._kept.popleft()


class StreamBase:
    """A handle with a close that does not wait: calls under way in other tasks or threads end, and later ones fail."""

    _what = "stream"

    def __init__(self, handle: Handle, owner: object, close: Any) -> None:
        self._handle = handle
        self._owner = owner
        self._close = close
        self._is_closed = False

    @property
    def closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Ends it. Does not wait; idempotent; from any thread."""
        self._is_closed = True
        self._close(self._handle.ptr)

    def _use(self) -> int:
        if self._is_closed:
            raise FailedPreconditionError(f"this {self._what} is closed")
        return self._handle.ptr


class ProcessBase(StreamBase):
    """A running program: what does not wait."""

    _what = "process"

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner, _abi.process_close)
        self._pid: int = _abi.process_pid(handle.ptr)
        self._stash: Stash[OutputChunk | None] = Stash()

    @property
    def pid(self) -> int:
        """Process id inside the sandbox."""
        return self._pid

    def close_stdin(self) -> None:
        """End of file on standard input. Idempotent."""
        error = c_void_p()
        if _abi.process_close_input(self._use(), byref(error)):
            raise_error(error)

    def signal(self, number: int) -> None:
        """Sends a signal to the program's process group; no error if it ended already."""
        error = c_void_p()
        if _abi.process_signal(self._use(), _arguments.int32(number, "signal"), byref(error)):
            raise_error(error)

    def resize(self, rows: int, columns: int) -> None:
        """Of its terminal. Raises FailedPreconditionError for a program without one."""
        size = _arguments.uint(rows, "rows", 16), _arguments.uint(columns, "columns", 16)
        error = c_void_p()
        if _abi.process_resize(self._use(), *size, byref(error)):
            raise_error(error)

    def kill(self) -> None:
        """SIGKILL for the process group; its status says ``ExitCause.CANCELLED``."""
        error = c_void_p()
        if _abi.process_kill(self._use(), byref(error)):
            raise_error(error)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} pid {self._pid}>"


class EventStreamBase(StreamBase):
    """Events as they happen."""

    _what = "event stream"

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner, _abi.events_cancel)

    @property
    def gap(self) -> bool:
        """Whether events between those seen were lost."""
        return bool(_abi.events_gap(self._handle.ptr))


def generate_signing_key() -> tuple[bytes, str]:
    """A new Ed25519 key for a daemon with several tenants: its seed of 32 bytes, to be kept secret, and the base64 of its
    public half for the daemon's configuration."""
    seed, public, error = create_string_buffer(32), c_void_p(), c_void_p()
    if _abi.signing_key_generate(seed, byref(public), byref(error)):
        raise_error(error)
    return seed.raw, (take_owned(public) or b"").decode("ascii")
