"""What an agent does: a hundred commands at once in one workspace, then a look at what went wrong."""

import asyncio
import time

from sandbox import ExecResult, Runtime, Sandbox, SandboxSpec

CHECK = """\
import sys
number = int(sys.argv[1])
assert number % 10 != 3, f"{number} ends with 3"
print(number * number)
"""


async def attempt(box: Sandbox, number: int) -> ExecResult:
    return await box.process.exec(["python3", "check.py", str(number)], timeout=60)


async def main() -> None:
    spec = SandboxSpec(pids=1024, memory=1 << 30)
    async with Runtime.open() as runtime, runtime.create(spec) as box:
        await box.fs.write("/root/check.py", CHECK)
        begin = time.monotonic()
        results = await asyncio.gather(*(attempt(box, number) for number in range(100)))
        took = time.monotonic() - begin
        failed = [number for number, result in enumerate(results) if not result.ok]
        print(f"100 commands, {len(failed)} failed: {failed}")
        print("the first says:", results[failed[0]].stderr_text.splitlines()[-1])

        # It learns, and tries those again.
        await box.fs.write("/root/check.py", CHECK.replace("assert", "# assert"))
        again = await asyncio.gather(*(attempt(box, number) for number in failed))
        assert all(result.ok for result in again)
        print("all well after the repair")
        if took > 60:
            print(f"(slow machine: {took:.0f} s)")


asyncio.run(main())
