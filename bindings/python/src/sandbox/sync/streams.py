"""What is read or written piece by piece: files, changes of files, events."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, TypeVar

from .. import _abi, _results
from .._arguments import Content
from .._bases import EventStreamBase, Stash, StreamBase
from .._handle import Handle
from .._pending import Pending
from .._pieces import ReaderBase, WriterBase, pieces_of
from ..errors import OperationCancelledError
from ..values import Event, FileEvent, TransferSummary
from ._finish import finish

T = TypeVar("T")
S = TypeVar("S", bound=StreamBase)


class FileReader(ReaderBase):
    """A file's content, or a directory's as a tar stream, at the reader's pace: what is not read waits in the sandbox.

    ``for piece in reader`` yields pieces of up to a few MiB. What is wrong with the path shows with the first read.
    """

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; all that is left when ``size`` is negative. Empty at the end.

        Interrupting it loses nothing.
        """
        if size < 0:
            parts = []
            while part := self._piece():
                parts.append(part)
            return b"".join(parts)
        return self._piece(size) if size else b""

    def _piece(self, size: int | None = None) -> bytes:
        """The next piece, or at most `size` bytes of it; empty at the end."""
        self._use()
        while not self._pieces and not self._ended:
            self._keep(finish(self._next(), rescue=self._keep))
            self._read_ahead()
        return self._cut(size)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """As of ``io.RawIOBase``, so that ``io.BufferedReader``, ``tarfile`` and the like can read from it."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing; ``io.BufferedReader`` asks for it."""

    def __iter__(self) -> FileReader:
        return self

    def __next__(self) -> bytes:
        piece = self._piece()
        if not piece:
            raise StopIteration
        return piece

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class FileWriter(WriterBase):
    """Content on its way into a file, or a tar stream into a directory.

    A file takes its place only with ``finish``, which leaving ``with`` does unless there was an exception; ``close``
    before leaves the old content.
    """

    def write(self, data: Content) -> int:
        """Waits while the sandbox has not taken enough of what was written before. Returns how many bytes ``data`` has.

        A full disk shows here or in ``finish``.
        """
        size = 0
        for piece in pieces_of(data):
            finish(Pending(_abi.writer_write_start(self._use(), piece), _results.nothing))
            size += piece.size
        return size

    def finish(self) -> TransferSummary:
        """No more content: waits until everything is in place."""
        summary = finish(Pending(_abi.writer_finish_start(self._use()), _results.transfer))
        self._finished = True
        return summary

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._finished and not self._is_closed:
                self.finish()
        finally:
            self.close()


class Arrivals(StreamBase, Generic[T]):
    """What happens, one after the other, until it is closed."""

    def next(self, *, timeout: float | None = None) -> T:
        raise NotImplementedError

    def __iter__(self: S) -> S:
        return self

    def __next__(self) -> T:
        if self._is_closed:
            raise StopIteration
        try:
            return self.next()
        except OperationCancelledError:
            raise StopIteration from None

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class Watch(Arrivals[FileEvent]):
    """Changes below a directory; ``for event in watch``, until it is closed."""

    _what = "watch"

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner, _abi.watch_close)
        self._stash: Stash[FileEvent] = Stash()

    def next(self, *, timeout: float | None = None) -> FileEvent:
        """The next change. Interrupting it loses nothing. Raises DeadlineExceededError, UnavailableError."""
        handle = self._use()
        if self._stash:
            return self._stash.take()
        return finish(
            Pending(_abi.watch_next_start(handle), _results.file_event), timeout=timeout, rescue=self._stash.keep
        )


class EventStream(EventStreamBase, Arrivals[Event]):
    """Events of a runtime or daemon as they happen; ``for event in events``, until it is closed."""

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner)
        self._stash: Stash[Event] = Stash()

    def next(self, *, timeout: float | None = None) -> Event:
        """The next event. Interrupting it loses nothing. Raises DeadlineExceededError, and of a daemon UnavailableError."""
        handle = self._use()
        if self._stash:
            return self._stash.take()
        return finish(Pending(_abi.events_next_start(handle), _results.event), timeout=timeout, rescue=self._stash.keep)
