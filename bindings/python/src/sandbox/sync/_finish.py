"""Waits for operations by blocking the calling thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import TypeVar

from .. import _abi
from .._handle import raise_error
from .._pending import Pending
from ..errors import Code, DeadlineExceededError, InvalidArgumentError, OperationCancelledError

T = TypeVar("T")

# Python runs signal handlers (Ctrl-C) between two of its own instructions, so its main thread comes up this often.
_SLICE_MS = 50
_LONG_MS = 3_600_000


def finish(
    pending: Pending[T],
    *,
    timeout: float | None = None,
    rescue: Callable[[T], None] | None = None,
) -> T:
    """The result of `pending`, when it has ended; the GIL is free meanwhile.

    An exception that a signal handler raises (KeyboardInterrupt) cancels the operation and waits for its end. A result that
    came all the same is dropped, or given to `rescue`: what a stream brought is not lost.
    """
    if timeout is not None:
        return _finish_within(pending, timeout)
    try:
        try:
            # Mostly one call: a timeout only means that the interpreter had its turn.
            while True:
                code = _abi.op_wait(pending.op, _SLICE_MS, None)
                if code != Code.DEADLINE_EXCEEDED:
                    break
        except BaseException:
            _wind_up(pending, rescue)
            raise
        return pending.take()
    finally:
        pending.free()


def _finish_within(pending: Pending[T], timeout: float) -> T:
    if not (timeout >= 0 and timeout < math.inf):
        pending.free()
        raise InvalidArgumentError("timeout must be a number of seconds that is not negative")
    end = time.monotonic() + timeout
    try:
        try:
            while _abi.op_wait(pending.op, min(_SLICE_MS, _left_ms(end)), None) == Code.DEADLINE_EXCEEDED:
                if time.monotonic() >= end:
                    break
        except BaseException:
            _wind_up(pending, None)
            raise
        late = not _abi.op_done(pending.op)
        if late:
            # What comes until the cancellation arrives is still a result.
            pending.cancel()
            _wait_uninterrupted(pending)
        try:
            return pending.take()
        except OperationCancelledError:
            if late:
                raise DeadlineExceededError(f"nothing came within {timeout} s") from None
            raise
    finally:
        pending.free()


def _left_ms(end: float) -> int:
    return max(0, math.ceil((end - time.monotonic()) * 1000))


def _wind_up(pending: Pending[T], rescue: Callable[[T], None] | None) -> None:
    pending.cancel()
    _wait_uninterrupted(pending)
    if rescue is not None:
        try:
            rescue(pending.take())
        except Exception:  # it ended with an error: there is nothing to rescue
            pass


def _wait_uninterrupted(pending: Pending[T]) -> None:
    error = c_void_p()
    if _abi.op_wait(pending.op, _LONG_MS, byref(error)):
        raise_error(error)
