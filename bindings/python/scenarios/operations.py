"""What a step can do, on the asyncio face."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from values import StoryError, as_bytes

import sandbox

Fields = dict[str, Any]


class Result:
    """What an operation gave: fields for matchers and references, and an object for later steps' `on`."""

    def __init__(self, fields: Fields | None = None, thing: Any = None) -> None:
        self.fields = fields or {}
        self.thing = thing


class RunningProgram:
    """A process and what was read of it and not taken yet."""

    def __init__(self, process: sandbox.RunningProcess) -> None:
        self.process = process
        self.buffers = {sandbox.Stream.STDOUT: b"", sandbox.Stream.STDERR: b""}

    async def read(self, timeout: float | None) -> bool:
        """Whether there was something."""
        chunk = await self.process.read(timeout=timeout)
        if chunk is not None:
            self.buffers[chunk.stream] += chunk.data
        return chunk is not None

    def take(self, stream: sandbox.Stream, size: int | None = None) -> bytes:
        whole = self.buffers[stream]
        taken = whole[:size]
        self.buffers[stream] = whole[len(taken) :]
        return taken


OPERATIONS: dict[str, tuple[type | None, Callable[..., Awaitable[Result]]]] = {}
"""By name: the kind of object that it is done to, and the function."""


def operation(name: str, kind: type | None) -> Callable[[Callable[..., Awaitable[Result]]], Any]:
    def add(function: Callable[..., Awaitable[Result]]) -> Any:
        OPERATIONS[name] = kind, function
        return function

    return add


def call(name: str, subject: Any, story: Any, args: Fields) -> Awaitable[Result]:
    if name not in OPERATIONS:
        raise StoryError(f"unknown operation {name}")
    kind, function = OPERATIONS[name]
    if kind is not None and not isinstance(subject, kind):
        raise StoryError(f"{name} is not for a {type(subject).__name__}")
    target = story if kind is None else subject
    parameters = list(inspect.signature(function).parameters.values())[1:]
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters}
    # "from" is a word of Python's.
    args = {("from_" if key == "from" else key): value for key, value in args.items()}
    for key in args:
        if key not in known and not open_ended:
            raise StoryError(f"{name} has no argument {key}")
    return function(target, **args)


def _s(milliseconds: int | None) -> float | None:
    return None if not milliseconds else milliseconds / 1000


# ---- hosts ---------------------------------------------------------------------------------------------------------------


@operation("create", None)
async def create(story: Any, deadline_ms: int = 0, cold: bool = False, ttl_s: int = 0, **spec: Any) -> Result:
    if "network" in spec:
        spec["network"] = sandbox.Network[spec["network"].upper()]
    known = {"image", "memory", "cpus", "pids", "open_files", "disk", "inodes", "network"}
    known |= {"env", "workdir", "hostname", "writable_root", "user"}
    if unknown := spec.keys() - known:
        raise StoryError(f"create has no argument {min(unknown)}")
    wanted = sandbox.SandboxSpec(**spec, sealed=story.sealed)
    asked = sandbox.CreateRequest(spec=wanted, ttl=ttl_s) if ttl_s else wanted
    box = await story.host.create(asked, deadline=_s(deadline_ms), cold=cold)
    story.sandboxes.append(box)
    return Result({"id": box.id}, box)


@operation("open", None)
async def open_(story: Any, id: str) -> Result:
    box = await story.client.open(id, sealed=story.sealed)
    story.things.append(box.detach)
    return Result({"id": box.id}, box)


@operation("remove", None)
async def remove(story: Any, id: str) -> Result:
    await story.client.remove(id)
    return Result()


def _template(info: sandbox.TemplateInfo) -> Result:
    return Result({"id": info.id, "label": info.label, "digest": info.digest, "size": info.size})


@operation("find_template", None)
async def find_template(story: Any, id: str) -> Result:
    return _template(await story.host.find_template(id))


@operation("remove_template", None)
async def remove_template(story: Any, id: str) -> Result:
    await story.host.remove_template(id)
    return Result()


# ---- a sandbox -----------------------------------------------------------------------------------------------------------


def _plain(name: str) -> None:
    async def run(box: sandbox.Sandbox) -> Result:
        await getattr(box, name)()
        return Result()

    operation(name, sandbox.Sandbox)(run)


for _name in ("close", "pause", "resume", "detach"):
    _plain(_name)


