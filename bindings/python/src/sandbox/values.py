"""What goes in and what comes out: plain values without a connection to any sandbox.

Times are seconds (float), sizes bytes.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Change",
    "CreateRequest",
    "Event",
    "EventHistory",
    "ExecResult",
    "ExitCause",
    "ExitStatus",
    "ExposedPort",
    "FileEvent",
    "FileInfo",
    "FileType",
    "Health",
    "HostReport",
    "Network",
    "OutputChunk",
    "PoolInfo",
    "ProfileInfo",
    "PrunedLayer",
    "SandboxInfo",
    "SandboxSpec",
    "SandboxStats",
    "Stream",
    "TemplateInfo",
    "Tenant",
    "TerminalSize",
    "TransferSummary",
]


class _OpenEnum(enum.IntEnum):
    """Numbers of a newer library that this package does not know become UNKNOWN instead of an exception."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls.__members__.get("UNKNOWN")

    @property
    def label(self) -> str:
        """The name that all languages share."""
        return self.name.lower()


class Network(enum.IntEnum):
    """What a sandbox's network reaches."""

    NONE = 0
    """Loopback only. Ports inside are still reachable through ``net.connect`` and ``net.expose``."""
    BRIDGE = 1
    """Public addresses only; no host, neighbours, private or metadata addresses."""


class ExitCause(_OpenEnum):
    """Why a program ended."""

    UNKNOWN = 0
    EXITED = 1
    """By itself, with ``exit_code``."""
    SIGNALLED = 2
    """By a signal from inside the sandbox."""
    TIMED_OUT = 3
    """It ran past its timeout; its group was killed."""
    OUT_OF_MEMORY = 4
    """The kernel killed it at the sandbox's memory limit."""
    LIMIT_HIT = 5
    """CPU time, file size or a forbidden system call; ``signal`` says which."""
    CANCELLED = 6
    """Killed because its caller asked."""


class FileType(_OpenEnum):
    UNKNOWN = 0
    REGULAR = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER = 6
    BLOCK = 7


class Change(_OpenEnum):
    """What happened to a file."""

    UNKNOWN = 0
    CREATED = 1
    MODIFIED = 2
    REMOVED = 3
    RENAMED = 4
    ATTRIBUTES = 5
    OVERFLOW = 6
    """Events were lost: look again."""


class Stream(enum.IntEnum):
    """Where output came from."""

    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True)
class SandboxSpec:
    """What a sandbox is made of. Two equal specs share one warm pool, any difference makes another.

    The default is the locked-down one: host image, no network, read-only root. A limit of 0 is its default: 512 MiB of
    memory, one CPU, 256 processes, 1024 open files, 256 MiB and 65536 inodes of disk.
    """

    image: str = "host"
    """``"host"``, a template ``"tpl-…"``, or a path to a directory or tar archive."""
    memory: int = 0
    cpus: float = 0
    pids: int = 0
    open_files: int = 0
    disk: int = 0
    inodes: int = 0
    network: Network = Network.NONE
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    """Default ``/root``."""
    hostname: str = ""
    """Default ``sandbox``."""
    writable_root: bool = False
    backend: str = ""
    """Default ``native``."""
    user: str = ""
    """Pools are never shared between users."""
    sealed: bool = False
    """Every byte between this handle and the agent inside end to end: X25519, AES-256-GCM."""
    allow_unenforced_limits: bool = False
    """Weakens: create even where this host cannot enforce a limit; ``Sandbox.unenforced`` says what is missing."""


@dataclass(frozen=True)
class CreateRequest:
    """What to ask a daemon for: a spec, or a profile or template of the daemon with a few changes. Zero: as the profile says."""

    profile: str = ""
    """Of the daemon's configuration; empty: ``default``."""
    template: str = ""
    spec: SandboxSpec | None = None
    """In place of profile and template."""
    memory: int = 0
    cpus: float = 0
    storage: int = 0
    ttl: int = 0
    """How many seconds the sandbox outlives its last session; 0: it ends with the session."""
    labels: Mapping[str, str] = field(default_factory=dict)
    sealed: bool = False


@dataclass(frozen=True)
class Tenant:
    """Who a client says it is to a daemon with several tenants. The limits are part of what is signed; 0: none."""

    name: str
    seed: bytes = field(repr=False)
    """The private half, 32 bytes: see :func:`sandbox.generate_signing_key`."""
    max_concurrent: int = 0
    max_ttl: int = 0
    max_templates: int = 0


