"""Work under way, before anybody waits for it: both faces build on it."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import Generic, TypeVar

from . import _abi
from ._handle import raise_error

T = TypeVar("T")


class Pending(Generic[T]):
    """An sbx_op and how to take its result. Whoever waits for it frees it; a forgotten one is freed by its finalizer."""

    __slots__ = ("_take", "op")

    def __init__(self, op: int | None, take: Callable[[int], T]) -> None:
        if op is None:
            raise MemoryError("sandbox: no memory for an operation")
        self.op: int | None = op
        self._take = take

    def take(self) -> T:
        """The result, once, after the end. Raises SandboxError."""
        assert self.op is not None
        return self._take(self.op)

    def cancel(self) -> None:
        if self.op is not None:
            _abi.op_cancel(self.op)

    def free(self) -> None:
        """Cancels what still runs, and drops a result that was not taken."""
        op, self.op = self.op, None
        if op is not None:
            _abi.op_free(byref(c_void_p(op)))

    __del__ = free


def check(code: int, error: c_void_p) -> None:
    """Raises what a C function that returned `code` left in `error`."""
    if code:
        raise_error(error)
