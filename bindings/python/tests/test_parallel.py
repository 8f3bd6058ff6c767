"""Many operations at once: no thread of their own, no deadlock."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

import sandbox
from conftest import Connect, until_descriptors_are
from sandbox import _abi


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


async def test_two_hundred_programs_at_once(connect: Connect) -> None:
    async with connect() as host, host.create(sandbox.SandboxSpec(pids=1024)) as box:
        await box.process.exec("true")
        before, most = threads(), 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, threads())
                await asyncio.sleep(0.005)

        looking = asyncio.ensure_future(look())
        results = await asyncio.gather(*(box.process.exec(f"echo {number}") for number in range(200)))
        looking.cancel()
        assert [done.stdout_text for done in results] == [f"{number}\n" for number in range(200)]
        # Workers of the library come and go, but not one for each of two hundred.
        assert most - before <= 8, (before, most)


async def test_many_sandboxes_at_once(connect: Connect) -> None:
    async with connect() as host:

        async def one(number: int) -> str:
            async with host.create() as box:
                await box.env.set("N", str(number))
                text: str = (await box.process.exec("echo $N")).stdout_text
                return text

        assert await asyncio.gather(*(one(number) for number in range(20))) == [f"{number}\n" for number in range(20)]


async def test_two_loops_share_one_sandbox() -> None:
    async with sandbox.Runtime.open() as runtime, runtime.create() as box:
        answers: list[str] = []

        async def elsewhere() -> None:
            for _ in range(20):
                answers.append((await box.process.exec("echo other")).stdout_text)

        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
        thread.start()
        for _ in range(20):
            assert (await box.process.exec("echo this")).stdout_text == "this\n"
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        assert answers == ["other\n"] * 20


async def test_other_tasks_run_beside_short_answers(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every answer is there at once, however busy the machine is.
    monkeypatch.setattr(_abi, "op_done", lambda op: _abi.op_wait(op, -1, None) == 0)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with connect() as api, api.create() as box:
        task = asyncio.create_task(other())
        for _ in range(400):
            await box.env.get("A")
        task.cancel()
    assert turns >= 400 // 8


def test_loop_after_loop_leaves_no_descriptors() -> None:
    async def once() -> None:
        async with sandbox.Runtime.open() as runtime, runtime.create() as box:
            await box.env.get("A")

    for _ in range(2):
        asyncio.run(once())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        asyncio.run(once())
    # The last handle of a runtime is given back behind the loop's end.
    for _ in until_descriptors_are(before + 2):
        time.sleep(0.005)
