"""Programs: run and collected, streamed, on terminals."""

from __future__ import annotations

import pytest

import sandbox
from conftest import Connect
from sandbox import ExitCause, Stream, TerminalSize


async def test_exec_collects_output_and_status(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        done = await box.process.exec("echo out; echo err >&2; exit 3")
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
        assert (done.cause, done.exit_code, done.shell_code, done.ok) == (ExitCause.EXITED, 3, 3, False)
        assert done.stdout_bytes == 4
        assert 0 < done.wall_time < 60
        assert (await box.process.exec("true")).ok


async def test_a_sequence_is_not_interpreted(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        done = await box.process.exec(["printf", "%s|", "a b", "$HOME", "*", "", "ü"])
        assert done.stdout_text == "a b|$HOME|*||ü|"


async def test_exec_takes_environment_directory_and_input(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        done = await box.process.exec("pwd; echo $A; cat", env={"A": "1"}, workdir="/tmp", stdin="in\0put")
        assert done.stdout == b"/tmp\n1\nin\0put"
        done = await box.process.exec(["/usr/bin/env"], env={"ONLY": "1"}, clear_env=True)
        assert done.stdout_text == "ONLY=1\n"
        assert (await box.process.exec("echo e >&2", merge_stderr=True)).stdout == b"e\n"


async def test_a_timeout_is_data(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        done = await box.process.exec("echo begun; sleep 60", timeout=1)
        assert (done.cause, done.shell_code, done.stdout) == (ExitCause.TIMED_OUT, 124, b"begun\n")


async def test_output_beyond_the_limit_is_dropped_and_counted(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        done = await box.process.exec("head -c 100000 /dev/zero", max_output=1000)
        assert (len(done.stdout), done.stdout_bytes, done.stdout_dropped) == (1000, 100000, 99000)
        done = await box.process.exec("echo much", max_output=0)
        assert (done.stdout, done.stdout_bytes) == (b"", 5)


async def test_what_is_not_there_is_not_found(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        with pytest.raises(sandbox.NotFoundError) as caught:
            await box.process.exec(["/no/such/program"])
        assert caught.value.code is sandbox.Code.NOT_FOUND
        assert caught.value.message
        with pytest.raises(sandbox.NotFoundError):
            await box.process.exec("true", workdir="/no/such/directory")


async def test_output_is_an_async_iterator(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn("echo one; echo two >&2; exit 4") as process:
            assert process.pid > 1
            found = {Stream.STDOUT: b"", Stream.STDERR: b""}
            async for chunk in process:
                found[chunk.stream] += chunk.data
            assert found == {Stream.STDOUT: b"one\n", Stream.STDERR: b"two\n"}
            assert (await process.wait()).exit_code == 4
            assert (await process.wait()).exit_code == 4
            assert await process.read() is None


async def test_a_conversation(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn(["cat"], open_stdin=True) as process:
            for word in (b"one\n", b"two\n"):
                await process.write(word)
                chunk = await process.read()
                assert chunk is not None and chunk.data == word
            process.close_stdin()
            process.close_stdin()
            assert await process.read() is None
            assert (await process.wait()).ok
            with pytest.raises(sandbox.FailedPreconditionError):
                await process.write("late")


async def test_signals_and_kill(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn("trap 'echo caught; exit 7' TERM; echo ready; while :; do :; done") as process:
            first = await process.read()
            assert first is not None and first.text == "ready\n"
            process.signal(15)
            assert [chunk.text async for chunk in process] == ["caught\n"]
            assert (await process.wait()).exit_code == 7
        async with box.process.spawn(["sleep", "60"]) as process:
            process.kill()
            assert (await process.wait()).cause is ExitCause.CANCELLED


async def test_a_terminal(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn(["/bin/sh"], open_stdin=True, pty=TerminalSize(30, 100)) as process:
            await process.write("stty size; exit\n")
            output = "".join([chunk.text async for chunk in process])
            assert "30 100" in output
        async with box.process.spawn("read line; stty size", open_stdin=True, pty=TerminalSize()) as process:
            process.resize(40, 120)
            await process.write("go\n")
            assert "40 120" in "".join([chunk.text async for chunk in process])
        async with box.process.spawn(["sleep", "60"]) as process:
            with pytest.raises(sandbox.FailedPreconditionError):
                process.resize(1, 1)


async def test_reads_and_waits_have_timeouts(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn("read line; echo said $line", open_stdin=True) as process:
            with pytest.raises(sandbox.DeadlineExceededError) as caught:
                await process.read(timeout=0.05)
            assert isinstance(caught.value, TimeoutError)
            await process.write("it\n")
            chunk = await process.read(timeout=10)
            assert chunk is not None and chunk.text == "said it\n"
        async with box.process.spawn("read line", open_stdin=True) as process:
            with pytest.raises(sandbox.DeadlineExceededError):
                await process.wait(timeout=0.05)
            process.close_stdin()
            assert (await process.wait(timeout=10)).exit_code == 1


async def test_leaving_the_block_ends_the_program(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn("echo $$; exec sleep 60") as process:
            chunk = await process.read()
            assert chunk is not None
        with pytest.raises(sandbox.FailedPreconditionError):
            await process.read()
        with pytest.raises(sandbox.FailedPreconditionError):
            process.kill()
        gone = await box.process.exec(
            f"for i in $(seq 100); do kill -0 {chunk.text.strip()} || exit 0; sleep 0.05; done; exit 1"
        )
        assert gone.exit_code == 0


async def test_the_same_key_runs_once(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        for _ in range(2):
            done = await box.process.exec("echo x >>/tmp/runs; cat /tmp/runs", idempotency_key="once")
            assert done.stdout == b"x\n"
