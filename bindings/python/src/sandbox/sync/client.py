"""Sandboxes of a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import List

from .. import _abi, _arguments, _json, _results
from .._arguments import Path, ms, text, uint
from .._bases import RootBase
from .._pending import Pending
from ..values import (
    CreateRequest,
    EventHistory,
    Health,
    PoolInfo,
    ProfileInfo,
    SandboxInfo,
    SandboxSpec,
    TemplateInfo,
    Tenant,
)
from ._finish import finish
from .sandbox import Sandbox
from .streams import EventStream

_sandbox = _results.json_of(_json.sandbox)
_sandboxes = _results.json_list_of(_json.sandbox)
_template = _results.json_of(_json.template)
_templates = _results.json_list_of(_json.template)
_profiles = _results.json_list_of(_json.profile)
_pools = _results.json_list_of(_json.pool)
_history = _results.json_of(_json.history)
_health = _results.json_of(_json.health)


class Client(RootBase):
    """Sandboxes of a daemon, on this machine or another: the remote counterpart of Runtime, with the same names.

    Besides its own errors everything may raise UnavailableError, DeadlineExceededError, UnauthenticatedError,
    PermissionDeniedError, ResourceExhaustedError (limits and rates), ProtocolError.
    """

    _close_function = _abi.client_close

    @classmethod
    def connect(
        cls,
        endpoint: str = "",
        *,
        token: str | None = None,
        tenant: Tenant | None = None,
        ca_file: Path | None = None,
        timeout: float | None = None,
        reconnect: float | None = None,
        heartbeat: float | None = None,
        compress: bool = False,
    ) -> Client:
        """Asks a daemon for its health, so that a wrong address shows here.

        endpoint: ``unix:///path``, ``http://host:port`` or ``https://host:port``; default ``$SANDBOX_HOST``, else the
        default socket. token: bearer token. timeout: seconds for a request, default 30. reconnect: how long operations
        wait for a lost connection, default 30, 0: not at all. heartbeat: default 5. compress: file contents and output.

        Raises InvalidArgumentError (endpoint), NotFoundError (CA file), UnsupportedError (no v2).
        """
        options = _arguments.client_options(token, tenant, ca_file, timeout, reconnect, heartbeat, compress)
        start = _abi.client_connect_start(text(endpoint, "endpoint"), options)
        return cls(finish(Pending(start, _results.client)))

    def create(
        self,
        request: CreateRequest | SandboxSpec | None = None,
        *,
        deadline: float | None = None,
        cold: bool = False,
    ) -> Sandbox:
        """A sandbox of a spec, as asked, or of the daemon's default profile. Its first operation waits for the session.

        Raises NotFoundError (profile, template, image), ResourceExhaustedError (capacity), PermissionDeniedError (a spec
        that the daemon's policy forbids), FailedPreconditionError (a limit that its host cannot enforce).
        """
        start = _abi.client_create_start(
            self._handle.ptr, _arguments.create_request(request), _arguments.create_options(deadline, cold)
        )
        return Sandbox(finish(Pending(start, _results.sandbox)), self._handle)

    def open(self, id: str, *, sealed: bool = False, pin: str | None = None) -> Sandbox:
        """Attaches to a sandbox that exists; leaving ``with`` does not destroy it.

        sealed: end to end; the first agent that answers is trusted. pin: seals, and accepts only the agent with this
        fingerprint; another one shows as UnauthenticatedError of the first operation.
        """
        start = _abi.client_open_start(self._handle.ptr, text(id, "id"), _arguments.open_options(sealed, pin))
        return Sandbox(finish(Pending(start, _results.sandbox)), self._handle, opened=True)

    def remove(self, id: str) -> None:
        """Destroys a sandbox. Raises NotFoundError."""
        finish(Pending(_abi.client_remove_start(self._handle.ptr, text(id, "id")), _results.nothing))

    def list(self, labels: Mapping[str, str] | None = None) -> List[SandboxInfo]:
        """Those that have all the labels."""
        start = _abi.client_list_start(self._handle.ptr, *_arguments.pairs(labels, "labels"))
        return finish(Pending(start, _sandboxes))

    def find(self, id: str) -> SandboxInfo:
        return finish(Pending(_abi.client_find_start(self._handle.ptr, text(id, "id")), _sandbox))

    def templates(self) -> List[TemplateInfo]:
        return finish(Pending(_abi.client_templates_start(self._handle.ptr), _templates))

    def find_template(self, id: str) -> TemplateInfo:
        return finish(Pending(_abi.client_find_template_start(self._handle.ptr, text(id, "id")), _template))

    def remove_template(self, id: str) -> None:
        start = _abi.client_remove_template_start(self._handle.ptr, text(id, "id"))
        finish(Pending(start, _results.nothing))

    def profiles(self) -> List[ProfileInfo]:
        return finish(Pending(_abi.client_profiles_start(self._handle.ptr), _profiles))

    def pools(self) -> List[PoolInfo]:
        """Only over the unix socket, like ``set_warm`` and ``flush``: PermissionDeniedError elsewhere."""
        return finish(Pending(_abi.client_pools_start(self._handle.ptr), _pools))

    def set_warm(self, profile: str, count: int) -> None:
        """Sets how many sandboxes of a profile are kept ready, and waits until they are."""
        start = _abi.client_set_warm_start(self._handle.ptr, text(profile, "profile"), uint(count, "count", 32))
        finish(Pending(start, _results.nothing))

    def flush(self, profile: str) -> None:
        """Makes the ready ones anew."""
        finish(Pending(_abi.client_flush_start(self._handle.ptr, text(profile, "profile")), _results.nothing))

    def wait_warm(self, *, timeout: float | None = None) -> None:
        """Until every pool holds what it wants; default 30 s."""
        start = _abi.client_wait_warm_start(self._handle.ptr, ms(timeout, "timeout"))
        finish(Pending(start, _results.nothing))

    def history(self, *, after: int = 0, limit: int = 1000) -> EventHistory:
        """Past events, those after event ``after``."""
        start = _abi.client_history_start(self._handle.ptr, uint(after, "after"), uint(limit, "limit", 32))
        return finish(Pending(start, _history))

    def health(self) -> Health:
        return finish(Pending(_abi.client_health_start(self._handle.ptr), _health))

    def metrics(self) -> str:
        """In Prometheus' text format."""
        return finish(Pending(_abi.client_metrics_start(self._handle.ptr), _results.text))

    def events(self, *, after: int | None = None) -> EventStream:
        """Events from now on, or those after event ``after`` first."""
        first = -1 if after is None else uint(after, "after", 63)
        return EventStream(
            finish(Pending(_abi.client_events_start(self._handle.ptr, first), _results.events)), self._handle
        )

    def close(self) -> None:
        """Later calls fail with FailedPreconditionError; sandboxes keep their sessions until they are closed. Idempotent."""
        finish(Pending(_abi.client_close_start(self._handle.ptr), _results.nothing))
        self._closed = True

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self._closed:
            self.close()
