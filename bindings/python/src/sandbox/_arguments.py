"""Python values into C arguments. Everything is checked here: ctypes would cut numbers and guess types."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from ctypes import byref, pointer, sizeof
from typing import Any, SupportsIndex, Union

from . import _abi
from .errors import InvalidArgumentError
from .values import CreateRequest, FileType, Network, SandboxSpec, Tenant, TerminalSize

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Content = Union[str, bytes, bytearray, memoryview]

_EMPTY = _abi.Text(None, 0)
_UNLIMITED = 2**64 - 1


def text(value: str | bytes, what: str) -> Any:
    """Text as UTF-8; the lone surrogates that bytes came out as go in as these bytes."""
    if isinstance(value, str):
        value = _encode(value, what)
    elif not isinstance(value, bytes):
        raise TypeError(f"{what} must be str or bytes, not {type(value).__name__}")
    return _abi.Text(value, len(value))


def _encode(value: str, what: str) -> bytes:
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{what} cannot be written as UTF-8: {error.reason}") from None


def path(value: Path, what: str = "path") -> Any:
    try:
        return text(os.fspath(value), what)
    except TypeError:
        raise TypeError(f"{what} must be str, bytes or os.PathLike, not {type(value).__name__}") from None


def content(value: Content, what: str) -> Any:
    """Bytes of any kind; text as UTF-8."""
    if isinstance(value, bytes):
        return _abi.Text(value, len(value))
    if isinstance(value, str):
        return text(value, what)
    if isinstance(value, (bytearray, memoryview)):
        copy = bytes(value)
        return _abi.Text(copy, len(copy))
    raise TypeError(f"{what} must be bytes or str, not {type(value).__name__}")


def uint(value: SupportsIndex, what: str, bits: int = 64) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, not {type(value).__name__}") from None
    if not 0 <= number < 1 << bits:
        raise InvalidArgumentError(f"{what} must be between 0 and {(1 << bits) - 1}, not {number}")
    return number


def int32(value: SupportsIndex, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, not {type(value).__name__}") from None
    if not -(1 << 31) <= number < 1 << 31:
        raise InvalidArgumentError(f"{what} does not fit: {number}")
    return number


def real(value: float, what: str) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number, not {type(value).__name__}")
    if not (value >= 0 and value < math.inf):
        raise InvalidArgumentError(f"{what} must be a finite number that is not negative, not {value}")
    return float(value)


def ms(value: float | None, what: str) -> int:
    """Seconds as milliseconds, rounded up; None is 0, for C the documented default."""
    if value is None:
        return 0
    seconds = real(value, what)
    if seconds > 1e12:
        raise InvalidArgumentError(f"{what} is too long: {value} s")
    return max(1, math.ceil(seconds * 1000))


def pairs(values: Mapping[str, str] | None, what: str) -> tuple[Any, int]:
    if not values:
        return None, 0
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} must be a mapping, not {type(values).__name__}")
    array = (_abi.TextPair * len(values))()
    for slot, (name, value) in zip(array, values.items(), strict=True):
        slot.name = text(name, f"a name in {what}")
        slot.value = text(value, f"{what}[{name!r}]")
    return array, len(values)


def spec(value: SandboxSpec | None) -> Any:
    """None stays None: the default."""
    if value is None:
        return None
    if not isinstance(value, SandboxSpec):
        raise TypeError(f"spec must be a SandboxSpec, not {type(value).__name__}")
    env, env_size = pairs(value.env, "env")
    return _abi.Spec(
        sizeof(_abi.Spec),
        path(value.image, "image"),
        uint(value.memory, "memory"),
        real(value.cpus, "cpus"),
        uint(value.pids, "pids", 32),
        uint(value.open_files, "open_files", 32),
        uint(value.disk, "disk"),
        uint(value.inodes, "inodes"),
        int(Network(value.network)),
        env,
        env_size,
        text(value.workdir, "workdir"),
        text(value.hostname, "hostname"),
        bool(value.writable_root),
        text(value.backend, "backend"),
        text(value.user, "user"),
        bool(value.sealed),
        bool(value.allow_unenforced_limits),
    )


def spec_pointer(value: SandboxSpec | None) -> Any:
    made = spec(value)
    return None if made is None else byref(made)


def create_options(deadline: float | None, cold: bool) -> Any:
    return byref(_abi.CreateOptions(sizeof(_abi.CreateOptions), ms(deadline, "deadline"), bool(cold)))


def create_request(value: CreateRequest | SandboxSpec | None) -> Any:
    if value is None:
        return None
    if isinstance(value, SandboxSpec):
        value = CreateRequest(spec=value)
    if not isinstance(value, CreateRequest):
        raise TypeError(f"request must be a CreateRequest or a SandboxSpec, not {type(value).__name__}")
    own = spec(value.spec)
    labels, labels_size = pairs(value.labels, "labels")
    return byref(
        _abi.CreateRequest(
            sizeof(_abi.CreateRequest),
            text(value.profile, "profile"),
            text(value.template, "template"),
            None if own is None else pointer(own),
            uint(value.memory, "memory"),
            real(value.cpus, "cpus"),
            uint(value.storage, "storage"),
            uint(value.ttl, "ttl", 63),
            labels,
            labels_size,
            bool(value.sealed),
        )
    )


def runtime_options(
    warm: int | Iterable[tuple[int, SandboxSpec]],
    max_warm: int,
    max_sandboxes: int,
    state_directory: Path | None,
    helper_directory: Path | None,
    launchers: int,
    persistent: bool,
    orphan_time: float | None,
    require_proof: Path | None,
    prune_after: float | None,
) -> Any:
    wanted: list[tuple[int, SandboxSpec | None]]
    if isinstance(warm, int):
        wanted = [(warm, None)] if warm else []
    else:
        wanted = list(warm)
    pools = (_abi.Warm * len(wanted))()
    for slot, (count, kind) in zip(pools, wanted, strict=True):
        slot.count = uint(count, "warm", 32)
        own = spec(kind)
        if own is not None:
            slot.spec = pointer(own)
    return byref(
        _abi.RuntimeOptions(
            sizeof(_abi.RuntimeOptions),
            pools if wanted else None,
            len(wanted),
            uint(max_warm, "max_warm", 32),
            uint(max_sandboxes, "max_sandboxes", 32),
            _EMPTY if state_directory is None else path(state_directory, "state_directory"),
            _EMPTY if helper_directory is None else path(helper_directory, "helper_directory"),
            uint(launchers, "launchers", 32),
            bool(persistent),
            ms(orphan_time, "orphan_time"),
            _EMPTY if require_proof is None else path(require_proof, "require_proof"),
            -1 if prune_after == 0 else ms(prune_after, "prune_after"),
        )
    )


def prune_options(unused_for: float | None, dry_run: bool) -> Any:
    return byref(
        _abi.PruneOptions(
            sizeof(_abi.PruneOptions), -1 if unused_for == 0 else ms(unused_for, "unused_for"), bool(dry_run)
        )
    )


def client_options(
    token: str | None,
    tenant: Tenant | None,
    ca_file: Path | None,
    timeout: float | None,
    reconnect: float | None,
    heartbeat: float | None,
    compress: bool,
) -> Any:
    if tenant is not None and not isinstance(tenant, Tenant):
        raise TypeError(f"tenant must be a Tenant, not {type(tenant).__name__}")
    return byref(
        _abi.ClientOptions(
            sizeof(_abi.ClientOptions),
            _EMPTY if token is None else text(token, "token"),
            _EMPTY if tenant is None else text(tenant.name, "tenant.name"),
            _EMPTY if tenant is None else content(tenant.seed, "tenant.seed"),
            0 if tenant is None else uint(tenant.max_concurrent, "tenant.max_concurrent", 32),
            0 if tenant is None else uint(tenant.max_ttl, "tenant.max_ttl", 32),
            0 if tenant is None else uint(tenant.max_templates, "tenant.max_templates", 32),
            _EMPTY if ca_file is None else path(ca_file, "ca_file"),
            ms(timeout, "timeout"),
            -1 if reconnect == 0 else ms(reconnect, "reconnect"),
            ms(heartbeat, "heartbeat"),
            bool(compress),
        )
    )


def open_options(sealed: bool, pin: str | None) -> Any:
    return byref(
        _abi.OpenOptions(sizeof(_abi.OpenOptions), bool(sealed), _EMPTY if pin is None else text(pin, "pin")),
    )


def command(
    program: str | bytes | Sequence[str | bytes],
    *,
    env: Mapping[str, str] | None = None,
    clear_env: bool = False,
    workdir: Path | None = None,
    timeout: float | None = None,
    max_output: int | None = None,
    stdin: Content | None = None,
    open_stdin: bool = False,
    pty: TerminalSize | None = None,
    merge_stderr: bool = False,
    idempotency_key: str = "",
) -> Any:
    line, argv = _EMPTY, None
    argv_size = 0
    if isinstance(program, (str, bytes)):
        if not program:
            raise InvalidArgumentError("the command is empty")
        line = text(program, "command")
    elif isinstance(program, Sequence):
        words = list(program)
        if not words:
            raise InvalidArgumentError("the command has no program")
        argv_size = len(words)
        argv = (_abi.Text * argv_size)()
        for index, word in enumerate(words):
            argv[index] = text(word, f"argument {index}")  # type: ignore[arg-type]  # a bytes went the other way
    else:
        raise TypeError(f"a command must be str or a sequence of str, not {type(program).__name__}")
    if pty is not None and not isinstance(pty, TerminalSize):
        raise TypeError(f"pty must be a TerminalSize, not {type(pty).__name__}")
    variables, variables_size = pairs(env, "env")
    if max_output is None:
        kept = 0
    else:
        # For C, 0 is the default and all ones is "none".
        kept = uint(max_output, "max_output") or _UNLIMITED
    return byref(
        _abi.Command(
            sizeof(_abi.Command),
            line,
            argv,
            argv_size,
            variables,
            variables_size,
            bool(clear_env),
            _EMPTY if workdir is None else path(workdir, "workdir"),
            ms(timeout, "timeout"),
            kept,
            None if stdin is None else pointer(content(stdin, "stdin")),
            bool(open_stdin),
            0 if pty is None else _cells(pty.rows, "rows"),
            0 if pty is None else _cells(pty.columns, "columns"),
            bool(merge_stderr),
            text(idempotency_key, "idempotency_key"),
        )
    )


def _cells(value: int, what: str) -> int:
    if uint(value, what, 16) == 0:
        raise InvalidArgumentError(f"{what} of a terminal must not be 0")
    return value


def write_options(append: bool, exclusive: bool, make_parents: bool, mode: int) -> Any:
    return byref(
        _abi.WriteOptions(
            sizeof(_abi.WriteOptions), bool(append), bool(exclusive), bool(make_parents), uint(mode, "mode", 32)
        )
    )


def find_options(kind: FileType | None, max_depth: int, max_results: int) -> Any:
    return byref(
        _abi.FindOptions(
            sizeof(_abi.FindOptions),
            0 if kind is None else int(FileType(kind)),
            uint(max_depth, "max_depth", 32),
            uint(max_results, "max_results"),
        )
    )
