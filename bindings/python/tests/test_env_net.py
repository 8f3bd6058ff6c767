"""Environment and ports."""

from __future__ import annotations

import asyncio
import socket

import pytest

import sandbox
from conftest import Connect

# A tiny server of the sandbox's own: Python is part of the host image.
SERVER = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", 8000))
print("up", flush=True)
while True:
    peer, _ = listener.accept()
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data.upper())
"""


async def test_environment(connect: Connect) -> None:
    async with connect() as host, host.create(sandbox.SandboxSpec(env={"FIRST": "1"})) as box:
        assert await box.env.get("FIRST") == "1"
        assert await box.env.get("NONE") is None
        await box.env.set("A", "line\nü")
        assert await box.env.get("A") == "line\nü"
        assert (await box.process.exec('echo "$A"')).stdout_text == "line\nü\n"
        listed = await box.env.list()
        assert listed["A"] == "line\nü" and list(listed) == sorted(listed)
        await box.env.set("EMPTY", "")
        assert await box.env.get("EMPTY") == ""
        await box.env.unset("A")
        assert await box.env.get("A") is None


async def test_ports(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn(["/usr/bin/python3", "-c", SERVER], merge_stderr=True) as server:
            first = await server.read(timeout=20)
            assert first is not None and first.text == "up\n", first
            reader, writer = await box.net.open_connection(8000)
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"HELLO"
            writer.close()
            await writer.wait_closed()

            port = await box.net.expose(8000)
            assert port.port == 8000 and port.host_port > 0 and port.url.endswith(str(port.host_port))
            assert await box.net.list() == [port]
            reader, writer = await asyncio.open_connection(port.host_address, port.host_port)
            writer.write(b"from outside")
            writer.write_eof()
            assert await reader.read() == b"FROM OUTSIDE"
            writer.close()
            await writer.wait_closed()
            await box.net.close(8000)
            assert await box.net.list() == []


async def test_connect_gives_a_socket_of_the_loop(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        async with box.process.spawn(["/usr/bin/python3", "-c", SERVER]):
            connection = await box.net.connect(8000, timeout=20)
            with connection:
                assert isinstance(connection, socket.socket) and not connection.getblocking()
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(connection, b"x")
                assert await loop.sock_recv(connection, 10) == b"X"


async def test_nobody_listens(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        with pytest.raises((sandbox.UnavailableError, sandbox.DeadlineExceededError)):
            await box.net.connect(9, timeout=0.1)
        with pytest.raises(sandbox.DeadlineExceededError):
            await box.net.expose(9, timeout=0.1)
