"""Environment variables."""

from __future__ import annotations

from ctypes import byref, c_void_p

from .. import _abi, _results
from .._arguments import text
from .._handle import Handle, raise_error, take_owned
from .._pending import Pending
from ._finish import finish


class Env:
    """The environment that later commands start with. Names are not empty and have no ``=`` or NUL.

    Where the agent is a process of this host (``near``), one variable is asked for in one call, which is twice as fast as
    an operation that Ctrl-C can end, and takes microseconds. A daemon's answer may take until a connection is back.
    """

    def __init__(self, handle: Handle, near: bool) -> None:
        self._handle = handle
        self._near = near

    def get(self, name: str) -> str | None:
        """None: not set."""
        key = text(name, "name")
        if not self._near:
            return finish(Pending(_abi.env_get_start(self._handle.ptr, key), _results.optional_text))
        owned, error = c_void_p(), c_void_p()
        if _abi.env_get(self._handle.ptr, key, byref(owned), byref(error)):
            raise_error(error)
        value = take_owned(owned)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def set(self, name: str, value: str) -> None:
        key, content = text(name, "name"), text(value, "value")
        if not self._near:
            return finish(Pending(_abi.env_set_start(self._handle.ptr, key, content), _results.nothing))
        error = c_void_p()
        if _abi.env_set(self._handle.ptr, key, content, byref(error)):
            raise_error(error)
        return None

    def unset(self, name: str) -> None:
        key = text(name, "name")
        if not self._near:
            return finish(Pending(_abi.env_unset_start(self._handle.ptr, key), _results.nothing))
        error = c_void_p()
        if _abi.env_unset(self._handle.ptr, key, byref(error)):
            raise_error(error)
        return None

    def list(self) -> dict[str, str]:
        """All of it, sorted by name."""
        return finish(Pending(_abi.env_all_start(self._handle.ptr), _results.env))