@operation("closed", sandbox.Sandbox)
async def closed(box: sandbox.Sandbox) -> Result:
    return Result({"closed": box.closed})


@operation("ping", sandbox.Sandbox)
async def ping(box: sandbox.Sandbox, timeout_ms: int = 0) -> Result:
    return Result({"round_trip_ns": round(await box.ping(timeout=_s(timeout_ms)) * 1e9)})


@operation("stats", sandbox.Sandbox)
async def stats(box: sandbox.Sandbox) -> Result:
    now = await box.stats()
    fields = {name: getattr(now, name) for name in ("memory", "memory_peak", "memory_limit", "pids", "disk_used")}
    fields |= {"inodes_used": now.inodes_used, "oom_kills": now.oom_kills}
    fields |= {"cpu_time_ns": round(now.cpu_time * 1e9), "uptime_ns": round(now.uptime * 1e9)}
    return Result(fields)


@operation("save_template", sandbox.Sandbox)
async def save_template(box: sandbox.Sandbox, label: str) -> Result:
    return _template(await box.save_template(label))


@operation("fingerprint", sandbox.Sandbox)
async def fingerprint(box: sandbox.Sandbox) -> Result:
    return Result({"fingerprint": await box.agent_fingerprint()})


def _command(args: Fields) -> Fields:
    known = {"line", "argv", "env", "clear_env", "workdir", "timeout_ms", "max_output", "input", "merge_stderr"}
    known |= {"idempotency_key", "open_input", "rows", "columns"}
    if unknown := args.keys() - known:
        raise StoryError(f"a command has no argument {min(unknown)}")
    made: Fields = {"command": args["line"] if "line" in args else args["argv"]}
    for name in ("env", "clear_env", "workdir", "merge_stderr", "idempotency_key"):
        if name in args:
            made[name] = args[name]
    made["timeout"] = _s(args.get("timeout_ms"))
    if args.get("max_output"):
        made["max_output"] = args["max_output"]
    if "input" in args:
        made["stdin"] = as_bytes(args["input"])
    if "open_input" in args:
        made["open_stdin"] = args["open_input"]
    if "rows" in args:
        made["pty"] = sandbox.TerminalSize(args["rows"], args["columns"])
    return made


def _status(status: sandbox.ExitStatus) -> Fields:
    names = ["exit_code", "signal", "shell_code", "core_dumped", "oom_kills", "stdout_bytes", "stderr_bytes"]
    names += ["stdout_dropped", "stderr_dropped", "max_rss"]
    fields = {name: getattr(status, name) for name in names}
    return fields | {"cause": status.cause.label, "wall_time_ns": round(status.wall_time * 1e9)}


@operation("exec", sandbox.Sandbox)
async def exec_(box: sandbox.Sandbox, **args: Any) -> Result:
    done = await box.process.exec(**_command(args))
    return Result(_status(done) | {"stdout": done.stdout, "stderr": done.stderr})


@operation("spawn", sandbox.Sandbox)
async def spawn(box: sandbox.Sandbox, **args: Any) -> Result:
    process = await box.process.spawn(**_command(args))
    return Result({"pid": process.pid}, RunningProgram(process))


# ---- a process -----------------------------------------------------------------------------------------------------------


@operation("process.read_until", RunningProgram)
async def read_until(program: RunningProgram, text: str, timeout_ms: int = 10000) -> Result:
    wanted, end = as_bytes(text), time.monotonic() + timeout_ms / 1000
    while wanted not in program.buffers[sandbox.Stream.STDOUT]:
        if not await program.read(max(0.001, end - time.monotonic())):
            raise StoryError(f"the output ended before {text!r}: {program.buffers[sandbox.Stream.STDOUT]!r}")
    size = program.buffers[sandbox.Stream.STDOUT].index(wanted) + len(wanted)
    return Result({"stdout": program.take(sandbox.Stream.STDOUT, size)})


@operation("process.read_all", RunningProgram)
async def read_all(program: RunningProgram, timeout_ms: int = 10000) -> Result:
    end = time.monotonic() + timeout_ms / 1000
    while await program.read(max(0.001, end - time.monotonic())):
        pass
    return Result({"stdout": program.take(sandbox.Stream.STDOUT), "stderr": program.take(sandbox.Stream.STDERR)})


@operation("process.read", RunningProgram)
async def read(program: RunningProgram, timeout_ms: int = 0) -> Result:
    return Result({"end": not await program.read(_s(timeout_ms))})


