"""The JSON texts of the library into values: docs/PROTOCOL.md, "Values as JSON"."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from .errors import ProtocolError
from .values import (
    Event,
    EventHistory,
    Health,
    HostReport,
    Network,
    PoolInfo,
    ProfileInfo,
    PrunedLayer,
    SandboxInfo,
    SandboxSpec,
    TemplateInfo,
)

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def load(raw: bytes | None) -> Any:
    if raw is None:
        raise ProtocolError("an answer is missing")
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ProtocolError(f"an answer is not JSON: {error}") from None


def time_of(value: Any) -> datetime.datetime | None:
    """RFC 3339; None for what is none, and for the year 1, which stands for never."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None or value.startswith("0001-"):
        return None
    moment = datetime.datetime.fromisoformat(found[1] + ("+00:00" if found[3] == "Z" else found[3]))
    return moment.replace(microsecond=int((found[2] or "0")[:6].ljust(6, "0")))


def _image(value: Any) -> str:
    if isinstance(value, dict):
        for kind in ("template", "directory", "tar"):
            if kind in value:
                return str(value[kind])
    return str(value or "host")


def spec(value: dict[str, Any]) -> SandboxSpec:
    limits = value.get("limits") or {}
    return SandboxSpec(
        image=_image(value.get("image")),
        memory=limits.get("memory", 0),
        cpus=limits.get("cpus", 0),
        pids=limits.get("pids", 0),
        open_files=limits.get("open_files", 0),
        disk=limits.get("disk", 0),
        inodes=limits.get("inodes", 0),
        network=Network.BRIDGE if value.get("network") == "bridge" else Network.NONE,
        env=dict(value.get("env") or {}),
        workdir=value.get("workdir", ""),
        hostname=value.get("hostname", ""),
        writable_root=bool(value.get("writable_root")),
        backend=value.get("backend", ""),
        user=value.get("user", ""),
        sealed=bool(value.get("sealed")),
        allow_unenforced_limits=bool(value.get("allow_unenforced_limits")),
    )


def template(value: dict[str, Any]) -> TemplateInfo:
    return TemplateInfo(
        id=value["id"],
        label=value.get("label", ""),
        digest=value.get("digest", ""),
        size=value.get("size", 0),
        image=_image(value.get("base")),
        writable_root=bool(value.get("writable_root")),
        created=time_of(value.get("created_at")),
        limits=dict(value.get("limits") or {}),
        backend=value.get("backend", ""),
        identity=value.get("identity", ""),
        last_used=time_of(value.get("last_used")),
    )


def pruned_layer(value: dict[str, Any]) -> PrunedLayer:
    return PrunedLayer(digest=value["digest"], size=value.get("size", 0), last_used=time_of(value.get("last_used")))


def sandbox(value: dict[str, Any]) -> SandboxInfo:
    return SandboxInfo(
        id=value["id"],
        image=value.get("image", ""),
        state=value.get("state", ""),
        created=time_of(value.get("created")),
        ttl=value.get("ttl", 0),
        profile=value.get("profile", ""),
        template=value.get("template", ""),
        labels=dict(value.get("labels") or {}),
        spec=spec(value["spec"]) if value.get("spec") else None,
        unenforced=tuple(value.get("unenforced") or ()),
    )


def pool(value: dict[str, Any]) -> PoolInfo:
    return PoolInfo(
        profile=value.get("profile", ""),
        target=value.get("target", 0),
        ready=value.get("ready", 0),
        warming=value.get("warming", 0),
        hits=value.get("hits", 0),
        misses=value.get("misses", 0),
        replaced=value.get("replaced", 0),
        failures=value.get("failures", 0),
        refill_time=value.get("refill_ms", 0) / 1000,
        image=value.get("image", ""),
        memory=str(value.get("memory", "")),
        cpus=value.get("cpu", 0),
    )


def profile(value: dict[str, Any]) -> ProfileInfo:
    return ProfileInfo(
        name=value["name"],
        image=value.get("image", ""),
        memory=str(value.get("memory", "")),
        cpus=value.get("cpu", 0),
        storage=str(value.get("storage", "")),
    )


def event(value: dict[str, Any]) -> Event:
    return Event(
        id=value.get("id", 0),
        type=value.get("type", ""),
        sandbox_id=value.get("sandbox_id", ""),
        identity=value.get("identity", ""),
        time=time_of(value.get("timestamp")),
        data=value.get("data"),
    )


def history(value: dict[str, Any]) -> EventHistory:
    return EventHistory(
        events=tuple(event(one) for one in value.get("events") or ()),
        complete=bool(value.get("complete", True)),
        last=value.get("seq", 0),
    )


def health(value: dict[str, Any]) -> Health:
    return Health(
        status=value.get("status", ""),
        sandboxes=value.get("sandboxes", 0),
        pools=tuple(pool(one) for one in value.get("pool") or ()),
        node_id=value.get("node_id", ""),
        version=value.get("version", ""),
        protocols=tuple(value.get("protocols") or ()),
    )


def host(value: dict[str, Any]) -> HostReport:
    return HostReport(
        backend=value.get("backend", ""),
        rootless=bool(value.get("rootless")),
        enforced=tuple(value.get("enforced") or ()),
        unenforced=tuple(value.get("unenforced") or ()),
    )
