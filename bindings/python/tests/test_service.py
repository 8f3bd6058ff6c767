"""What only one of the two hosts has, and what a daemon keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import sandbox
from conftest import Connect
from sandbox.sync import Runtime as SyncRuntime


async def test_pools_and_the_host() -> None:
    spec = sandbox.SandboxSpec(env={"POOL": "1"})
    async with sandbox.Runtime.open(warm=[(2, spec)], max_warm=4, launchers=2) as runtime:
        await runtime.wait_warm(timeout=60)
        (pool,) = [pool for pool in await runtime.pools() if pool.target]
        assert pool.ready == 2
        async with runtime.create(spec) as box:
            assert await box.env.get("POOL") == "1"
            assert box.spec.env == {"POOL": "1"}
            assert runtime.live == 1
            assert sum(pool.hits for pool in await runtime.pools()) == 1
        async with runtime.create(spec, cold=True, deadline=30):
            assert sum(pool.hits for pool in await runtime.pools()) == 1
        await runtime.set_warm(spec, 0)
        host = await runtime.host()
        assert host.backend == "native" and host.enforced


async def test_templates(connect: Connect) -> None:
    async with connect() as host:
        async with host.create() as box:
            await box.fs.write("/root/saved", b"in the template")
            saved = await box.save_template("a label")
            assert saved.id.startswith("tpl-") and saved.label == "a label" and saved.created is not None
        assert (await host.find_template(saved.id)).digest == saved.digest
        assert saved.id in [one.id for one in await host.templates()]
        async with host.create(sandbox.SandboxSpec(image=saved.id)) as box:
            assert await box.fs.read("/root/saved") == b"in the template"
        await host.remove_template(saved.id)
        with pytest.raises(sandbox.NotFoundError):
            await host.find_template(saved.id)


async def test_events(connect: Connect) -> None:
    async with connect() as host, host.events() as events:
        async with host.create() as box:
            box_id = box.id
        seen = []
        async for event in events:
            if event.sandbox_id == box_id:
                seen.append(event.type)
            if event.type.endswith("destroyed") and event.sandbox_id == box_id:
                break
        assert seen[0].endswith("created") and seen[-1].endswith("destroyed")
        assert events.gap is False
        with pytest.raises(sandbox.DeadlineExceededError):
            while True:
                await events.next(timeout=0.1)
        waiting = asyncio.ensure_future(events.next())
        await asyncio.sleep(0)
        events.close()
        with pytest.raises(sandbox.OperationCancelledError):
            await asyncio.wait_for(waiting, 10)


async def test_stats_pause_and_resume(connect: Connect) -> None:
    async with connect() as host, host.create() as box:
        now = await box.stats()
        assert now.pids >= 1 and now.memory_limit > 0 and now.uptime > 0
        assert 0 < await box.ping() < 5
        await box.pause()
        with pytest.raises(sandbox.FailedPreconditionError):
            await box.process.exec("true")
        await box.resume()
        assert (await box.process.exec("true")).ok
        assert box.unenforced == []


async def test_sealed_sessions(endpoint: str) -> None:
    async with sandbox.Runtime.open() as runtime, runtime.create(sandbox.SandboxSpec(sealed=True)) as box:
        assert (await box.process.exec("echo sealed")).stdout == b"sealed\n"
        assert (await box.agent_fingerprint()).startswith("sha256:")
    async with sandbox.Client.connect(endpoint) as client:
        async with client.create(sandbox.CreateRequest(ttl=60)) as box:
            with pytest.raises(sandbox.FailedPreconditionError):
                await box.agent_fingerprint()
            async with client.open(box.id, sealed=True) as sealed:
                pin = await sealed.agent_fingerprint()
            async with client.open(box.id, pin=pin) as pinned:
                assert (await pinned.process.exec("echo pinned")).stdout == b"pinned\n"
            async with client.open(box.id, pin="sha256:" + "0" * 64) as wrong:
                with pytest.raises(sandbox.UnauthenticatedError):
                    await wrong.process.exec("true")
            with pytest.raises(sandbox.InvalidArgumentError):
                await client.open(box.id, pin="sha256:xyz")


async def test_what_a_daemon_keeps(endpoint: str) -> None:
    async with sandbox.Client.connect(endpoint) as client:
        health = await client.health()
        assert health.status == "ok" and "v2" in health.protocols
        assert [profile.name for profile in await client.profiles()]
        assert "sandbox" in await client.metrics()
        request = sandbox.CreateRequest(labels={"task": "t-1"}, ttl=60, memory=64 << 20)
        async with client.create(request) as box:
            (listed,) = await client.list({"task": "t-1"})
            assert (listed.id, listed.labels, listed.ttl, listed.state) == (box.id, {"task": "t-1"}, 60, "running")
            assert listed.created is not None and listed.spec is not None and listed.spec.memory == 64 << 20
            assert (await client.find(box.id)).id == box.id
            assert await client.list({"task": "other"}) == []
            async with client.open(box.id) as other:
                await other.env.set("SHARED", "yes")
            assert await box.env.get("SHARED") == "yes"
        with pytest.raises(sandbox.NotFoundError):
            await client.find(box.id)
        with pytest.raises(sandbox.NotFoundError):
            await client.remove(box.id)
        history = await client.history(limit=1000)
        assert history.last >= len(history.events) > 0
        assert box.id in [event.sandbox_id for event in history.events]
        with pytest.raises(sandbox.NotFoundError):
            await client.create(sandbox.CreateRequest(profile="none"))


async def test_a_sandbox_outlives_its_handle(endpoint: str) -> None:
    async with sandbox.Client.connect(endpoint) as client:
        box = await client.create(sandbox.CreateRequest(ttl=60))
        await box.env.set("A", "kept")
        name = box.id
        await box.detach()
        async with client.open(name) as again:
            assert await again.env.get("A") == "kept"
            await again.close()
        with pytest.raises(sandbox.NotFoundError):
            await client.open(name)


async def test_pools_of_a_daemon(endpoint: str) -> None:
    async with sandbox.Client.connect(endpoint) as client:
        (name,) = [profile.name for profile in await client.profiles()][:1]
        await client.set_warm(name, 1)
        await client.wait_warm(timeout=60)
        assert next(pool.ready for pool in await client.pools() if pool.profile == name) >= 1
        await client.flush(name)
        await client.set_warm(name, 0)


async def test_a_persistent_runtime_hands_its_sandboxes_on(tmp_path: Path) -> None:
    first = await sandbox.Runtime.open(state_directory=tmp_path, persistent=True, orphan_time=60)
    box = await first.create()
    await box.env.set("A", "handed on")
    name = box.id
    with pytest.raises(sandbox.AlreadyExistsError):
        await sandbox.Runtime.open(state_directory=tmp_path, persistent=True)
    await first.leave()
    async with sandbox.Runtime.open(state_directory=tmp_path, persistent=True) as second:
        (adopted,) = second.adopted()
        assert adopted.id == name
        assert await adopted.env.get("A") == "handed on"
        assert second.adopted() == []


async def test_a_runtime_can_ask_for_a_proof(tmp_path: Path) -> None:
    with pytest.raises(sandbox.FailedPreconditionError, match="sbx prove --report"):
        await sandbox.Runtime.open(state_directory=tmp_path / "state", require_proof=tmp_path / "none.json")
    with pytest.raises(sandbox.FailedPreconditionError, match="sbx prove --report"):
        SyncRuntime.open(state_directory=tmp_path / "state", require_proof=str(tmp_path / "none.json"))


def test_signing_keys() -> None:
    seed, public = sandbox.generate_signing_key()
    assert len(seed) == 32 and len(public) == 44
    assert sandbox.generate_signing_key()[0] != seed
    assert "seed" not in repr(sandbox.Tenant("me", seed))
