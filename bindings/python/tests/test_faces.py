"""Both faces say the same: names, parameters, defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import sandbox
import sandbox.sync

# A socket of asyncio's own has no blocking counterpart; blocking files also fit where io wants one.
ONLY_ASYNC = {("Net", "open_connection")}
ONLY_SYNC = {("FileReader", name) for name in ("readinto", "readable", "writable", "seekable", "flush")}


def public(kind: type) -> dict[str, Any]:
    return {
        name: inspect.getattr_static(kind, name)
        for name in dir(kind)
        if not name.startswith("_") and not hasattr(object, name)
    }


@pytest.mark.parametrize("name", sandbox.aio.__all__)
def test_both_faces_have_the_same_members(name: str) -> None:
    one, other = getattr(sandbox, name), getattr(sandbox.sync, name)
    missing = public(one).keys() - public(other).keys() - {member for kind, member in ONLY_ASYNC if kind == name}
    extra = public(other).keys() - public(one).keys() - {member for kind, member in ONLY_SYNC if kind == name}
    assert (missing, extra) == (set(), set())


@pytest.mark.parametrize("name", sandbox.aio.__all__)
def test_both_faces_take_the_same_parameters(name: str) -> None:
    one, other = getattr(sandbox, name), getattr(sandbox.sync, name)
    for member in public(one).keys() & public(other).keys():
        first, second = getattr(one, member), getattr(other, member)
        if callable(first):
            parameters = [
                [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]
                for function in (first, second)
            ]
            assert parameters[0] == parameters[1], f"{name}.{member}"


def test_what_is_exported_is_there() -> None:
    for name in sandbox.__all__:
        assert getattr(sandbox, name) is not None
    assert sandbox.sync.__all__ == sandbox.aio.__all__
    assert sandbox.__version__ == "0.1.0"
