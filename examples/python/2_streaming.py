"""Reads a program's output while it runs, talks to it, and stops one that takes too long."""

import asyncio

from sandbox import ExitCause, Runtime, Stream


async def main() -> None:
    async with Runtime.open() as runtime, runtime.create() as box:
        async with box.process.spawn("for i in 1 2 3; do echo step $i; sleep 0.1; done; echo done >&2") as process:
            async for chunk in process:
                where = "err" if chunk.stream is Stream.STDERR else "out"
                print(f"[{where}] {chunk.text}", end="")
            print("exit code", (await process.wait()).exit_code)

        async with box.process.spawn(["cat"], open_stdin=True) as cat:
            for line in ("first\n", "second\n"):
                await cat.write(line)
                answer = await cat.read()
                print("cat says", answer.text if answer else "nothing", end="")
            cat.close_stdin()

        result = await box.process.exec("echo begun; sleep 60", timeout=1)
        assert result.cause is ExitCause.TIMED_OUT
        print("stopped after", result.stdout_text, end="")


asyncio.run(main())