@dataclass(frozen=True)
class TerminalSize:
    """In character cells."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True)
class ExitStatus:
    """How a program ended: data, not an error."""

    cause: ExitCause
    exit_code: int
    """Valid for ``ExitCause.EXITED``."""
    signal: int
    """What ended it, for every other cause."""
    core_dumped: bool
    oom_kills: int
    """In the sandbox while it ran, of any process."""
    stdout_bytes: int
    """Written by the program."""
    stderr_bytes: int
    stdout_dropped: int
    """Of these, beyond ``max_output``."""
    stderr_dropped: int
    wall_time: float
    user_time: float
    system_time: float
    max_rss: int

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.cause is ExitCause.EXITED and self.exit_code == 0

    @property
    def shell_code(self) -> int:
        """What a shell would say: ``exit_code``, or 128 + ``signal``; 124 when timed out."""
        if self.cause is ExitCause.EXITED:
            return self.exit_code
        return 124 if self.cause is ExitCause.TIMED_OUT else 128 + self.signal


@dataclass(frozen=True)
class ExecResult(ExitStatus):
    """Status and collected output of a program that ended."""

    stdout: bytes
    stderr: bytes

    @property
    def stdout_text(self) -> str:
        """UTF-8; what is not becomes U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def stderr_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


@dataclass(frozen=True)
class OutputChunk:
    """One piece of output, as it arrived."""

    stream: Stream
    data: bytes

    @property
    def text(self) -> str:
        """UTF-8; what is not, a character cut at the piece's end included, becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class FileInfo:
    path: str
    """list: name; find: below the root asked; stat: as asked."""
    type: FileType
    size: int
    mode: int
    """Permission bits."""
    uid: int
    gid: int
    modified_ns: int
    """Since the Unix epoch."""
    target: str
    """Of a symlink."""

    @property
    def modified(self) -> float:
        """Seconds since the Unix epoch."""
        return self.modified_ns / 1e9


@dataclass(frozen=True)
class FileEvent:
    change: Change
    type: FileType
    path: str
    """Absolute, inside."""
    old_path: str
    """``Change.RENAMED`` only."""


@dataclass(frozen=True)
class TransferSummary:
    """What a transfer moved."""

    entries: int
    bytes: int
    skipped: int
    """Devices, sockets and FIFOs left out."""


@dataclass(frozen=True)
class ExposedPort:
    """A port of this host that leads to one inside."""

    port: int
    host_port: int
    host_address: str

    @property
    def url(self) -> str:
        return f"http://{self.host_address}:{self.host_port}"


@dataclass(frozen=True)
class SandboxStats:
    """What a sandbox uses now."""

    cpu_time: float
    memory: int
    """Charged now, page cache and tmpfs included."""
    memory_peak: int
    memory_limit: int
    pids: int
    network_rx_bytes: int
    network_tx_bytes: int
    disk_used: int
    inodes_used: int
    oom_kills: int
    uptime: float


@dataclass(frozen=True)
class PoolInfo:
    """One warm pool. The last three are empty in an embedded runtime."""

    profile: str
    target: int
    """How many the pool now wants ready."""
    ready: int
    warming: int
    hits: int
    """Creates that were served from it."""
    misses: int
    replaced: int
    """Members found unhealthy."""
    failures: int
    refill_time: float
    """Of the latest refill."""
    image: str = ""
    memory: str = ""
    cpus: float = 0


@dataclass(frozen=True)
class TemplateInfo:
    """Everything writable of a sandbox, saved as a layer over the image it came from."""

    id: str
    label: str
    digest: str
    size: int
    """At rest, compressed."""
    image: str
    """What lies underneath."""
    writable_root: bool
    created: datetime.datetime | None
    limits: Mapping[str, float]
    """Of the sandbox it was saved from."""
    backend: str = ""
    identity: str = ""
    last_used: datetime.datetime | None = None


@dataclass(frozen=True)
class PrunedLayer:
    """An unpacked layer of the state directory that nothing used."""

    digest: str
    """SHA-256 of the unpacked archive or template, 64 hex digits."""
    size: int
    """On disk."""
    last_used: datetime.datetime | None


@dataclass(frozen=True)
class SandboxInfo:
    """A sandbox as its daemon lists it."""

    id: str
    image: str
    state: str
    """creating, running, paused, disconnected, stopping or stopped."""
    created: datetime.datetime | None
    ttl: int
    profile: str
    template: str
    labels: Mapping[str, str]
    spec: SandboxSpec | None
    unenforced: Sequence[str]


@dataclass(frozen=True)
class ProfileInfo:
    """A kind of sandbox that a daemon offers; sizes as configured."""

    name: str
    image: str
    memory: str
    cpus: float
    storage: str


@dataclass(frozen=True)
class Event:
    """Something that happened. A runtime's events have the id 0 and no identity."""

    id: int
    type: str
    """``"sandbox.created"``, …"""
    sandbox_id: str
    identity: str
    time: datetime.datetime | None
    data: Any
    """JSON, or None."""


@dataclass(frozen=True)
class EventHistory:
    """Past events, oldest first."""

    events: Sequence[Event]
    complete: bool
    """False: some after the asked point were dropped already."""
    last: int
    """Id of the newest event there is."""


@dataclass(frozen=True)
class Health:
    status: str
    sandboxes: int
    pools: Sequence[PoolInfo]
    node_id: str
    version: str
    protocols: Sequence[str]


@dataclass(frozen=True)
class HostReport:
    """What this host can do, measured."""

    backend: str
    rootless: bool
    enforced: Sequence[str]
    unenforced: Sequence[str]
