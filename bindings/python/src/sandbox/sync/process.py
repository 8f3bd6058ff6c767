"""Programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Union

from .. import _abi, _arguments, _results
from .._arguments import Content, Path
from .._bases import ProcessBase
from .._handle import Handle
from .._pending import Pending
from ..values import ExecResult, ExitStatus, OutputChunk, TerminalSize
from ._finish import finish

Program = Union[str, bytes, Sequence[Union[str, bytes]]]


class RunningProcess(ProcessBase):
    """A program that runs in a sandbox; ``for chunk in process`` is its output.

    Output that nobody reads waits in the sandbox, then the program blocks, as on any pipe. One thread may read while another
    writes. Leaving ``with`` closes it, and ends the program if it still runs.
    """

    def read(self, *, timeout: float | None = None) -> OutputChunk | None:
        """The next output, or None when both streams have ended.

        Interrupting it loses nothing. Raises DeadlineExceededError when nothing came in ``timeout`` seconds, UnavailableError.
        """
        op = self._use()
        if self._stash:
            return self._stash.take()
        return finish(Pending(_abi.process_read_start(op), _results.output), timeout=timeout, rescue=self._stash.keep)

    def __iter__(self) -> RunningProcess:
        return self

    def __next__(self) -> OutputChunk:
        chunk = self.read()
        if chunk is None:
            raise StopIteration
        return chunk

    def write(self, data: Content) -> None:
        """All of ``data`` to standard input, waiting while the program does not read.

        Raises FailedPreconditionError without ``open_stdin`` or after ``close_stdin``.
        """
        finish(Pending(_abi.process_write_start(self._use(), _arguments.content(data, "data")), _results.nothing))

    def wait(self, *, timeout: float | None = None) -> ExitStatus:
        """Until it ended; unread output is dropped. Repeatable. Interrupting it leaves the program alone."""
        return finish(Pending(_abi.process_wait_start(self._use()), _results.status), timeout=timeout)

    def __enter__(self) -> RunningProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class Process:
    """Programs of one sandbox.

    A command is a shell line (``str``, run by ``/bin/sh -c``), or a program with its arguments (a sequence of ``str``), of
    which nothing is interpreted.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def exec(
        self,
        command: Program,
        *,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        workdir: Path | None = None,
        timeout: float | None = None,
        max_output: int | None = None,
        stdin: Content | None = None,
        merge_stderr: bool = False,
        idempotency_key: str = "",
    ) -> ExecResult:
        """Runs a command and collects its output. How it ended is data, not an error.

        env: variables on top of the sandbox's, or with ``clear_env`` instead of them.
        timeout: seconds, after which its group is killed and the result says ``TIMED_OUT``, with the output so far.
        max_output: bytes kept of each stream, default 1 MiB; what goes beyond is dropped and counted.
        stdin: for its standard input, then end of file; default ``/dev/null``.
        idempotency_key: a second run with the same key gets the first one's outcome.

        Interrupting it kills its group. Raises NotFoundError (program, workdir), FailedPreconditionError (paused, closed),
        UnavailableError.
        """
        made = _arguments.command(
            command,
            env=env,
            clear_env=clear_env,
            workdir=workdir,
            timeout=timeout,
            max_output=max_output,
            stdin=stdin,
            merge_stderr=merge_stderr,
            idempotency_key=idempotency_key,
        )
        return finish(Pending(_abi.exec_start(self._handle.ptr, made), _results.exec_result))

    def spawn(
        self,
        command: Program,
        *,
        env: Mapping[str, str] | None = None,
        clear_env: bool = False,
        workdir: Path | None = None,
        timeout: float | None = None,
        max_output: int | None = None,
        stdin: Content | None = None,
        open_stdin: bool = False,
        pty: TerminalSize | None = None,
        merge_stderr: bool = False,
        idempotency_key: str = "",
    ) -> RunningProcess:
        """Starts a command; returns as soon as it runs. Arguments and errors as those of ``exec``, and:

        max_output: default no limit, the reader sets the pace.
        open_stdin: keeps standard input open for ``write``.
        pty: on a terminal of this size: one merged output stream, job control, ``resize``.
        """
        made = _arguments.command(
            command,
            env=env,
            clear_env=clear_env,
            workdir=workdir,
            timeout=timeout,
            max_output=max_output,
            stdin=stdin,
            open_stdin=open_stdin,
            pty=pty,
            merge_stderr=merge_stderr,
            idempotency_key=idempotency_key,
        )
        handle = finish(Pending(_abi.spawn_start(self._handle.ptr, made), _results.process))
        return RunningProcess(handle, self._handle)
