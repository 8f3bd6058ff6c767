"""Readers and writers of files: what both faces share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from . import _abi, _arguments, _results
from ._arguments import Content
from ._bases import StreamBase
from ._handle import Handle
from ._pending import Pending

# The library copies what a call gives it: this is how much of one write is there twice.
_PIECE = 1 << 20


def pieces_of(data: Content) -> Iterator[Any]:
    """`data` as sbx_views of bounded size; at least one."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    if not isinstance(data, (bytearray, memoryview)) and not (isinstance(data, bytes) and len(data) > _PIECE):
        yield _arguments.content(data, "data")
        return
    view = memoryview(data).cast("B")
    for begin in range(0, len(view), _PIECE):
        yield _arguments.content(view[begin : begin + _PIECE], "data")


class ReaderBase(StreamBase):
    _what = "reader"

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner, _abi.reader_close)
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # of the first piece
        self._ended = False
        # The next read is under way while the caller works on this one. Freed with the reader: close() may come from another
        # thread than the one that waits for it.
        self._ahead: Pending[bytes | None] | None = None

    def _next(self) -> Pending[bytes | None]:
        """The read under way, or a new one."""
        handle = self._use()
        pending, self._ahead = self._ahead, None
        return pending or Pending(_abi.reader_read_start(handle), _results.optional_bytes)

    def _read_ahead(self) -> None:
        if not self._ended and not self._is_closed:
            self._ahead = Pending(_abi.reader_read_start(self._handle.ptr), _results.optional_bytes)

    def _keep(self, piece: bytes | None) -> None:
        if piece is None:
            self._ended = True
        elif piece:
            self._pieces.append(piece)

    def _cut(self, size: int | None) -> bytes:
        """The first piece, or at most `size` bytes of it; empty when there is none."""
        if not self._pieces:
            return b""
        first, begin = self._pieces[0], self._taken
        if size is None or len(first) - begin <= size:
            self._pieces.popleft()
            self._taken = 0
            return first[begin:]
        self._taken += size
        return first[begin : self._taken]


class WriterBase(StreamBase):
    _what = "writer"

    def __init__(self, handle: Handle, owner: object) -> None:
        super().__init__(handle, owner, _abi.writer_close)
        self._finished = False
