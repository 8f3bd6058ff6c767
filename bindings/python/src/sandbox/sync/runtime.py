"""Sandboxes of this process."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from .. import _abi, _arguments, _json, _results
from .._arguments import Path, ms, text, uint
from .._bases import RuntimeBase, open_handle
from .._pending import Pending
from ..values import HostReport, PoolInfo, PrunedLayer, SandboxSpec, TemplateInfo
from ._finish import finish
from .sandbox import Sandbox
from .streams import EventStream

_template = _results.json_of(_json.template)
_templates = _results.json_list_of(_json.template)
_pruned = _results.json_list_of(_json.pruned_layer)


class Runtime(RuntimeBase):
    """Makes sandboxes in this process, which is never forked. If it dies, every sandbox dies with it, unless the runtime is
    persistent. Closing it destroys those that are left.
    """

    @classmethod
    def open(
        cls,
        *,
        warm: int | Iterable[tuple[int, SandboxSpec]] = 0,
        max_warm: int = 0,
        max_sandboxes: int = 0,
        state_directory: Path | None = None,
        helper_directory: Path | None = None,
        launchers: int = 0,
        persistent: bool = False,
        orphan_time: float | None = None,
        require_proof: Path | None = None,
        prune_after: float | None = None,
    ) -> Runtime:
        """Starts the launchers and begins to fill the pools; returns before they are full, see ``wait_warm``.

        warm: how many sandboxes of the default spec to keep ready, or pairs of count and spec.
        max_warm: most that one pool may hold (default 64). max_sandboxes: most alive, pools included (default 1000).
        state_directory: image layers and templates; default ``$SANDBOX_STATE_DIR``, else /var/lib/sandbox for root, else
        ~/.local/share/sandbox. helper_directory: of sandbox-launcher and sandbox-agent; default: those of this package,
        else ``$SANDBOX_BIN_DIR``. persistent: sandboxes outlive this process for ``orphan_time`` (default 10 min), until the
        next runtime with the same state directory takes them over. require_proof: opens only with this report of
        ``sbx prove --report``, which must have passed and be for this build, host and policy. prune_after: unpacked layers
        that nothing used for so long are removed in the background (default 7 days; 0: never), see ``prune``.

        Raises UnsupportedError (no user namespaces: says what to enable), NotFoundError (helpers), UnavailableError,
        AlreadyExistsError (another persistent runtime there), FailedPreconditionError (library and helpers of two builds;
        require_proof: says what to run).
        """
        options = _arguments.runtime_options(
            warm,
            max_warm,
            max_sandboxes,
            state_directory,
            helper_directory,
            launchers,
            persistent,
            orphan_time,
            require_proof,
            prune_after,
        )
        return cls(finish(Pending(_abi.runtime_open_start(options), _results.runtime)))

    def create(self, spec: SandboxSpec | None = None, *, deadline: float | None = None, cold: bool = False) -> Sandbox:
        """A sandbox: from the warm pool in microseconds when one is ready (and not ``cold``), otherwise made now.

        deadline: seconds for capacity and creation together, default 30. Raises ResourceExhaustedError,
        FailedPreconditionError (a limit that this host cannot enforce), NotFoundError (image), DeadlineExceededError.
        """
        start = _abi.runtime_create_start(
            self._handle.ptr, _arguments.spec_pointer(spec), _arguments.create_options(deadline, cold)
        )
        return Sandbox(finish(Pending(start, _results.sandbox)), self._handle, near=True)

    def wait_warm(self, *, timeout: float | None = None) -> None:
        """Until every pool holds its warm count; default 30 s. Raises DeadlineExceededError, and what a refill failed with."""
        start = _abi.runtime_wait_warm_start(self._handle.ptr, ms(timeout, "timeout"))
        finish(Pending(start, _results.nothing))

    def set_warm(self, spec: SandboxSpec | None, count: int) -> None:
        """Sets how many of one spec (None: the default) are kept ready; 0 empties its pool."""
        start = _abi.runtime_set_warm_start(self._handle.ptr, _arguments.spec_pointer(spec), uint(count, "count", 32))
        finish(Pending(start, _results.nothing))

    def pools(self) -> list[PoolInfo]:
        """The warm pools as they are now."""
        return self._pools()

    def host(self) -> HostReport:
        """What this host can do, measured."""
        return self._host()

    def templates(self) -> list[TemplateInfo]:
        return finish(Pending(_abi.runtime_templates_start(self._handle.ptr), _templates))

    def find_template(self, id: str) -> TemplateInfo:
        return finish(Pending(_abi.runtime_find_template_start(self._handle.ptr, text(id, "id")), _template))

    def remove_template(self, id: str) -> None:
        start = _abi.runtime_remove_template_start(self._handle.ptr, text(id, "id"))
        finish(Pending(start, _results.nothing))

    def prune(self, *, unused_for: float | None = None, dry_run: bool = False) -> list[PrunedLayer]:
        """Removes unpacked layers of the state directory that nothing uses, in this process or another, and tells which.

        unused_for: seconds since their last use ended, rounded up (default 7 days; 0: all that nothing uses now).
        dry_run: only tell. What a template stands on stays; a layer of an archive is unpacked again when it is asked for.
        """
        start = _abi.runtime_prune_start(self._handle.ptr, _arguments.prune_options(unused_for, dry_run))
        return finish(Pending(start, _pruned))

    def adopted(self) -> list[Sandbox]:
        """What a persistent runtime took over from an earlier one when it opened; once. What is not wanted is let go of."""
        taken = []
        while (handle := self._next_adopted()) is not None:
            taken.append(Sandbox(handle, self._handle, near=True))
        return taken

    def events(self) -> EventStream:
        """Events from now on."""
        return EventStream(open_handle(_abi.runtime_events, _abi.events_free, self._handle.ptr), self._handle)

    def leave(self) -> None:
        """Ends a persistent runtime and leaves its sandboxes for the next one."""
        finish(Pending(_abi.runtime_leave_start(self._handle.ptr), _results.nothing))
        self._closed = True

    def close(self) -> None:
        """Destroys every sandbox and ends the launchers. Idempotent; later calls fail with FailedPreconditionError."""
        finish(Pending(_abi.runtime_close_start(self._handle.ptr), _results.nothing))
        self._closed = True

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self._closed:
            self.close()
