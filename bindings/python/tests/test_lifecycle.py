"""Closing, closing twice, using what is closed, from other threads and other processes; nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import sandbox
import sandbox.sync
from conftest import Connect, until_descriptors_are


def run_program(text: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a Python program of its own: for what ends a process, or could crash it."""
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_a_closed_sandbox_says_so(connect: Connect) -> None:
    async with connect() as host:
        box = await host.create()
        process = await box.process.spawn("sleep 60")
        assert not box.closed
        assert box.id.startswith("sbx-") and box.id in repr(box)
        await box.close()
        await box.close()
        assert box.closed
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: box.env.get("A"),
            lambda: box.fs.read("/etc/hostname"),
            lambda: box.process.exec("true"),
            lambda: box.process.spawn("true"),
            lambda: box.net.connect(80),
            lambda: box.stats(),
            lambda: box.ping(),
            lambda: box.fs.watch("/tmp"),
        ]
        for call in calls:
            with pytest.raises((sandbox.FailedPreconditionError, sandbox.UnavailableError)):
                await call()
        with pytest.raises(sandbox.OperationCancelledError):
            await process.wait()
        process.close()
        process.close()


async def test_a_closed_host_says_so(connect: Connect) -> None:
    host = await connect()
    box = await host.create()
    await host.close()
    await host.close()
    assert host.closed
    with pytest.raises(sandbox.FailedPreconditionError):
        await host.create()
    if isinstance(host, sandbox.Runtime):
        with pytest.raises(sandbox.FailedPreconditionError):
            await box.env.get("A")
    else:  # it is the daemon's
        assert await box.env.get("A") is None
        await box.close()


async def test_closing_under_way_ends_what_waits(connect: Connect) -> None:
    async with connect() as host:
        box = await host.create()
        running = asyncio.ensure_future(box.process.exec("sleep 60"))
        process = await box.process.spawn("sleep 60")
        reading = asyncio.ensure_future(process.read())
        await asyncio.sleep(0)  # they begin
        await box.env.get("A")
        await box.close()
        for task in (running, reading):
            with pytest.raises(sandbox.SandboxError):
                await asyncio.wait_for(task, 10)
        process.close()


