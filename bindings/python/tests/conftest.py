"""Tests run on an embedded runtime and on a daemon of their own; coroutine tests by asyncio.run.

Needs $SANDBOX_LIBRARY (unless the package holds the library) and $SANDBOX_BIN_DIR; ctest sets both.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Union

import pytest

import sandbox
from daemon import Daemon

Host = Union[sandbox.Runtime, sandbox.Client]
Connect = Callable[[], Any]

TEST_TIME = 60.0


def until_descriptors_are(most: int, within: float = 20) -> Iterator[None]:
    """A turn for each look at the process's open descriptors, until they are at most so many; each caller sleeps its own way."""
    end = time.monotonic() + within
    while len(there := os.listdir("/proc/self/fd")) > most:
        assert time.monotonic() < end, (most, there)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def run() -> None:
        await asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_TIME)

    asyncio.run(run())
    return True


@pytest.fixture(scope="session", autouse=True)
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state")
    os.environ["SANDBOX_STATE_DIR"] = str(path)
    return path


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with Daemon() as daemon:
        yield daemon.endpoint


@pytest.fixture(params=["embedded", "daemon"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a Runtime, or a Client of the daemon: ``async with connect() as host, host.create() as box``."""
    if request.param == "embedded":
        return lambda: sandbox.Runtime.open()
    address = request.getfixturevalue("endpoint")
    return lambda: sandbox.Client.connect(address)


@pytest.fixture(params=["embedded", "daemon"])
def connect_sync(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """The same for the blocking face."""
    import sandbox.sync

    if request.param == "embedded":
        return lambda: sandbox.sync.Runtime.open()
    address = request.getfixturevalue("endpoint")
    return lambda: sandbox.sync.Client.connect(address)
