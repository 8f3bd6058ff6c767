"""A web service with a warm pool inside: every POST / runs its body as a shell script in a sandbox of its own.

usage: 5_web_server.py [PORT]        without a port it serves three requests of its own and ends
"""

import asyncio
import sys
import urllib.request
from collections.abc import Awaitable, Callable

from sandbox import Runtime, SandboxError

MOST = 1 << 20
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def service(runtime: Runtime) -> Handle:
    async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        request = (await reader.readline()).decode("latin-1")
        length = 0
        while (line := (await reader.readline()).decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if not request.startswith("POST / ") or length > MOST:
            return 400, b"POST a script to /\n"
        script = (await reader.readexactly(length)).decode()
        # Taken from the pool in microseconds; destroyed afterwards, whatever the script did to it.
        async with runtime.create() as box:
            result = await box.process.exec(script, timeout=10, merge_stderr=True)
        return 200, result.stdout

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, body = await asyncio.wait_for(answer(reader), 30)
        except (ValueError, EOFError):
            status, body = 400, b"bad request\n"
        except (SandboxError, asyncio.TimeoutError) as error:
            status, body = 503, f"{error}\n".encode()
        writer.write(b"HTTP/1.1 %d -\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    return handle


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    async with Runtime.open(warm=4) as runtime:
        await runtime.wait_warm()
        async with await asyncio.start_server(service(runtime), "127.0.0.1", port) as server:
            if port:
                print(f"try: curl --data 'echo hello; id' http://127.0.0.1:{port}/")
                await server.serve_forever()
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

            def post(script: str) -> str:
                return str(urllib.request.urlopen(url, script.encode(), timeout=30).read().decode())

            scripts = ["echo $((6 * 7))", "id -un", "touch /tmp/mine; ls /tmp"]
            answers = await asyncio.gather(*(asyncio.to_thread(post, script) for script in scripts))
            for script, text in zip(scripts, answers, strict=True):
                print(f"{script} -> {text}", end="")
            print("from the pool:", sum(pool.hits for pool in await runtime.pools()))


asyncio.run(main())
