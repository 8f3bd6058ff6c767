"""What can go wrong. How a program in a sandbox ended is not among it: that is data, :class:`sandbox.ExitStatus`."""

from __future__ import annotations

import enum

__all__ = [
    "AlreadyExistsError",
    "Code",
    "CorruptError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OperationCancelledError",
    "PermissionDeniedError",
    "ProtocolError",
    "ResourceExhaustedError",
    "Retry",
    "SandboxError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
]


class Code(enum.IntEnum):
    """What the caller should do about a failure; the same numbers in every language."""

    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    ALREADY_EXISTS = 3
    PERMISSION_DENIED = 4
    UNAUTHENTICATED = 5
    RESOURCE_EXHAUSTED = 6
    FAILED_PRECONDITION = 7
    UNAVAILABLE = 8
    DEADLINE_EXCEEDED = 9
    CANCELLED = 10
    UNSUPPORTED = 11
    PROTOCOL = 12
    CORRUPT = 13
    INTERNAL = 14

    @property
    def label(self) -> str:
        """The name that all languages share: ``"not_found"``."""
        return self.name.lower()


class Retry(enum.IntEnum):
    """Whether doing the same again can help."""

    NEVER = 0
    NOW = 1
    AFTER_BACKOFF = 2


class SandboxError(Exception):
    """A call failed. Which subclass it is tells what to do about it.

    Text that came from inside a sandbox has its control bytes escaped in ``message``.
    """

    code: Code = Code.INTERNAL
    message: str
    operation: str
    """The dotted step that failed, ``"native.mount"``, or empty."""
    sys_errno: int
    """errno of the system call that failed, or 0."""
    retry: Retry

    def __init__(self, message: str, *, operation: str = "", sys_errno: int = 0, retry: Retry = Retry.NEVER) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.sys_errno = sys_errno
        self.retry = retry

    def __str__(self) -> str:
        return f"{self.operation}: {self.message}" if self.operation else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.message, self.operation, self.sys_errno, int(self.retry))


def _restore(kind: type[SandboxError], message: str, operation: str, sys_errno: int, retry: int) -> SandboxError:
    return kind(message, operation=operation, sys_errno=sys_errno, retry=Retry(retry))


class InvalidArgumentError(SandboxError, ValueError):
    """The call itself is wrong; fix it."""

    code = Code.INVALID_ARGUMENT


class NotFoundError(SandboxError):
    """A file, program, sandbox, template, profile or helper is not there."""

    code = Code.NOT_FOUND


class AlreadyExistsError(SandboxError):
    """It is there already, and the call asked that it be not."""

    code = Code.ALREADY_EXISTS


class PermissionDeniedError(SandboxError):
    """The kernel, or the daemon's policy, says no."""

    code = Code.PERMISSION_DENIED


class UnauthenticatedError(SandboxError):
    """Who calls, or who answers, could not prove who they are."""

    code = Code.UNAUTHENTICATED


class ResourceExhaustedError(SandboxError):
    """A limit or quota is reached, or the host is full."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(SandboxError):
    """The right call in the wrong state: closed, paused, or the host lacks something."""

    code = Code.FAILED_PRECONDITION


class UnavailableError(SandboxError):
    """The other side is gone, or not up yet."""

    code = Code.UNAVAILABLE


class DeadlineExceededError(SandboxError, TimeoutError):
    """A timeout of the call has passed. (That of a command is no error: see ``ExitCause.TIMED_OUT``.)"""

    code = Code.DEADLINE_EXCEEDED


class OperationCancelledError(SandboxError):
    """The operation was ended by somebody else: its object was closed. Cancelled tasks see ``asyncio.CancelledError``."""

    code = Code.CANCELLED


class UnsupportedError(SandboxError):
    """This host or daemon cannot do it."""

    code = Code.UNSUPPORTED


class ProtocolError(SandboxError):
    """The other side said something that the protocol does not allow."""

    code = Code.PROTOCOL


class CorruptError(SandboxError):
    """Data is not what its writer says it was."""

    code = Code.CORRUPT


class InternalError(SandboxError):
    """A defect of this library; please report it."""

    code = Code.INTERNAL


BY_CODE: dict[int, type[SandboxError]] = {
    int(kind.code): kind
    for kind in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        PermissionDeniedError,
        UnauthenticatedError,
        ResourceExhaustedError,
        FailedPreconditionError,
        UnavailableError,
        DeadlineExceededError,
        OperationCancelledError,
        UnsupportedError,
        ProtocolError,
        CorruptError,
        InternalError,
    )
}
