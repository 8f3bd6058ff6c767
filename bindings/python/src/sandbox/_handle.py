"""Who owns what of the C interface."""

from __future__ import annotations

import atexit
import weakref
from ctypes import byref, c_void_p, string_at
from typing import Any, NoReturn

from . import _abi
from .errors import BY_CODE, InternalError, Retry


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

    __slots__ = ("__weakref__", "_free", "ptr")

    def __init__(self, ptr: int, free: Any) -> None:
        self.ptr = ptr
        self._free = free

    def __del__(self) -> None:
        self._free(byref(c_void_p(self.ptr)))


_roots: weakref.WeakKeyDictionary[Handle, Any] = weakref.WeakKeyDictionary()


def close_at_exit(handle: Handle, close: Any) -> None:
    """Has the interpreter close a runtime or client that nobody closed, while the library's threads still can."""
    _roots[handle] = close


def _at_exit() -> None:
    for handle, close in list(_roots.items()):
        close(handle.ptr, None)


atexit.register(_at_exit)