async def test_closing_a_process_ends_a_read_under_way(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        process = await box.process.spawn("sleep 60")
        reading = asyncio.ensure_future(process.read())
        await asyncio.sleep(0)  # they begin
        await box.env.get("A")
        process.close()
        with pytest.raises(sandbox.OperationCancelledError):
            await asyncio.wait_for(reading, 10)


def test_use_and_close_from_many_threads(connect_sync: Connect) -> None:
    with connect_sync() as host:
        for _ in range(5):
            box = host.create()
            started = threading.Barrier(5)
            surprises: list[BaseException] = []

            def use(
                box: sandbox.sync.Sandbox = box,
                started: threading.Barrier = started,
                surprises: list[BaseException] = surprises,
            ) -> None:
                started.wait()
                try:
                    for number in range(200):
                        box.env.set("A", str(number))
                        with contextlib.closing(box.fs.open_writer("/tmp/x")) as writer:
                            writer.write(b"x")
                except (sandbox.FailedPreconditionError, sandbox.UnavailableError, sandbox.OperationCancelledError):
                    pass
                except BaseException as error:
                    surprises.append(error)

            threads = [threading.Thread(target=use) for _ in range(4)]
            for thread in threads:
                thread.start()
            started.wait()
            box.close()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
            assert surprises == []


def test_a_read_is_ended_by_another_thread(connect_sync: Connect) -> None:
    with connect_sync() as host, host.create() as box:
        for stream in (box.process.spawn("sleep 60"), box.fs.watch("/tmp")):
            errors: list[sandbox.SandboxError] = []

            def read(stream: object = stream, errors: list[sandbox.SandboxError] = errors) -> None:
                try:
                    stream.wait() if isinstance(stream, sandbox.sync.RunningProcess) else stream.next()  # type: ignore[attr-defined]
                except sandbox.SandboxError as error:
                    errors.append(error)

            thread = threading.Thread(target=read)
            thread.start()
            box.env.get("A")
            stream.close()
            thread.join(20)
            assert not thread.is_alive()
            assert len(errors) == 1


async def test_what_is_dropped_is_given_back() -> None:
    async with sandbox.Runtime.open() as runtime:
        await runtime.create()
        box = await runtime.create()
        process = await box.process.spawn("sleep 60")
        reader = box.fs.open_reader("/etc/hostname")
        del box, process, reader
        gc.collect()
        end = asyncio.get_running_loop().time() + 10
        while runtime.live:
            assert asyncio.get_running_loop().time() < end, runtime.live
            await asyncio.sleep(0.01)


async def test_parts_keep_their_sandbox_alive() -> None:
    async with sandbox.Runtime.open() as runtime:
        env = (await runtime.create()).env
        gc.collect()
        await env.set("A", "1")
        assert await env.get("A") == "1"


async def test_descriptors_do_not_pile_up(connect: Connect) -> None:
    async with connect() as host:

        async def round_() -> None:
            async with host.create() as box:
                assert (await box.process.exec("true")).ok
                await box.fs.write("/tmp/x", b"x")
                async with box.fs.open_reader("/tmp/x") as reader:
                    await reader.read()
                async with box.process.spawn("true") as process:
                    await process.wait()

        for _ in range(3):
            await round_()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await round_()
        for _ in until_descriptors_are(before + 3):
            await asyncio.sleep(0.02)


async def test_layers_that_nothing_uses_go(tmp_path: Path) -> None:
    archive, state = tmp_path / "usr.tar", tmp_path / "state"
    with tarfile.open(archive, "w") as tar:
        usr = tarfile.TarInfo("usr")
        usr.type, usr.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(usr)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    async with sandbox.Runtime.open(state_directory=state) as runtime:
        async with runtime.create(sandbox.SandboxSpec(image=str(archive))):
            assert await runtime.prune(unused_for=0) == []
    async with sandbox.Runtime.open(state_directory=state, prune_after=0) as runtime:
        assert await runtime.prune() == []  # it is young
        told = await runtime.prune(unused_for=0, dry_run=True)
        assert [layer.digest for layer in told] == [digest] == os.listdir(state / "layers")
        assert told[0].size > 0 and told[0].last_used is not None
    while os.listdir(state / "layers"):  # until it is a second old
        async with sandbox.Runtime.open(state_directory=state, prune_after=1):
            await asyncio.sleep(0.05)


def test_a_program_may_end_without_closing() -> None:
    done = run_program(
        """
        import sandbox.sync
        runtime = sandbox.sync.Runtime.open()
        box = runtime.create()
        process = box.process.spawn("sleep 60")
        print(box.process.exec("echo fine").stdout_text, end="")
        """
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_program_may_end_while_a_thread_waits() -> None:
    done = run_program(
        """
        import sandbox.sync, threading
        runtime = sandbox.sync.Runtime.open()
        box = runtime.create()
        threading.Thread(target=lambda: box.process.exec("sleep 60"), daemon=True).start()
        box.env.get("A")
        print("ends")
        """
    )
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


def test_a_runtime_that_nobody_closed_is_told_of() -> None:
    done = run_program(
        """
        import sandbox.sync, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            runtime = sandbox.sync.Runtime.open()
            del runtime
        print([str(one.message) for one in caught])
        """
    )
    assert done.returncode == 0 and "unclosed <sandbox.sync.runtime.Runtime>" in done.stdout, done.stderr


def test_a_forked_child_gets_errors_and_the_parent_goes_on() -> None:
    done = run_program(
        """
        import os, sandbox.sync, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork() beside threads: that is what this is about
        runtime = sandbox.sync.Runtime.open()
        box = runtime.create()
        process = box.process.spawn("cat", open_stdin=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                box.env.get("A")
            except sandbox.FailedPreconditionError as error:
                code = 0 if "forked" in str(error) else 2
            for open_again in (sandbox.sync.Runtime.open, sandbox.sync.Client.connect):
                try:
                    open_again()
                except sandbox.FailedPreconditionError as error:
                    code = code if "forked" in str(error) else 3
                else:
                    code = 4
            del process, box, runtime
            os._exit(code)
        _, status = os.waitpid(child, 0)
        process.write("alive")
        print(os.waitstatus_to_exitcode(status), process.read().text, runtime.live)
        process.close(), box.close(), runtime.close()
        """
    )
    assert (done.returncode, done.stdout) == (0, "0 alive 1\n"), done.stderr


def test_the_library_is_asked_for_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sandbox"],
        capture_output=True,
        text=True,
        env={**os.environ, "SANDBOX_LIBRARY": "/no/such/libsandbox.so", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert "ImportError" in done.stderr and "/no/such/libsandbox.so: no such file" in done.stderr
