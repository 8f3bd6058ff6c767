"""A sandbox."""

from __future__ import annotations

from types import TracebackType

from .. import _abi, _json, _results
from .._arguments import ms, text
from .._bases import SandboxBase
from .._handle import Handle
from .._pending import Pending
from ..values import SandboxStats, TemplateInfo
from ._finish import finish
from .env import Env
from .fs import Fs
from .net import Net
from .process import Process

_template = _results.json_of(_json.template)


class Sandbox(SandboxBase):
    """A live sandbox, of this process's runtime or of a daemon. Operations run in parallel and do not wait for each other.

    Leaving ``with`` destroys it; one that came from ``Client.open`` is only let go of.
    """

    def __init__(self, handle: Handle, owner: object, opened: bool = False, near: bool = False) -> None:
        super().__init__(handle, owner, opened)
        self.fs = Fs(handle)
        self.process = Process(handle)
        self.env = Env(handle, near)
        self.net = Net(handle)

    def ping(self, *, timeout: float | None = None) -> float:
        """Seconds of one round trip to the agent inside. Raises UnavailableError, DeadlineExceededError (default 5 s)."""
        start = _abi.sandbox_ping_start(self._handle.ptr, ms(timeout, "timeout"))
        return finish(Pending(start, _results.seconds))

    def stats(self) -> SandboxStats:
        return finish(Pending(_abi.sandbox_stats_start(self._handle.ptr), _results.stats))

    def pause(self) -> None:
        """Stops every process where it stands; operations fail with FailedPreconditionError until ``resume``."""
        finish(Pending(_abi.sandbox_pause_start(self._handle.ptr), _results.nothing))

    def resume(self) -> None:
        finish(Pending(_abi.sandbox_resume_start(self._handle.ptr), _results.nothing))

    def save_template(self, label: str) -> TemplateInfo:
        """Saves everything writable; the sandbox is frozen meanwhile and then goes on."""
        start = _abi.sandbox_save_template_start(self._handle.ptr, text(label, "label"))
        return finish(Pending(start, _template))

    def agent_fingerprint(self, *, timeout: float | None = None) -> str:
        """``"sha256:…"`` of the agent of a sealed sandbox, which proved that it has the key: what to pin next time.

        Raises FailedPreconditionError (not sealed), UnavailableError, DeadlineExceededError (default 5 s),
        UnauthenticatedError (not the pinned one).
        """
        start = _abi.sandbox_fingerprint_start(self._handle.ptr, ms(timeout, "timeout"))
        return finish(Pending(start, _results.text))

    def detach(self) -> None:
        """Gives up the handle without destroying the sandbox, which goes on under its ttl: only those of a daemon."""
        finish(Pending(_abi.sandbox_detach_start(self._handle.ptr), _results.nothing))

    def close(self) -> None:
        """Kills everything inside. Idempotent; later calls fail with FailedPreconditionError."""
        finish(Pending(_abi.sandbox_close_start(self._handle.ptr), _results.nothing))

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.closed:
            return
        (self.detach() if self._opened else self.close())
