"""What the binding costs, as JSON on standard output.

usage: bench.py [--quick] [--soak ROUNDS]
       bench.py --turns sync|asyncio      measures what it is told, see benchmarks/bindings/take-turns

env_get_us       one env.get in process, blocking, and awaited one after the other; cpu is what the calling thread spends on
                 it. Compare with env_get_floor (C++) and env_get_c of the same build, run beside it
file_mib_s       a 64 MiB file through a writer (in) and a reader (out), and how much the process grew meanwhile
parallel         200 programs at once: how late the event loop was meanwhile, and threads at most
soak             rounds of create, exec, destroy: memory and descriptors at their begin and end

Needs $SANDBOX_LIBRARY and $SANDBOX_BIN_DIR unless the package holds them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sandbox
import sandbox.sync

MIB = 1 << 20
FILE_MIB = 64
PARALLEL = 200
TURNS = sandbox.SandboxSpec(memory=1 << 30, disk=512 * MIB)


def rss_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def micros(times: list[float], cpu: float) -> dict[str, float]:
    times.sort()
    return {
        "p50": round(times[len(times) // 2] * 1e6, 1),
        "p10": round(times[len(times) // 10] * 1e6, 1),
        "p99": round(times[len(times) * 99 // 100] * 1e6, 1),
        "cpu": round(cpu / len(times) * 1e6, 1),
    }


def env_get_sync(box: sandbox.sync.Sandbox, calls: int) -> dict[str, float]:
    get, clock = box.env.get, time.perf_counter
    times, spent = [], time.thread_time()
    for _ in range(calls):
        begin = clock()
        get("HOME")
        times.append(clock() - begin)
    return micros(times, time.thread_time() - spent)


async def env_get_async(box: sandbox.Sandbox, calls: int) -> dict[str, float]:
    get, clock = box.env.get, time.perf_counter
    times, spent = [], time.thread_time()
    for _ in range(calls):
        begin = clock()
        await get("HOME")
        times.append(clock() - begin)
    return micros(times, time.thread_time() - spent)


def rates(seconds: list[float]) -> dict[str, float]:
    all_of_them = sorted(FILE_MIB / one for one in seconds)
    return {
        "median": round(statistics.median(all_of_them)),
        "best": round(all_of_them[-1]),
        "worst": round(all_of_them[0]),
    }


BLOCK = os.urandom(MIB)


async def file_in_async(box: sandbox.Sandbox) -> float:
    begin = time.perf_counter()
    async with box.fs.open_writer("/tmp/big") as writer:
        for _ in range(FILE_MIB):
            await writer.write(BLOCK)
    return time.perf_counter() - begin


async def file_out_async(box: sandbox.Sandbox) -> float:
    begin, size = time.perf_counter(), 0
    async with box.fs.open_reader("/tmp/big") as reader:
        async for piece in reader:
            size += len(piece)
    assert size == FILE_MIB * MIB
    return time.perf_counter() - begin


def file_in_sync(box: sandbox.sync.Sandbox) -> float:
    begin = time.perf_counter()
    with box.fs.open_writer("/tmp/big") as writer:
        for _ in range(FILE_MIB):
            writer.write(BLOCK)
    return time.perf_counter() - begin


def file_out_sync(box: sandbox.sync.Sandbox) -> float:
    begin, size = time.perf_counter(), 0
    with box.fs.open_reader("/tmp/big") as reader:
        for piece in reader:
            size += len(piece)
    assert size == FILE_MIB * MIB
    return time.perf_counter() - begin


async def file_async(box: sandbox.Sandbox, rounds: int) -> dict[str, Any]:
    ways: dict[str, list[float]] = {"in": [], "out": []}
    before = peak_mib()
    for _ in range(rounds):
        ways["in"].append(await file_in_async(box))
        ways["out"].append(await file_out_async(box))
    grown = peak_mib() - before
    return {**{way: rates(seconds) for way, seconds in ways.items()}, "grown_mib": round(grown, 1)}


def file_sync(box: sandbox.sync.Sandbox, rounds: int) -> dict[str, Any]:
    ways: dict[str, list[float]] = {"in": [], "out": []}
    for _ in range(rounds):
        ways["in"].append(file_in_sync(box))
        ways["out"].append(file_out_sync(box))
    return {way: rates(seconds) for way, seconds in ways.items()}


async def parallel(box: sandbox.Sandbox) -> dict[str, Any]:
    """How late a timer of 1 ms is while 200 programs run: what any other task of the loop would have felt."""
    late: list[float] = []
    most_threads = before = threads()

    async def look() -> None:
        nonlocal most_threads
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - begin - 0.001)
            most_threads = max(most_threads, threads())

    looking = asyncio.ensure_future(look())
    await asyncio.sleep(0.2)
    idle, late[:] = sorted(late), []
    begin = time.perf_counter()
    results = await asyncio.gather(*(box.process.exec(["true"]) for _ in range(PARALLEL)))
    took = time.perf_counter() - begin
    looking.cancel()
    assert all(result.ok for result in results)
    late.sort()
    return {
        "seconds": round(took, 3),
        "late_ms": {
            "p50": round(late[len(late) // 2] * 1e3, 2),
            "p99": round(late[len(late) * 99 // 100] * 1e3, 2),
            "max": round(late[-1] * 1e3, 2),
            "samples": len(late),
            "idle_p99": round(idle[len(idle) * 99 // 100] * 1e3, 2),
        },
        "threads": {"before": before, "most": most_threads},
    }


async def soak(runtime: sandbox.Runtime, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The first tenth warms the allocator's and the interpreter's caches; what grows after it is a leak."""

    async def one() -> None:
        async with runtime.create() as box:
            assert (await box.process.exec(["true"])).ok

    warm_up = max(20, rounds // 10)
    for _ in range(warm_up):
        await one()
    memory, open_before, begin = rss_kib(), descriptors(), time.monotonic()
    for number in range(rounds):
        await one()
        if number % 500 == 499:
            say(f"round {number + 1}: {rss_kib()} KiB, {descriptors()} descriptors")
    end = time.monotonic() + 5
    while descriptors() > open_before and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return {
        "rounds": rounds,
        "per_second": round(rounds / (time.monotonic() - begin)),
        "memory_kib": {"begin": memory, "end": rss_kib()},
        "descriptors": {"begin": open_before, "end": descriptors()},
    }


async def measure_async(figures: dict[str, Any], quick: bool) -> None:
    spec = sandbox.SandboxSpec(memory=1 << 30, disk=512 * MIB, pids=2048)
    async with sandbox.Runtime.open() as runtime, runtime.create(spec) as box:
        figures["env_get_us"]["asyncio"] = await env_get_async(box, 3000 if quick else 20000)
        figures["file_mib_s"]["asyncio"] = await file_async(box, 3 if quick else 7)
        figures["parallel"] = await parallel(box)


def measure_sync(figures: dict[str, Any], quick: bool) -> None:
    spec = sandbox.SandboxSpec(memory=1 << 30, disk=512 * MIB)
    with sandbox.sync.Runtime.open() as runtime, runtime.create(spec) as box:
        figures["env_get_us"]["sync"] = env_get_sync(box, 3000 if quick else 20000)
        figures["file_mib_s"]["sync"] = file_sync(box, 3 if quick else 7)


async def measure_soak(figures: dict[str, Any], rounds: int) -> None:
    async with sandbox.Runtime.open(warm=4) as runtime:
        figures["soak"] = await soak(runtime, rounds, lambda line: print(line, file=sys.stderr, flush=True))


async def turns_async() -> None:
    async with sandbox.Runtime.open() as runtime, runtime.create(TURNS) as box:
        whole, before = BLOCK * FILE_MIB, peak_mib()
        print("ready", flush=True)
        for line in sys.stdin:  # between two turns nothing else is to run
            begin, (what, *count) = time.perf_counter(), line.split()
            if what == "env":
                figure = (await env_get_async(box, int(count[0])))["p50"]
            elif what in ("in", "out"):
                figure = FILE_MIB / await (file_in_async if what == "in" else file_out_async)(box)
            elif what == "write":
                await box.fs.write("/tmp/big", whole)
                figure = FILE_MIB / (time.perf_counter() - begin)
            elif what == "read":
                assert len(await box.fs.read("/tmp/big")) == len(whole)
                figure = FILE_MIB / (time.perf_counter() - begin)
            else:
                figure = peak_mib() - before
            print(figure, flush=True)


def turns_sync() -> None:
    with sandbox.sync.Runtime.open() as runtime, runtime.create(TURNS) as box:
        whole, before = BLOCK * FILE_MIB, peak_mib()
        print("ready", flush=True)
        for line in sys.stdin:
            begin, (what, *count) = time.perf_counter(), line.split()
            if what == "env":
                figure = env_get_sync(box, int(count[0]))["p50"]
            elif what in ("in", "out"):
                figure = FILE_MIB / (file_in_sync if what == "in" else file_out_sync)(box)
            elif what == "write":
                box.fs.write("/tmp/big", whole)
                figure = FILE_MIB / (time.perf_counter() - begin)
            elif what == "read":
                assert len(box.fs.read("/tmp/big")) == len(whole)
                figure = FILE_MIB / (time.perf_counter() - begin)
            else:
                figure = peak_mib() - before
            print(figure, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the Python binding costs, as JSON.")
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument(
        "--soak", type=int, default=0, metavar="ROUNDS", help="create, exec, destroy so often, and nothing else"
    )
    parser.add_argument("--turns", choices=["sync", "asyncio"], help="measure what standard input says, see take-turns")
    arguments = parser.parse_args()
    if arguments.turns:
        return turns_sync() if arguments.turns == "sync" else asyncio.run(turns_async())
    figures: dict[str, Any] = {"python": sys.version.split()[0], "library": sandbox.__version__}
    if arguments.soak:
        asyncio.run(measure_soak(figures, arguments.soak))
    else:
        figures |= {"env_get_us": {}, "file_mib_s": {}}
        measure_sync(figures, arguments.quick)
        asyncio.run(measure_async(figures, arguments.quick))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
