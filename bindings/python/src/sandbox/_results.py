"""Results of ended operations: each function takes one kind of result out of an sbx_op, once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ctypes import byref, c_int, c_uint64, c_void_p, sizeof
from typing import Any, TypeVar

from . import _abi, _json
from ._handle import Handle, bytes_of, raise_error, take_owned, text_of
from .errors import InternalError
from .values import (
    Change,
    Event,
    ExecResult,
    ExitCause,
    ExitStatus,
    ExposedPort,
    FileEvent,
    FileInfo,
    FileType,
    OutputChunk,
    SandboxStats,
    Stream,
    TransferSummary,
)

T = TypeVar("T")


def nothing(op: int) -> None:
    error = c_void_p()
    if _abi.op_take(op, byref(error)):
        raise_error(error)


def count(op: int) -> int:
    number, error = c_uint64(), c_void_p()
    if _abi.op_take_count(op, byref(number), byref(error)):
        raise_error(error)
    return number.value


def seconds(op: int) -> float:
    return count(op) / 1e9


def optional_bytes(op: int) -> bytes | None:
    owned, error = c_void_p(), c_void_p()
    if _abi.op_take_bytes(op, byref(owned), byref(error)):
        raise_error(error)
    return take_owned(owned)


def content(op: int) -> bytes:
    return optional_bytes(op) or b""


def text(op: int) -> str:
    return content(op).decode("utf-8", "surrogateescape")


def optional_text(op: int) -> str | None:
    value = optional_bytes(op)
    return None if value is None else value.decode("utf-8", "surrogateescape")


def json_of(read: Callable[[Any], T]) -> Callable[[int], T]:
    """Takes JSON and reads one value from it."""
    return lambda op: read(_json.load(optional_bytes(op)))


def json_list_of(read: Callable[[Any], T]) -> Callable[[int], list[T]]:
    return lambda op: [read(one) for one in _json.load(optional_bytes(op))]


def event(op: int) -> Event:
    return _json.event(_json.load(optional_bytes(op)))


def _handle_taker(take: Any, free: Any) -> Callable[[int], Handle]:
    def taker(op: int) -> Handle:
        handle, error = c_void_p(), c_void_p()
        if take(op, byref(handle), byref(error)):
            raise_error(error)
        if handle.value is None:
            raise InternalError("the library gave no handle")
        return Handle(handle.value, free)

    return taker


runtime = _handle_taker(_abi.op_take_runtime, _abi.runtime_free)
client = _handle_taker(_abi.op_take_client, _abi.client_free)
sandbox = _handle_taker(_abi.op_take_sandbox, _abi.sandbox_free)
process = _handle_taker(_abi.op_take_process, _abi.process_free)
watch = _handle_taker(_abi.op_take_watch, _abi.watch_free)
events = _handle_taker(_abi.op_take_events, _abi.events_free)


def _status_fields(raw: Any) -> dict[str, Any]:
    return {
        "cause": ExitCause(raw.cause),
        "exit_code": raw.exit_code,
        "signal": raw.signal,
        "core_dumped": bool(raw.core_dumped),
        "oom_kills": raw.oom_kills,
        "stdout_bytes": raw.stdout_bytes,
        "stderr_bytes": raw.stderr_bytes,
        "stdout_dropped": raw.stdout_dropped,
        "stderr_dropped": raw.stderr_dropped,
        "wall_time": raw.wall_time_ns / 1e9,
        "user_time": raw.user_time_ns / 1e9,
        "system_time": raw.system_time_ns / 1e9,
        "max_rss": raw.max_rss,
    }


def status(op: int) -> ExitStatus:
    raw, error = _abi.ExitStatus(sizeof(_abi.ExitStatus)), c_void_p()
    if _abi.op_take_status(op, byref(raw), byref(error)):
        raise_error(error)
    return ExitStatus(**_status_fields(raw))


def exec_result(op: int) -> ExecResult:
    result, error = c_void_p(), c_void_p()
    if _abi.op_take_exec(op, byref(result), byref(error)):
        raise_error(error)
    try:
        raw = _abi.ExitStatus(sizeof(_abi.ExitStatus))
        _abi.exec_result_status(result, byref(raw))
        return ExecResult(
            **_status_fields(raw),
            stdout=bytes_of(_abi.exec_result_stdout(result)),
            stderr=bytes_of(_abi.exec_result_stderr(result)),
        )
    finally:
        _abi.exec_result_free(byref(result))


def output(op: int) -> OutputChunk | None:
    stream, owned, error = c_int(), c_void_p(), c_void_p()
    if _abi.op_take_output(op, byref(stream), byref(owned), byref(error)):
        raise_error(error)
    data = take_owned(owned)
    return None if data is None else OutputChunk(Stream(stream.value), data)


def stats(op: int) -> SandboxStats:
    raw, error = _abi.Stats(sizeof(_abi.Stats)), c_void_p()
    if _abi.op_take_stats(op, byref(raw), byref(error)):
        raise_error(error)
    return SandboxStats(
        cpu_time=raw.cpu_time_ns / 1e9,
        memory=raw.memory,
        memory_peak=raw.memory_peak,
        memory_limit=raw.memory_limit,
        pids=raw.pids,
        network_rx_bytes=raw.network_rx_bytes,
        network_tx_bytes=raw.network_tx_bytes,
        disk_used=raw.disk_used,
        inodes_used=raw.inodes_used,
        oom_kills=raw.oom_kills,
        uptime=raw.uptime_ns / 1e9,
    )


def transfer(op: int) -> TransferSummary:
    raw, error = _abi.Transfer(sizeof(_abi.Transfer)), c_void_p()
    if _abi.op_take_transfer(op, byref(raw), byref(error)):
        raise_error(error)
    return TransferSummary(raw.entries, raw.bytes, raw.skipped)


def files(op: int) -> list[FileInfo]:
    found, error = c_void_p(), c_void_p()
    if _abi.op_take_files(op, byref(found), byref(error)):
        raise_error(error)
    try:
        raw = _abi.FileInfo(sizeof(_abi.FileInfo))
        result = []
        for index in range(_abi.file_list_size(found)):
            if _abi.file_list_at(found, index, byref(raw), byref(error)):
                raise_error(error)
            result.append(
                FileInfo(
                    text_of(raw.path),
                    FileType(raw.type),
                    raw.size,
                    raw.mode,
                    raw.uid,
                    raw.gid,
                    raw.modified_ns,
                    text_of(raw.target),
                )
            )
        return result
    finally:
        _abi.file_list_free(byref(found))


def file(op: int) -> FileInfo:
    return files(op)[0]


def file_event(op: int) -> FileEvent:
    raw, error = _abi.FileEvent(sizeof(_abi.FileEvent)), c_void_p()
    if _abi.op_take_file_event(op, byref(raw), byref(error)):
        raise_error(error)
    return FileEvent(Change(raw.change), FileType(raw.type), text_of(raw.path), text_of(raw.old_path))


def env(op: int) -> dict[str, str]:
    found, error = c_void_p(), c_void_p()
    if _abi.op_take_env(op, byref(found), byref(error)):
        raise_error(error)
    try:
        raw = _abi.Pair()
        result = {}
        for index in range(_abi.env_list_size(found)):
            if _abi.env_list_at(found, index, byref(raw), byref(error)):
                raise_error(error)
            result[text_of(raw.name)] = text_of(raw.value)
        return result
    finally:
        _abi.env_list_free(byref(found))


def connection(op: int) -> socket.socket:
    fd, error = c_int(-1), c_void_p()
    if _abi.op_take_fd(op, byref(fd), byref(error)):
        raise_error(error)
    return socket.socket(fileno=fd.value)


def _port(raw: Any) -> ExposedPort:
    return ExposedPort(raw.port, raw.host_port, raw.host_address.decode("ascii", "replace"))


def port(op: int) -> ExposedPort:
    raw, error = _abi.Port(sizeof(_abi.Port)), c_void_p()
    if _abi.op_take_port(op, byref(raw), byref(error)):
        raise_error(error)
    return _port(raw)


def ports(op: int) -> list[ExposedPort]:
    found, error = c_void_p(), c_void_p()
    if _abi.op_take_ports(op, byref(found), byref(error)):
        raise_error(error)
    try:
        raw = _abi.Port(sizeof(_abi.Port))
        result = []
        for index in range(_abi.port_list_size(found)):
            if _abi.port_list_at(found, index, byref(raw), byref(error)):
                raise_error(error)
            result.append(_port(raw))
        return result
    finally:
        _abi.port_list_free(byref(found))
