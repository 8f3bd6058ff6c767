"""Cancelling a task cancels the operation, waits for its end, and loses nothing."""

from __future__ import annotations

import asyncio

import pytest

import sandbox
from conftest import Connect


async def gone(box: sandbox.Sandbox, pid_file: str) -> bool:
    """Whether the process that wrote its id there ends within seconds."""
    pid = (await box.fs.read_text(pid_file)).strip()
    done = await box.process.exec(
        f"for i in $(seq 200); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.02; done; exit 1"
    )
    return done.exit_code == 0


async def appears(box: sandbox.Sandbox, path: str) -> None:
    while not (await box.fs.exists(path) and await box.fs.read(path)):
        await asyncio.sleep(0.005)


async def test_a_cancelled_exec_ends_its_program(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        task = asyncio.ensure_future(box.process.exec("echo $$ >/tmp/pid; sleep 60"))
        await appears(box, "/tmp/pid")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await gone(box, "/tmp/pid")


async def test_a_cancelled_expose_leaves_the_port_free(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        for delay in (0, 0.05):
            task = asyncio.ensure_future(box.net.expose(8000, timeout=60))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(sandbox.DeadlineExceededError):  # and not that it is exposed already
                await box.net.expose(8000, timeout=0.001)


async def test_asyncio_timeouts_cancel(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        running = asyncio.ensure_future(box.process.exec("echo $$ >/tmp/pid; sleep 60"))
        await appears(box, "/tmp/pid")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(running, 0.05)
        assert await gone(box, "/tmp/pid")
        assert (await box.process.exec("true")).ok


async def test_a_cancelled_read_loses_nothing(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn("while read n; do echo $n; done", open_stdin=True) as process:
            lost = []
            for number in range(50):
                task = asyncio.ensure_future(process.read())
                await process.write(f"{number}\n")
                # Some are cancelled before the answer is there, some after.
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    chunk = await task
                    assert chunk is not None
                    lost.append(chunk.text)
                except asyncio.CancelledError:
                    pass
            process.close_stdin()
            lost += [chunk.text async for chunk in process]
            assert "".join(lost).split() == [str(number) for number in range(50)]


async def test_a_cancelled_file_read_loses_nothing(connect: Connect) -> None:
    content = bytes(range(256)) * 8192
    async with connect() as host, host.create() as box:
        await box.fs.write("/tmp/f", content)
        parts, cancelled = [], 0
        async with box.fs.open_reader("/tmp/f") as reader:
            while True:
                task = asyncio.ensure_future(reader.read(100_000))
                for _ in range(cancelled % 5):
                    await asyncio.sleep(0)
                if cancelled < 40:
                    task.cancel()  # too late for what was kept from the time before
                try:
                    part = await task
                except asyncio.CancelledError:
                    cancelled += 1
                    continue
                if not part:
                    break
                parts.append(part)
        assert cancelled > 0
        assert b"".join(parts) == content


async def test_a_cancelled_create_leaves_no_sandbox() -> None:
    async with sandbox.Runtime.open() as runtime:
        cancelled = 0
        for round_ in range(20):
            task = asyncio.ensure_future(runtime.create())
            await asyncio.sleep(round_ * 0.001)
            task.cancel()
            try:
                await (await task).close()  # it was faster
            except asyncio.CancelledError:
                cancelled += 1
        assert cancelled > 0
        end = asyncio.get_running_loop().time() + 10
        while runtime.live:
            assert asyncio.get_running_loop().time() < end, runtime.live
            await asyncio.sleep(0.01)
        async with runtime.create() as box:
            assert (await box.process.exec("true")).ok


async def test_cancelling_twice_still_waits_for_the_end(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        task = asyncio.ensure_future(box.process.exec("echo $$ >/tmp/pid; sleep 60"))
        await appears(box, "/tmp/pid")
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await gone(box, "/tmp/pid")


async def test_a_task_that_was_never_started_did_nothing(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        task = asyncio.ensure_future(box.fs.write("/tmp/never", b""))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await box.fs.exists("/tmp/never")


def test_a_loop_that_ends_takes_its_operations_along() -> None:
    kept: list[sandbox.RunningProcess] = []

    async def begin() -> None:
        runtime = await sandbox.Runtime.open()
        box = await runtime.create()
        kept.append(await box.process.spawn("sleep 60"))
        asyncio.ensure_future(kept[0].wait())  # noqa: RUF006
        await asyncio.sleep(0)

        async def finish() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await runtime.close()

        asyncio.ensure_future(finish())  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(begin())
