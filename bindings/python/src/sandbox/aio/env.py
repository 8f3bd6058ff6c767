"""Environment variables."""

from __future__ import annotations

from .. import _abi, _results
from .._arguments import text
from .._handle import Handle
from .._pending import Pending
from ._finish import finish


class Env:
    """The environment that later commands start with. Names are not empty and have no ``=`` or NUL."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def get(self, name: str) -> str | None:
        """None: not set."""
        return await finish(Pending(_abi.env_get_start(self._handle.ptr, text(name, "name")), _results.optional_text))

    async def set(self, name: str, value: str) -> None:
        await finish(
            Pending(_abi.env_set_start(self._handle.ptr, text(name, "name"), text(value, "value")), _results.nothing)
        )

    async def unset(self, name: str) -> None:
        await finish(Pending(_abi.env_unset_start(self._handle.ptr, text(name, "name")), _results.nothing))

    async def list(self) -> dict[str, str]:
        """All of it, sorted by name."""
        return await finish(Pending(_abi.env_all_start(self._handle.ptr), _results.env))
