"""What the C side lends and gives is held as long as needed, and given back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sandbox
import sandbox.sync
from conftest import Connect

ROUNDS = 3000
BYTES_OF_EACH = 16 << 10


def rss() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.fixture
def eager_collector() -> Iterator[None]:
    """The garbage collector runs at every second allocation: what only a C pointer holds is gone at once."""
    before = gc.get_threshold()
    gc.set_threshold(2, 2, 2)
    yield
    gc.set_threshold(*before)


async def test_arguments_live_as_long_as_their_call(connect: Connect, eager_collector: None) -> None:
    labels = {f"key{number}": f"value {number}" for number in range(20)}
    spec = sandbox.SandboxSpec(env=labels, hostname="h" * 30, workdir="/tmp")
    async with connect() as host, host.create(spec) as box:
        listed = await box.env.list()
        assert {name: listed[name] for name in labels} == labels
        for number in range(20):
            words = [f"{word}-{number}" * 10 for word in range(50)]
            done = await box.process.exec(["printf", "%s\n", *words], env={f"V{number}": "x" * 100}, workdir="/tmp")
            assert done.stdout_text.split() == words
            done = await box.process.exec(f"cat; printenv V{number}", env={f"V{number}": "y" * 100}, stdin=b"z" * 1000)
            assert done.stdout == b"z" * 1000 + b"y" * 100 + b"\n"
            await box.fs.write(f"/tmp/{number}", bytearray(b"w" * 5000))
            assert await box.fs.read(f"/tmp/{number}") == b"w" * 5000


def test_requests_of_a_client_live_as_long_as_their_call(endpoint: str, eager_collector: None) -> None:
    with sandbox.sync.Client.connect(endpoint) as client:
        for number in range(5):
            labels = {f"key{each}": f"{number} {each}" * 5 for each in range(20)}
            with client.create(sandbox.CreateRequest(labels=labels, spec=sandbox.SandboxSpec(env=labels))) as box:
                assert dict(client.find(box.id).labels) == labels
                assert len(client.list(labels)) == 1
                assert box.env.get("key3") == labels["key3"]


@pytest.mark.parametrize("what", ["results", "errors", "lists", "cancelled reads"])
def test_nothing_piles_up(what: str) -> None:
    with sandbox.sync.Runtime.open() as runtime, runtime.create() as box:
        box.env.set("BIG", "b" * BYTES_OF_EACH)
        box.fs.write("/tmp/big", b"f" * BYTES_OF_EACH)
        for number in range(20):
            box.fs.write(f"/tmp/{'n' * 200}{number}", b"")
        watch = box.fs.watch("/tmp")

        def error() -> None:
            with pytest.raises(sandbox.NotFoundError):
                box.fs.read("/tmp/" + ("x" * 200 + "/") * 10)

        def late() -> None:
            with pytest.raises(sandbox.DeadlineExceededError):
                watch.next(timeout=0)

        calls: dict[str, list[Callable[[], object]]] = {
            "results": [lambda: box.env.get("BIG"), lambda: box.fs.read("/tmp/big")],
            "errors": [error],
            "lists": [lambda: box.fs.list("/tmp"), lambda: box.env.list()],
            "cancelled reads": [late],
        }
        for _ in range(ROUNDS // 5):
            for call in calls[what]:
                call()
        before = rss()
        for _ in range(ROUNDS):
            for call in calls[what]:
                call()
        # One of these kept by each round would be more than a kilobyte thousands of times.
        assert rss() - before < 2 << 20
