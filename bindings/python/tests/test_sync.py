"""The blocking face."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sandbox
import sandbox.sync


def test_the_whole_way(connect_sync: Callable[[], Any], tmp_path: Path) -> None:
    with connect_sync() as host, host.create() as box:
        assert isinstance(box, sandbox.sync.Sandbox)
        assert box.process.exec("echo hello").stdout_text == "hello\n"
        box.env.set("A", "1")
        assert box.env.get("A") == "1" and box.env.list()["A"] == "1"
        box.fs.write("/tmp/f", "content")
        assert box.fs.read_text("/tmp/f") == "content"
        assert [info.path for info in box.fs.list("/tmp")] == ["f"]
        assert box.fs.exists("/tmp/f") and not box.fs.exists("/tmp/g")
        (tmp_path / "up").write_bytes(b"up")
        box.fs.upload(tmp_path / "up", "/tmp/up")
        box.fs.download("/tmp/up", tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == b"up"
        assert box.stats().memory > 0 and box.ping() > 0
        with box.process.spawn("cat", open_stdin=True) as process:
            process.write("echo")
            chunk = process.read(timeout=10)
            assert chunk is not None and chunk.text == "echo"
            process.close_stdin()
            assert list(process) == []
            assert process.wait().ok
        with box.fs.watch("/tmp") as watch:
            box.fs.write("/tmp/seen", b"")
            assert next(iter(watch)).path.startswith("/tmp/")
            with pytest.raises(sandbox.DeadlineExceededError):
                while True:
                    watch.next(timeout=0.05)


def test_files_fit_where_python_takes_files(connect_sync: Callable[[], Any]) -> None:
    with connect_sync() as host, host.create() as box:
        content = b"".join(b"line %d\n" % number for number in range(50_000))
        with box.fs.open_writer("/tmp/f") as writer:
            shutil.copyfileobj(io.BytesIO(content), writer)
        with box.fs.open_reader("/tmp/f") as reader:
            assert sum(1 for _ in io.BufferedReader(reader)) == 50_000
        with box.fs.open_reader("/tmp/f") as reader:
            assert b"".join(reader) == content
        with box.fs.open_tar_reader("/tmp") as reader, tarfile.open(fileobj=reader, mode="r|") as tar:
            assert any(entry.name.endswith("f") and entry.size == len(content) for entry in tar)


def test_the_gil_is_free_while_a_call_waits(connect_sync: Callable[[], Any]) -> None:
    with connect_sync() as host, host.create() as box:
        done: list[sandbox.ExecResult] = []
        thread = threading.Thread(
            target=lambda: done.append(box.process.exec("until [ -e /tmp/go ]; do sleep 0.01; done"))
        )
        thread.start()
        box.fs.write("/tmp/go", b"")
        thread.join(20)
        assert done and done[0].ok


@pytest.mark.parametrize("where", ["exec", "read"])
def test_ctrl_c_ends_a_blocking_call(where: str) -> None:
    call = (
        'box.process.exec("echo $$ >/tmp/pid; sleep 60")' if where == "exec" else 'box.process.spawn("sleep 60").read()'
    )
    program = textwrap.dedent(
        f"""
        import sandbox.sync
        with sandbox.sync.Runtime.open() as runtime, runtime.create() as box:
            try:
                print("ready", flush=True)
                {call}
            except KeyboardInterrupt:
                print("interrupted", box.process.exec("echo usable").stdout_text, end="")
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until it waits; earlier the answer would be the same
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=20)[0] == "interrupted usable\n"
        assert child.returncode == 0
    finally:
        child.kill()
        child.wait()


def test_threads_run_programs_side_by_side(connect_sync: Callable[[], Any]) -> None:
    with connect_sync() as host, host.create() as box:
        results: dict[int, str] = {}

        def run(number: int) -> None:
            results[number] = box.process.exec(f"echo {number}").stdout_text

        threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == {number: f"{number}\n" for number in range(20)}
