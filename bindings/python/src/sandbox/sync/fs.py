"""Files."""

from __future__ import annotations

from typing import List

from .. import _abi, _arguments, _results
from .._arguments import Content, Path, uint
from .._arguments import path as _path
from .._bases import open_handle
from .._handle import Handle
from .._pending import Pending
from ..errors import NotFoundError
from ..values import FileInfo, FileType, TransferSummary
from ._finish import finish
from .streams import FileReader, FileWriter, Watch


class Fs:
    """Files of one sandbox, as the user inside sees them. Paths are absolute.

    Regular files only: FIFOs, devices and sockets are refused, never opened. Everything may raise NotFoundError,
    PermissionDeniedError, InvalidArgumentError (path, kind), ResourceExhaustedError (quota), UnavailableError.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def read(self, path: Path, *, max_size: int = 0) -> bytes:
        """The whole file. Beyond ``max_size`` (default 1 GiB) ResourceExhaustedError: use ``open_reader``."""
        start = _abi.fs_read_start(self._handle.ptr, _path(path), uint(max_size, "max_size"))
        return finish(Pending(start, _results.content))

    def read_text(self, path: Path, *, max_size: int = 0, encoding: str = "utf-8", errors: str = "strict") -> str:
        return (self.read(path, max_size=max_size)).decode(encoding, errors)

    def read_range(self, path: Path, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``."""
        start = _abi.fs_read_range_start(self._handle.ptr, _path(path), uint(offset, "offset"), uint(length, "length"))
        return finish(Pending(start, _results.content))

    def write(
        self,
        path: Path,
        content: Content,
        *,
        append: bool = False,
        exclusive: bool = False,
        make_parents: bool = False,
        mode: int = 0,
    ) -> None:
        """Creates or replaces the file. Replacement is atomic: readers see the old or the new content.

        exclusive: AlreadyExistsError instead of replacing. mode: permission bits; default 0644, or the existing file's.
        """
        options = _arguments.write_options(append, exclusive, make_parents, mode)
        start = _abi.fs_write_start(self._handle.ptr, _path(path), _arguments.content(content, "content"), options)
        finish(Pending(start, _results.nothing))

    def append(self, path: Path, content: Content) -> None:
        self.write(path, content, append=True)

    def open_reader(self, path: Path) -> FileReader:
        """Content at the caller's pace, for files of any size. Does not wait."""
        return FileReader(self._open(_abi.fs_open_reader, _path(path)), self._handle)

    def open_tar_reader(self, path: Path) -> FileReader:
        """A directory as a tar stream."""
        return FileReader(self._open(_abi.fs_open_tar_reader, _path(path)), self._handle)

    def open_writer(
        self,
        path: Path,
        *,
        append: bool = False,
        exclusive: bool = False,
        make_parents: bool = False,
        mode: int = 0,
    ) -> FileWriter:
        """``write`` piece by piece. Does not wait."""
        options = _arguments.write_options(append, exclusive, make_parents, mode)
        handle = open_handle(_abi.fs_open_writer, _abi.writer_free, self._handle.ptr, _path(path), options)
        return FileWriter(handle, self._handle)

    def open_tar_writer(self, path: Path) -> FileWriter:
        """A tar stream (ustar, pax, GNU) into a directory."""
        handle = open_handle(_abi.fs_open_tar_writer, _abi.writer_free, self._handle.ptr, _path(path))
        return FileWriter(handle, self._handle)

    def _open(self, function: object, path: object) -> Handle:
        return open_handle(function, _abi.reader_free, self._handle.ptr, path)

    def upload(self, host_path: Path, path: Path) -> TransferSummary:
        """Copies a file or directory of this host into the sandbox."""
        start = _abi.fs_upload_start(self._handle.ptr, _path(host_path, "host_path"), _path(path))
        return finish(Pending(start, _results.transfer))

    def download(self, path: Path, host_path: Path) -> TransferSummary:
        """Copies a file or directory out of the sandbox. It stays below ``host_path``, whatever the sandbox says."""
        start = _abi.fs_download_start(self._handle.ptr, _path(path), _path(host_path, "host_path"))
        return finish(Pending(start, _results.transfer))

    def list(self, path: Path) -> List[FileInfo]:
        """Entries of a directory, sorted by name."""
        return finish(Pending(_abi.fs_list_start(self._handle.ptr, _path(path)), _results.files))

    def find(
        self, root: Path, pattern: str, *, type: FileType | None = None, max_depth: int = 0, max_results: int = 0
    ) -> List[FileInfo]:
        """Paths below ``root`` that match a glob: ``* ? [..]`` within a name, ``**`` across directories. Sorted; 0: no limit."""
        options = _arguments.find_options(type, max_depth, max_results)
        start = _abi.fs_find_start(self._handle.ptr, _path(root, "root"), _arguments.text(pattern, "pattern"), options)
        return finish(Pending(start, _results.files))

    def stat(self, path: Path) -> FileInfo:
        return finish(Pending(_abi.fs_stat_start(self._handle.ptr, _path(path), 1), _results.file))

    def lstat(self, path: Path) -> FileInfo:
        """``stat`` without following a final symlink."""
        return finish(Pending(_abi.fs_stat_start(self._handle.ptr, _path(path), 0), _results.file))

    def exists(self, path: Path) -> bool:
        try:
            self.stat(path)
        except NotFoundError:
            return False
        return True

    def mkdir(self, path: Path) -> None:
        """And its missing parents; an existing directory is fine."""
        finish(Pending(_abi.fs_mkdir_start(self._handle.ptr, _path(path)), _results.nothing))

    def remove(self, path: Path) -> None:
        """A file, symlink or empty directory."""
        finish(Pending(_abi.fs_remove_start(self._handle.ptr, _path(path), 0), _results.nothing))

    def remove_all(self, path: Path) -> None:
        """A whole tree; not there is fine."""
        finish(Pending(_abi.fs_remove_start(self._handle.ptr, _path(path), 1), _results.nothing))

    def rename(self, source: Path, target: Path) -> None:
        start = _abi.fs_rename_start(self._handle.ptr, _path(source, "source"), _path(target, "target"))
        finish(Pending(start, _results.nothing))

    def copy(self, source: Path, target: Path) -> int:
        """Files, or whole directories; returns the bytes copied."""
        start = _abi.fs_copy_start(self._handle.ptr, _path(source, "source"), _path(target, "target"))
        return finish(Pending(start, _results.count))

    def symlink(self, target: Path, path: Path) -> None:
        start = _abi.fs_symlink_start(self._handle.ptr, _path(target, "target"), _path(path))
        finish(Pending(start, _results.nothing))

    def chmod(self, path: Path, mode: int) -> None:
        start = _abi.fs_chmod_start(self._handle.ptr, _path(path), uint(mode, "mode", 32))
        finish(Pending(start, _results.nothing))

    def watch(self, path: Path, *, recursive: bool = True) -> Watch:
        """Changes below a directory from the moment this returns."""
        start = _abi.fs_watch_start(self._handle.ptr, _path(path), bool(recursive))
        return Watch(finish(Pending(start, _results.watch)), self._handle)
