"""What is wrong ends in a typed error, never in a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sandbox
from conftest import Connect

WRONG_TYPES: list[tuple[str, Callable[[Any], Any]]] = [
    ("env name", lambda box: box.env.get(1)),
    ("env value", lambda box: box.env.set("A", None)),
    ("path", lambda box: box.fs.read(None)),
    ("path number", lambda box: box.fs.read(3)),
    ("content", lambda box: box.fs.write("/tmp/x", 5)),
    ("content list", lambda box: box.fs.write("/tmp/x", [1, 2])),
    ("command", lambda box: box.process.exec(7)),
    ("argument", lambda box: box.process.exec(["echo", 7])),
    ("env of a command", lambda box: box.process.exec("true", env=["A=1"])),
    ("timeout", lambda box: box.process.exec("true", timeout="1")),
    ("stdin", lambda box: box.process.exec("true", stdin=3)),
    ("port", lambda box: box.net.connect("80")),
    ("port with a fraction", lambda box: box.net.expose(80.5)),
    ("mode", lambda box: box.fs.chmod("/tmp", "755")),
    ("pty", lambda box: box.process.spawn("true", pty=(1, 2))),
    ("offset", lambda box: box.fs.read_range("/etc/hostname", 1.5, 1)),
]

WRONG_VALUES: list[tuple[str, Callable[[Any], Any]]] = [
    ("NUL in a name", lambda box: box.env.get("A\0B")),
    ("NUL in a value", lambda box: box.env.set("A", "b\0c")),
    ("empty name", lambda box: box.env.set("", "1")),
    ("= in a name", lambda box: box.env.set("A=B", "1")),
    ("NUL in a path", lambda box: box.fs.read("/tmp/\0")),
    ("relative path", lambda box: box.fs.read("tmp")),
    ("empty path", lambda box: box.fs.stat("")),
    ("long path", lambda box: box.fs.read("/" + "x" * 5000)),
    ("huge path", lambda box: box.fs.read("/" + "x" * (8 << 20))),
    ("huge name", lambda box: box.env.get("x" * (8 << 20))),
    ("NUL in a line", lambda box: box.process.exec("echo \0")),
    ("NUL in an argument", lambda box: box.process.exec(["echo", "\0"])),
    ("empty command", lambda box: box.process.exec("")),
    ("no program", lambda box: box.process.exec([])),
    ("too many arguments", lambda box: box.process.exec(["true"] * 5000)),
    ("huge argument", lambda box: box.process.exec(["true", "x" * (2 << 20)])),
    ("negative timeout", lambda box: box.process.exec("true", timeout=-1)),
    ("timeout that is none", lambda box: box.process.exec("true", timeout=float("nan"))),
    ("endless timeout", lambda box: box.process.exec("true", timeout=float("inf"))),
    ("port 0", lambda box: box.net.connect(0)),
    ("port too high", lambda box: box.net.connect(65536 + 80)),
    ("negative port", lambda box: box.net.expose(-1)),
    ("negative offset", lambda box: box.fs.read_range("/etc/hostname", -1, 1)),
    ("a length beyond 64 bits", lambda box: box.fs.read_range("/etc/hostname", 0, 1 << 64)),
    ("negative mode", lambda box: box.fs.chmod("/tmp", -1)),
    ("half a character", lambda box: box.env.set("A", "\ud800")),
    ("terminal without rows", lambda box: box.process.spawn("true", pty=sandbox.TerminalSize(0, 80))),
    ("a terminal too wide", lambda box: box.process.spawn("true", pty=sandbox.TerminalSize(24, 1 << 20))),
    ("long key", lambda box: box.process.exec("true", idempotency_key="k" * 65)),
]


async def test_wrong_types(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        for what, call in WRONG_TYPES:
            with pytest.raises(TypeError):
                await call(box)
                pytest.fail(what)
        assert (await box.process.exec("true")).ok


async def test_wrong_values(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        for what, call in WRONG_VALUES:
            # Some limits are those of the kernel inside, which says so in its own way.
            with pytest.raises((sandbox.InvalidArgumentError, sandbox.ResourceExhaustedError)) as caught:
                await call(box)
                pytest.fail(what)
            assert len(str(caught.value)) < 1000, what
        assert (await box.process.exec("true")).ok


async def test_wrong_specs(connect: Connect) -> None:
    async with connect() as host:
        for spec in (
            sandbox.SandboxSpec(memory=-1),
            sandbox.SandboxSpec(memory=1),
            sandbox.SandboxSpec(cpus=float("nan")),
            sandbox.SandboxSpec(pids=1 << 33),
            sandbox.SandboxSpec(workdir="relative"),
            sandbox.SandboxSpec(hostname="a\0b"),
            sandbox.SandboxSpec(env={"A\0": "1"}),
        ):
            with pytest.raises((sandbox.InvalidArgumentError, sandbox.FailedPreconditionError)):
                await host.create(spec)
        with pytest.raises(TypeError):
            await host.create("host")
        with pytest.raises(TypeError):
            await host.create(sandbox.SandboxSpec(env={"A": 1}))  # type: ignore[dict-item]
        with pytest.raises(ValueError):
            await host.create(sandbox.SandboxSpec(network=7))  # type: ignore[arg-type]
        with pytest.raises(sandbox.NotFoundError):
            await host.create(sandbox.SandboxSpec(image="tpl-0123456789abcdef"))


async def test_wrong_endpoints() -> None:
    for endpoint in ("nonsense", "ftp://x", "unix://relative\0"):
        with pytest.raises(sandbox.InvalidArgumentError):
            await sandbox.Client.connect(endpoint)
    with pytest.raises(sandbox.UnavailableError) as caught:
        await sandbox.Client.connect("unix:///no/such/socket", timeout=5)
    assert caught.value.retry in (sandbox.Retry.NOW, sandbox.Retry.AFTER_BACKOFF, sandbox.Retry.NEVER)
    with pytest.raises(TypeError):
        await sandbox.Client.connect(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await sandbox.Client.connect(tenant="me")  # type: ignore[arg-type]
    with pytest.raises(sandbox.InvalidArgumentError):
        await sandbox.Client.connect("unix:///x", tenant=sandbox.Tenant("me", b"short"))
    with pytest.raises(sandbox.NotFoundError):
        await sandbox.Client.connect("https://127.0.0.1:1", ca_file="/no/such/file")


async def test_helpers_that_are_not_there() -> None:
    with pytest.raises(sandbox.NotFoundError):
        await sandbox.Runtime.open(helper_directory="/no/such/directory")


def test_errors_survive_pickling() -> None:
    import pickle

    error = sandbox.NotFoundError("gone", operation="fs.read", sys_errno=2, retry=sandbox.Retry.NOW)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is sandbox.NotFoundError
    assert (again.message, again.operation, again.sys_errno, again.retry) == ("gone", "fs.read", 2, sandbox.Retry.NOW)
    assert str(again) == "fs.read: gone"
    assert isinstance(sandbox.DeadlineExceededError("late"), TimeoutError)
    assert pickle.loads(pickle.dumps(sandbox.DeadlineExceededError("late"))).message == "late"
