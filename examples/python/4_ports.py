"""A web server inside, without a network: reached through a socket, and through a port of this host."""

import asyncio
import urllib.request

from sandbox import Runtime


async def main() -> None:
    async with Runtime.open() as runtime, runtime.create() as box:
        await box.fs.write("/root/index.html", "served from a sandbox\n")
        async with box.process.spawn(["python3", "-m", "http.server", "8000"], merge_stderr=True):
            reader, writer = await box.net.open_connection(8000, timeout=20)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            print(answer.split(b"\r\n")[0].decode(), "through a socket")
            writer.close()

            port = await box.net.expose(8000)
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(port.url).read())
            print(page.decode(), end="")


asyncio.run(main())