@operation("process.write", RunningProgram)
async def process_write(program: RunningProgram, content: Any) -> Result:
    await program.process.write(as_bytes(content))
    return Result()


@operation("process.close_input", RunningProgram)
async def close_input(program: RunningProgram) -> Result:
    program.process.close_stdin()
    return Result()


@operation("process.kill", RunningProgram)
async def kill(program: RunningProgram) -> Result:
    program.process.kill()
    return Result()


@operation("process.signal", RunningProgram)
async def signal(program: RunningProgram, signal: int) -> Result:
    program.process.signal(signal)
    return Result()


@operation("process.resize", RunningProgram)
async def resize(program: RunningProgram, rows: int, columns: int) -> Result:
    program.process.resize(rows, columns)
    return Result()


@operation("process.wait", RunningProgram)
async def wait(program: RunningProgram, timeout_ms: int = 0) -> Result:
    return Result(_status(await program.process.wait(timeout=_s(timeout_ms))))


@operation("process.free", RunningProgram)
async def free(program: RunningProgram) -> Result:
    program.process.close()
    return Result()


# ---- environment and ports -----------------------------------------------------------------------------------------------


@operation("env.get", sandbox.Sandbox)
async def env_get(box: sandbox.Sandbox, name: str) -> Result:
    return Result({"value": await box.env.get(name)})


@operation("env.set", sandbox.Sandbox)
async def env_set(box: sandbox.Sandbox, name: str, value: str) -> Result:
    await box.env.set(name, value)
    return Result()


@operation("env.unset", sandbox.Sandbox)
async def env_unset(box: sandbox.Sandbox, name: str) -> Result:
    await box.env.unset(name)
    return Result()


@operation("env.all", sandbox.Sandbox)
async def env_all(box: sandbox.Sandbox) -> Result:
    return Result({"env": [{"name": name, "value": value} for name, value in (await box.env.list()).items()]})


def _port(port: sandbox.ExposedPort) -> Fields:
    return {"port": port.port, "host_port": port.host_port, "host_address": port.host_address}


@operation("net.connect", sandbox.Sandbox)
async def connect(box: sandbox.Sandbox, port: int, timeout_ms: int = 0) -> Result:
    return Result(thing=await box.net.connect(port, timeout=_s(timeout_ms)))


@operation("net.expose", sandbox.Sandbox)
async def expose(box: sandbox.Sandbox, port: int, host_port: int = 0, timeout_ms: int = 0) -> Result:
    return Result(_port(await box.net.expose(port, host_port, timeout=_s(timeout_ms))))


@operation("net.list", sandbox.Sandbox)
async def net_list(box: sandbox.Sandbox) -> Result:
    return Result({"ports": [_port(port) for port in await box.net.list()]})


@operation("net.close", sandbox.Sandbox)
async def net_close(box: sandbox.Sandbox, port: int) -> Result:
    await box.net.close(port)
    return Result()


# ---- this host -----------------------------------------------------------------------------------------------------------


@operation("socket.open", None)
async def socket_open(story: Any, address: str, port: int) -> Result:
    connection = socket.socket()
    connection.setblocking(False)
    story.things.append(connection.close)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except ConnectionRefusedError as error:
        raise sandbox.UnavailableError(str(error)) from None
    return Result(thing=connection)


@operation("socket.write", socket.socket)
async def socket_write(connection: socket.socket, content: Any) -> Result:
    await asyncio.get_running_loop().sock_sendall(connection, as_bytes(content))
    return Result()


@operation("socket.end", socket.socket)
async def socket_end(connection: socket.socket) -> Result:
    connection.shutdown(socket.SHUT_WR)
    return Result()


@operation("socket.read_all", socket.socket)
async def socket_read_all(connection: socket.socket, timeout_ms: int = 10000) -> Result:
    async def all_of_it() -> bytes:
        parts = []
        while part := await asyncio.get_running_loop().sock_recv(connection, 65536):
            parts.append(part)
        return b"".join(parts)

    return Result({"content": await asyncio.wait_for(all_of_it(), timeout_ms / 1000)})


@operation("host.write", None)
async def host_write(story: Any, path: str, content: Any) -> Result:
    Path(path).write_bytes(as_bytes(content))
    return Result()


@operation("host.read", None)
async def host_read(story: Any, path: str) -> Result:
    return Result({"content": Path(path).read_bytes()})
