"""Steps about files."""

from __future__ import annotations

import time
from typing import Any

from operations import Fields, Result, operation
from values import as_bytes

import sandbox


def _options(mode: str | None, **flags: bool) -> Fields:
    return {**flags, "mode": int(mode, 8) if mode else 0}


def _info(info: sandbox.FileInfo) -> Fields:
    return {
        "path": info.path,
        "type": info.type.label,
        "size": info.size,
        "mode": format(info.mode & 0o777, "o"),
        "uid": info.uid,
        "gid": info.gid,
        "target": info.target,
    }


def _transfer(summary: sandbox.TransferSummary) -> Result:
    return Result({"entries": summary.entries, "bytes": summary.bytes, "skipped": summary.skipped})


@operation("fs.read", sandbox.Sandbox)
async def read(box: sandbox.Sandbox, path: str, max: int = 0) -> Result:
    return Result({"content": await box.fs.read(path, max_size=max)})


@operation("fs.read_range", sandbox.Sandbox)
async def read_range(box: sandbox.Sandbox, path: str, offset: int, length: int) -> Result:
    return Result({"content": await box.fs.read_range(path, offset, length)})


@operation("fs.write", sandbox.Sandbox)
async def write(
    box: sandbox.Sandbox,
    path: str,
    content: Any,
    append: bool = False,
    exclusive: bool = False,
    make_parents: bool = False,
    mode: str | None = None,
) -> Result:
    options = _options(mode, append=append, exclusive=exclusive, make_parents=make_parents)
    await box.fs.write(path, as_bytes(content), **options)
    return Result()


@operation("fs.stream_read", sandbox.Sandbox)
async def stream_read(box: sandbox.Sandbox, path: str) -> Result:
    async with box.fs.open_reader(path) as reader:
        return Result({"content": b"".join([piece async for piece in reader])})


@operation("fs.stream_write", sandbox.Sandbox)
async def stream_write(
    box: sandbox.Sandbox,
    path: str,
    content: Any,
    append: bool = False,
    exclusive: bool = False,
    make_parents: bool = False,
    mode: str | None = None,
    piece: int = 65536,
) -> Result:
    options = _options(mode, append=append, exclusive=exclusive, make_parents=make_parents)
    data = as_bytes(content)
    async with box.fs.open_writer(path, **options) as writer:
        for begin in range(0, len(data), piece):
            await writer.write(data[begin : begin + piece])
        return Result({"bytes": (await writer.finish()).bytes})


@operation("fs.abandon_write", sandbox.Sandbox)
async def abandon_write(box: sandbox.Sandbox, path: str, content: Any) -> Result:
    writer = box.fs.open_writer(path)
    await writer.write(as_bytes(content))
    writer.close()
    return Result()


@operation("fs.upload", sandbox.Sandbox)
async def upload(box: sandbox.Sandbox, host_path: str, path: str) -> Result:
    return _transfer(await box.fs.upload(host_path, path))


@operation("fs.download", sandbox.Sandbox)
async def download(box: sandbox.Sandbox, path: str, host_path: str) -> Result:
    return _transfer(await box.fs.download(path, host_path))


@operation("fs.list", sandbox.Sandbox)
async def list_(box: sandbox.Sandbox, path: str) -> Result:
    return Result({"files": [_info(info) for info in await box.fs.list(path)]})


@operation("fs.find", sandbox.Sandbox)
async def find(
    box: sandbox.Sandbox, root: str, pattern: str, type: str | None = None, max_depth: int = 0, max_results: int = 0
) -> Result:
    kind = sandbox.FileType[type.upper()] if type else None
    found = await box.fs.find(root, pattern, type=kind, max_depth=max_depth, max_results=max_results)
    return Result({"files": [_info(info) for info in found]})


@operation("fs.stat", sandbox.Sandbox)
async def stat(box: sandbox.Sandbox, path: str, follow: bool = True) -> Result:
    return Result(_info(await (box.fs.stat(path) if follow else box.fs.lstat(path))))


@operation("fs.mkdir", sandbox.Sandbox)
async def mkdir(box: sandbox.Sandbox, path: str) -> Result:
    await box.fs.mkdir(path)
    return Result()


@operation("fs.remove", sandbox.Sandbox)
async def remove(box: sandbox.Sandbox, path: str, recursive: bool = False) -> Result:
    await (box.fs.remove_all(path) if recursive else box.fs.remove(path))
    return Result()


@operation("fs.rename", sandbox.Sandbox)
async def rename(box: sandbox.Sandbox, from_: str, to: str) -> Result:
    await box.fs.rename(from_, to)
    return Result()


@operation("fs.copy", sandbox.Sandbox)
async def copy(box: sandbox.Sandbox, from_: str, to: str) -> Result:
    return Result({"bytes": await box.fs.copy(from_, to)})


@operation("fs.symlink", sandbox.Sandbox)
async def symlink(box: sandbox.Sandbox, target: str, path: str) -> Result:
    await box.fs.symlink(target, path)
    return Result()


@operation("fs.chmod", sandbox.Sandbox)
async def chmod(box: sandbox.Sandbox, path: str, mode: str) -> Result:
    await box.fs.chmod(path, int(mode, 8))
    return Result()


@operation("fs.watch", sandbox.Sandbox)
async def watch(box: sandbox.Sandbox, path: str, recursive: bool = True) -> Result:
    return Result(thing=await box.fs.watch(path, recursive=recursive))


def _event(event: sandbox.FileEvent) -> Fields:
    return {
        "change": event.change.label,
        "path": event.path,
        "old_path": event.old_path,
        "type": event.type.label,
    }


@operation("watch.until", sandbox.Watch)
async def watch_until(watch: sandbox.Watch, change: str, path: str, timeout_ms: int = 10000) -> Result:
    end = time.monotonic() + timeout_ms / 1000
    while True:
        event = _event(await watch.next(timeout=max(0.001, end - time.monotonic())))
        if event["change"] == change and event["path"] == path:
            return Result(event)


@operation("watch.next", sandbox.Watch)
async def watch_next(watch: sandbox.Watch, timeout_ms: int = 0) -> Result:
    return Result(_event(await watch.next(timeout=timeout_ms / 1000 if timeout_ms else None)))
