"""Waits for operations in asyncio: one descriptor per event loop, however many run, and no thread."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import threading
import weakref
from collections.abc import Callable
from ctypes import byref, c_uint64, c_void_p
from typing import TypeVar

from .. import _abi
from .._handle import raise_error
from .._pending import Pending
from ..errors import DeadlineExceededError, InvalidArgumentError, OperationCancelledError

T = TypeVar("T")
_BATCH = 64
#: Of so many short answers in a row one lets the other tasks have their turn: a turn of the loop costs more than an answer.
_AT_ONCE = 8
_row = threading.local()


class _Waiter:
    """Somebody who waits for the end of one operation."""

    __slots__ = ("ended", "future")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.ended = False


class _Queue:
    """The sbx_queue of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        queue, error = c_void_p(), c_void_p()
        if _abi.queue_new(byref(queue), byref(error)):
            raise_error(error)
        assert queue.value is not None
        self.ptr: int | None = queue.value
        self.waiters: dict[int, _Waiter] = {}
        self.numbers = itertools.count(1)
        self._tags = (c_uint64 * _BATCH)()
        self._fd: int = _abi.queue_fd(self.ptr)
        loop.add_reader(self._fd, self._drain)

    def _drain(self) -> None:
        try:
            os.read(self._fd, 256)
        except (BlockingIOError, InterruptedError):
            pass
        waiters, tags = self.waiters, self._tags
        while True:
            count = _abi.queue_next(self.ptr, tags, _BATCH)
            for index in range(count):
                waiter = waiters.pop(tags[index], None)
                if waiter is not None:
                    waiter.ended = True
                    if not waiter.future.done():
                        waiter.future.set_result(None)
            if count < _BATCH:
                return

    def __del__(self) -> None:
        ptr, self.ptr = getattr(self, "ptr", None), None
        if ptr is not None:
            _abi.queue_free(byref(c_void_p(ptr)))


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()
_queues_lock = threading.Lock()


def _queue_of(loop: asyncio.AbstractEventLoop) -> _Queue:
    queue = _queues.get(loop)
    if queue is None:
        queue = _Queue(loop)
        with _queues_lock:
            _queues[loop] = queue
    return queue


async def finish(
    pending: Pending[T],
    *,
    timeout: float | None = None,
    rescue: Callable[[T], None] | None = None,
) -> T:
    """The result of `pending`, when it has ended.

    Cancelling the task cancels the operation and waits for its end, so that nothing of it runs on behind the caller's back.
    A result that came all the same is dropped, or given to `rescue`: what a stream brought is not lost.
    """
    if timeout is not None and not (timeout >= 0 and timeout < math.inf):
        raise InvalidArgumentError("timeout must be a number of seconds that is not negative")
    if _abi.op_done(pending.op):  # short answers come while an operation is started
        try:
            _row.length = (getattr(_row, "length", 0) + 1) % _AT_ONCE
            if _row.length == 0:
                await asyncio.sleep(0)
            return pending.take()
        except asyncio.CancelledError:
            _rescue(pending, rescue)
            raise
        finally:
            pending.free()
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop) or _queue_of(loop)
    waiter = _Waiter(loop.create_future())
    tag = next(queue.numbers)
    queue.waiters[tag] = waiter
    timer: asyncio.TimerHandle | None = None
    try:
        error = c_void_p()
        if _abi.op_notify(pending.op, queue.ptr, tag, byref(error)):
            raise_error(error)
        if timeout is not None:
            timer = loop.call_later(timeout, pending.cancel)
        try:
            await waiter.future
        except asyncio.CancelledError:
            await _wind_up(pending, waiter, loop)
            _rescue(pending, rescue)
            raise
        try:
            return pending.take()
        except OperationCancelledError:
            if timer is not None and timer.when() <= loop.time():
                raise DeadlineExceededError(f"nothing came within {timeout} s") from None
            raise
    finally:
        if timer is not None:
            timer.cancel()
        queue.waiters.pop(tag, None)
        pending.free()


def _rescue(pending: Pending[T], rescue: Callable[[T], None] | None) -> None:
    if rescue is not None:
        try:
            rescue(pending.take())
        except Exception:  # it ended with an error: there is nothing to rescue
            pass


async def _wind_up(pending: Pending[T], waiter: _Waiter, loop: asyncio.AbstractEventLoop) -> None:
    """Cancels, and waits for the end whatever else happens to this task; later cancellations add nothing to the first."""
    pending.cancel()
    while not waiter.ended:
        waiter.future = loop.create_future()
        try:
            await waiter.future
        except asyncio.CancelledError:
            continue
