"""``await f(…)`` and ``async with f(…) as x`` for functions that make something to be closed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar


class _Closes(Protocol):
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


T = TypeVar("T", bound=_Closes)
P = ParamSpec("P")


class Opening(Coroutine[Any, Any, T], AbstractAsyncContextManager[T, None]):
    """A coroutine that is a context manager, too: entering awaits it, leaving closes what it made."""

    __slots__ = ("_coroutine", "_made")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._made: T | None = None

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *arguments: Any) -> Any:
        return self._coroutine.throw(*arguments)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> T:
        self._made = await self._coroutine
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._made is not None:
            await self._made.__aexit__(kind, error, where)


def opening(make: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Opening[T]]:
    @functools.wraps(make)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Opening[T]:
        return Opening(make(*args, **kwargs))

    return begin
