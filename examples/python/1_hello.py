"""Runs a command in a sandbox of this process: no daemon, no container engine, no root."""

import asyncio

from sandbox import Runtime


async def main() -> None:
    async with Runtime.open() as runtime, runtime.create() as box:
        result = await box.process.exec("echo hello from $(hostname)")
        print(result.stdout_text, end="")


asyncio.run(main())
