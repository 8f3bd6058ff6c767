"""Files in and out: whole, by pieces of bounded size, directories, and changes as they happen."""

import asyncio
import tempfile
from pathlib import Path

from sandbox import Change, Runtime


async def main() -> None:
    async with Runtime.open() as runtime, runtime.create() as box:
        await box.fs.write("/root/numbers.txt", "3\n1\n2\n")
        await box.process.exec("sort numbers.txt >sorted.txt")
        print((await box.fs.read_text("/root/sorted.txt")).split())

        # Memory stays bounded however large the file is.
        async with box.fs.open_writer("/tmp/large") as writer:
            for number in range(16):
                await writer.write(bytes([number]) * (1 << 20))
        size = 0
        async with box.fs.open_reader("/tmp/large") as reader:
            async for piece in reader:
                size += len(piece)
        print(size >> 20, "MiB there and back")

        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "project").mkdir()
            (Path(scratch) / "project" / "main.py").write_text("print(6 * 7)\n")
            await box.fs.upload(f"{scratch}/project", "/root/project")
            print([info.path for info in await box.fs.find("/root", "**/*.py")])
            await box.process.exec("python3 main.py >answer.txt", workdir="/root/project")
            await box.fs.download("/root/project", f"{scratch}/result")
            print("the answer is", (Path(scratch) / "result" / "answer.txt").read_text(), end="")

        async with box.fs.watch("/root") as watch:
            await box.process.exec("rm sorted.txt")
            async for event in watch:
                if event.change is Change.REMOVED:
                    print("removed", event.path)
                    break


asyncio.run(main())
