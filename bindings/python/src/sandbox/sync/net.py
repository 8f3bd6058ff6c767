"""Ports."""

from __future__ import annotations

import socket
from typing import List

from .. import _abi, _results
from .._arguments import ms, uint
from .._handle import Handle
from .._pending import Pending
from ..values import ExposedPort
from ._finish import finish


class Net:
    """Ports of one sandbox. Works without a network, too: the connection is made inside and its socket passed out."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def connect(self, port: int, *, timeout: float | None = None) -> socket.socket:
        """A TCP socket (blocking) that is connected to ``port`` on the sandbox's loopback; the caller closes it.

        A refused connection is tried again until ``timeout`` (default 5 s). Raises UnavailableError, DeadlineExceededError.
        """
        start = _abi.net_connect_start(self._handle.ptr, uint(port, "port", 16), ms(timeout, "timeout"))
        return finish(Pending(start, _results.connection))

    def expose(self, port: int, host_port: int = 0, *, timeout: float | None = None) -> ExposedPort:
        """Relays connections to a port of this host (0: any free one) until ``close`` or the sandbox's end.

        Waits until something listens inside, default 30 s. Raises AlreadyExistsError, DeadlineExceededError.
        """
        start = _abi.net_expose_start(
            self._handle.ptr, uint(port, "port", 16), uint(host_port, "host_port", 16), ms(timeout, "timeout")
        )
        return finish(Pending(start, _results.port))

    def list(self) -> List[ExposedPort]:
        return finish(Pending(_abi.net_list_start(self._handle.ptr), _results.ports))

    def close(self, port: int) -> None:
        """Ends an exposed port."""
        finish(Pending(_abi.net_close_start(self._handle.ptr, uint(port, "port", 16)), _results.nothing))
