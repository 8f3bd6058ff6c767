"""Files: whole, by pieces, trees, changes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import resource
import tarfile
from pathlib import Path

import pytest

import sandbox
from conftest import Connect
from sandbox import Change, FileType

MIB = 1 << 20


async def test_whole_files(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        await box.fs.write("/root/a", "text ü\n")
        assert await box.fs.read("/root/a") == "text ü\n".encode()
        assert await box.fs.read_text("/root/a") == "text ü\n"
        await box.fs.append("/root/a", b"more\0")
        assert await box.fs.read_range("/root/a", 8, 100) == b"more\0"
        await box.fs.write(Path("/root/deep/er/b"), bytearray(b"x"), make_parents=True, mode=0o600)
        assert (await box.fs.stat("/root/deep/er/b")).mode == 0o600
        with pytest.raises(sandbox.AlreadyExistsError):
            await box.fs.write("/root/a", b"", exclusive=True)
        with pytest.raises(sandbox.NotFoundError):
            await box.fs.read("/root/none")
        with pytest.raises(sandbox.ResourceExhaustedError):
            await box.fs.read("/root/a", max_size=3)
        await box.fs.write("/root/empty", b"")
        assert await box.fs.read("/root/empty") == b""


async def test_names_that_are_not_utf8(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        await box.fs.write(b"/root/\xff\xfe", b"odd")
        (found,) = [info for info in await box.fs.list("/root") if info.size == 3]
        assert found.path == "\udcff\udcfe"
        assert await box.fs.read("/root/" + found.path) == b"odd"


async def test_lists_stats_and_changes_of_the_tree(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        fs = box.fs
        await fs.mkdir("/tmp/t/d")
        await fs.write("/tmp/t/f", b"12345")
        await fs.symlink("f", "/tmp/t/l")
        listed = await fs.list("/tmp/t")
        assert [(info.path, info.type) for info in listed] == [
            ("d", FileType.DIRECTORY),
            ("f", FileType.REGULAR),
            ("l", FileType.SYMLINK),
        ]
        assert (await fs.stat("/tmp/t/l")).size == 5
        assert (await fs.lstat("/tmp/t/l")).target == "f"
        assert await fs.exists("/tmp/t/f") and not await fs.exists("/tmp/t/x")
        assert (await fs.stat("/tmp/t/f")).modified > 1.6e9
        await fs.chmod("/tmp/t/f", 0o640)
        assert (await fs.stat("/tmp/t/f")).mode == 0o640
        await fs.rename("/tmp/t/f", "/tmp/t/d/g")
        assert await fs.copy("/tmp/t/d/g", "/tmp/t/h") == 5
        assert [info.path for info in await fs.find("/tmp/t", "**/[gh]")] == ["d/g", "h"]
        assert [info.path for info in await fs.find("/tmp/t", "**", type=FileType.DIRECTORY)] == ["d"]
        await fs.remove("/tmp/t/h")
        await fs.remove_all("/tmp/t")
        await fs.remove_all("/tmp/t")
        with pytest.raises(sandbox.NotFoundError):
            await fs.remove("/tmp/t")


async def test_a_large_file_passes_through_bounded_memory(connect: Connect) -> None:
    size = 64 * MIB
    spec = sandbox.SandboxSpec(memory=512 * MIB, disk=128 * MIB)
    async with connect() as host, host.create(spec) as box:
        block = bytes(range(256)) * 4096
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sent, received = hashlib.sha256(), hashlib.sha256()
        async with box.fs.open_writer("/tmp/big") as writer:
            for _ in range(size // len(block)):
                assert await writer.write(block) == len(block)
                sent.update(block)
        assert (await box.fs.stat("/tmp/big")).size == size
        total = 0
        async with box.fs.open_reader("/tmp/big") as reader:
            async for piece in reader:
                received.update(piece)
                total += len(piece)
        assert total == size
        assert sent.digest() == received.digest()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 32 * 1024, f"{grown} KiB more for a file of {size // 1024} KiB"


async def test_a_reader_reads_as_much_as_asked(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        content = bytes(range(256)) * 1024
        await box.fs.write("/tmp/f", content)
        async with box.fs.open_reader("/tmp/f") as reader:
            assert await reader.read(0) == b""
            first = await reader.read(10)
            assert first == content[: len(first)] and 0 < len(first) <= 10
            assert first + await reader.read() == content
            assert await reader.read() == b""
            assert await reader.read(5) == b""
        with pytest.raises(sandbox.FailedPreconditionError):
            await reader.read()
        async with box.fs.open_reader("/tmp/none") as reader:
            with pytest.raises(sandbox.NotFoundError):
                await reader.read()


async def test_a_writer_replaces_only_when_it_finishes(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        await box.fs.write("/tmp/f", b"old")
        with pytest.raises(KeyError):
            async with box.fs.open_writer("/tmp/f") as writer:
                await writer.write(b"new")
                raise KeyError
        assert await box.fs.read("/tmp/f") == b"old"
        async with box.fs.open_writer("/tmp/f") as writer:
            await writer.write(memoryview(b"newer"))
            assert (await writer.finish()).bytes == 5
        assert await box.fs.read("/tmp/f") == b"newer"
        with pytest.raises(sandbox.FailedPreconditionError):
            await writer.write(b"late")


async def test_a_string_of_many_megabytes_is_cut(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.fs.open_writer("/tmp/f") as writer:
            assert await writer.write("ü" * (3 * MIB)) == 6 * MIB
        assert (await box.fs.stat("/tmp/f")).size == 6 * MIB


async def test_trees_as_tar(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("dir/file")
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"data"))
        async with box.fs.open_tar_writer("/tmp/x") as writer:
            await writer.write(packed.getvalue())
            assert (await writer.finish()).entries >= 1
        assert await box.fs.read("/tmp/x/dir/file") == b"data"
        async with box.fs.open_tar_reader("/tmp/x") as reader:
            with tarfile.open(fileobj=io.BytesIO(await reader.read())) as tar:
                assert any(name.endswith("dir/file") for name in tar.getnames())


async def test_upload_and_download(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "f").write_bytes(b"up and down")
    async with connect() as host, host.create() as box:
        moved = await box.fs.upload(tmp_path / "in", "/tmp/in")
        assert moved.entries >= 2 and moved.bytes == 11
        await box.fs.download("/tmp/in", tmp_path / "out")
        assert (tmp_path / "out" / "sub" / "f").read_bytes() == b"up and down"
        await box.fs.download("/tmp/in/sub/f", str(tmp_path / "f"))
        assert (tmp_path / "f").read_bytes() == b"up and down"
        with pytest.raises(sandbox.NotFoundError):
            await box.fs.upload(tmp_path / "none", "/tmp/none")


async def test_a_watch_tells_changes(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.fs.watch("/tmp") as watch:
            await box.fs.write("/tmp/new", b"1")
            async for event in watch:
                if event.path == "/tmp/new":
                    assert event.change in (Change.CREATED, Change.RENAMED)
                    break
            await box.fs.remove("/tmp/new")
            while (event := await watch.next(timeout=10)).change is not Change.REMOVED:
                pass
            assert event.path == "/tmp/new"
            while True:
                try:
                    await watch.next(timeout=0.05)
                except sandbox.DeadlineExceededError:
                    break
        with pytest.raises(sandbox.FailedPreconditionError):
            await watch.next()


async def test_closing_a_watch_ends_its_iteration(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        watch = await box.fs.watch("/tmp")

        async def look() -> list[sandbox.FileEvent]:
            return [event async for event in watch]

        looking = asyncio.ensure_future(look())
        await asyncio.sleep(0)
        await box.env.set("A", "1")  # a round trip later the watch is waiting
        watch.close()
        watch.close()
        assert await asyncio.wait_for(looking, 10) == []
