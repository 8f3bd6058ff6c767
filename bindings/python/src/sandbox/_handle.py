"""Who owns what of the C interface."""

from __future__ import annotations

import atexit
import os
import weakref
from ctypes import byref, c_void_p, string_at
from typing import Any, NoReturn

from . import _abi
from .errors import BY_CODE, FailedPreconditionError, InternalError, Retry


def raise_error(error: c_void_p) -> NoReturn:
    """Raises what a C function left in its error, and frees that."""
    try:
        code = _abi.error_code(error)
        kind = BY_CODE.get(code, InternalError)
        number = _abi.error_retry(error)
        raise kind(
            text_of(_abi.error_message(error)),
            operation=text_of(_abi.error_operation(error)),
            sys_errno=_abi.error_errno(error),
            retry=Retry(number) if number in (0, 1, 2) else Retry.NEVER,
        )
    finally:
        _abi.error_free(byref(error))


def bytes_of(view: Any) -> bytes:
    """A copy of borrowed bytes."""
    size = view.size
    return string_at(view.data, size) if size else b""


def text_of(view: Any) -> str:
    """Borrowed text; bytes that are not UTF-8 become lone surrogates, as everywhere in Python."""
    return bytes_of(view).decode("utf-8", "surrogateescape")


def take_owned(owned: c_void_p) -> bytes | None:
    """The content of an sbx_bytes, which is freed; None for a null one."""
    if not owned:
        return None
    try:
        return bytes_of(_abi.bytes_view(owned))
    finally:
        _abi.bytes_free(byref(owned))


class Handle:
    """A C handle and its one owner: freed when nobody can use it any more, never by a close().

    Whoever calls C with ``ptr`` holds the Handle meanwhile, so that another thread's close() or a garbage collection never
    frees what a call is using.
    """

    __slots__ = ("__weakref__", "_free", "_ptr", "_what")

    def __init__(self, ptr: int, free: Any, what: str) -> None:
        self._ptr: int | None = ptr
        self._free = free
        self._what = what
        _process.used = True
        _alive.add(self)

    @property
    def ptr(self) -> int:
        ptr = self._ptr
        if ptr is None:
            raise FailedPreconditionError(f"this {self._what} belongs to the process that forked this one")
        return ptr

    def __del__(self) -> None:
        ptr, self._ptr = self._ptr, None
        if ptr is not None:
            self._free(byref(c_void_p(ptr)))


class _Process:
    used = False
    """Whether the library has begun to work in it, and so has threads."""
    stranded = False
    """Whether it is a fork of such a process, and has none of them."""


_process = _Process()


def require_threads() -> None:
    """Raises FailedPreconditionError in a process where no call of the library would ever end."""
    if _process.stranded:
        raise FailedPreconditionError(
            "this process was forked from one that used sandbox, whose threads it does not have; use the start method "
            "spawn or forkserver of multiprocessing, or open the runtime only after the fork"
        )


_alive: weakref.WeakSet[Handle] = weakref.WeakSet()
_roots: weakref.WeakKeyDictionary[Handle, Any] = weakref.WeakKeyDictionary()


def close_at_exit(handle: Handle, close: Any) -> None:
    """Has the interpreter close a runtime or client that nobody closed, while the library's threads still can."""
    _roots[handle] = close


def _at_exit() -> None:
    for handle, close in list(_roots.items()):
        if handle._ptr is not None:
            close(handle.ptr, None)


def _after_fork() -> None:
    # The child has none of the library's threads: a call would wait for ever, and a free would end the parent's sandboxes.
    _process.stranded = _process.used
    for handle in list(_alive):
        handle._ptr = None


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
