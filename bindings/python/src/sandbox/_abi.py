"""The C interface, as include/sandbox/c.h declares it: every struct and function once. tests/test_abi.py compares the two.

Functions that may wait, or do work of more than microseconds, are bound so that the GIL is released meanwhile; the short
ones keep it, which is cheaper and keeps them in order.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

from . import _library

_waits, _short = _library.load()


class View(Structure):
    """sbx_view on its way out: bytes that somebody else owns."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Text(Structure):
    """sbx_view on its way in; keeps the bytes object it is made of."""

    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class Pair(Structure):
    _fields_ = [("name", View), ("value", View)]


class TextPair(Structure):
    _fields_ = [("name", Text), ("value", Text)]


class Spec(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("image", Text),
        ("memory", c_uint64),
        ("cpus", c_double),
        ("pids", c_uint32),
        ("open_files", c_uint32),
        ("disk", c_uint64),
        ("inodes", c_uint64),
        ("network", c_int),
        ("env", POINTER(TextPair)),
        ("env_size", c_size_t),
        ("workdir", Text),
        ("hostname", Text),
        ("writable_root", c_int),
        ("backend", Text),
        ("user", Text),
        ("sealed", c_int),
        ("allow_unenforced_limits", c_int),
    ]


class Warm(Structure):
    _fields_ = [("count", c_uint32), ("spec", POINTER(Spec))]


class RuntimeOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("warm", POINTER(Warm)),
        ("warm_size", c_size_t),
        ("max_warm", c_uint32),
        ("max_sandboxes", c_uint32),
        ("state_directory", Text),
        ("helper_directory", Text),
        ("launchers", c_uint32),
        ("persistent", c_int),
        ("orphan_time_ms", c_int64),
        ("require_proof", Text),
        ("prune_after_ms", c_int64),
    ]


class PruneOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("unused_for_ms", c_int64), ("dry_run", c_int)]


class CreateOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("deadline_ms", c_int64), ("cold", c_int)]


class ClientOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("token", Text),
        ("tenant", Text),
        ("tenant_seed", Text),
        ("tenant_max_concurrent", c_uint32),
        ("tenant_max_ttl_s", c_uint32),
        ("tenant_max_templates", c_uint32),
        ("ca_file", Text),
        ("timeout_ms", c_int64),
        ("reconnect_ms", c_int64),
        ("heartbeat_ms", c_int64),
        ("compress", c_int),
    ]


class CreateRequest(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("profile", Text),
        ("template_id", Text),
        ("spec", POINTER(Spec)),
        ("memory", c_uint64),
        ("cpus", c_double),
        ("storage", c_uint64),
        ("ttl_s", c_int64),
        ("labels", POINTER(TextPair)),
        ("labels_size", c_size_t),
        ("sealed", c_int),
    ]


class OpenOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("sealed", c_int), ("pin", Text)]


class Stats(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("cpu_time_ns", c_uint64),
        ("memory", c_uint64),
        ("memory_peak", c_uint64),
        ("memory_limit", c_uint64),
        ("pids", c_uint32),
        ("network_rx_bytes", c_uint64),
        ("network_tx_bytes", c_uint64),
        ("disk_used", c_uint64),
        ("inodes_used", c_uint64),
        ("oom_kills", c_uint64),
        ("uptime_ns", c_uint64),
    ]


class Command(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("line", Text),
        ("argv", POINTER(Text)),
        ("argv_size", c_size_t),
        ("env", POINTER(TextPair)),
        ("env_size", c_size_t),
        ("clear_env", c_int),
        ("workdir", Text),
        ("timeout_ms", c_int64),
        ("max_output", c_uint64),
        ("input", POINTER(Text)),
        ("open_input", c_int),
        ("rows", c_uint16),
        ("columns", c_uint16),
        ("merge_stderr", c_int),
        ("idempotency_key", Text),
    ]


class ExitStatus(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("cause", c_int),
        ("exit_code", c_int),
        ("signal", c_int),
        ("core_dumped", c_int),
        ("oom_kills", c_uint32),
        ("stdout_bytes", c_uint64),
        ("stderr_bytes", c_uint64),
        ("stdout_dropped", c_uint64),
        ("stderr_dropped", c_uint64),
        ("wall_time_ns", c_uint64),
        ("user_time_ns", c_uint64),
        ("system_time_ns", c_uint64),
        ("max_rss", c_uint64),
    ]


class FileInfo(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("path", View),
        ("type", c_int),
        ("size", c_uint64),
        ("mode", c_uint32),
        ("uid", c_uint32),
        ("gid", c_uint32),
        ("modified_ns", c_int64),
        ("target", View),
    ]


class WriteOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("append", c_int),
        ("exclusive", c_int),
        ("make_parents", c_int),
        ("mode", c_uint32),
    ]


class FindOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("type", c_int), ("max_depth", c_uint32), ("max_results", c_uint64)]


class Transfer(Structure):
    _fields_ = [("struct_size", c_size_t), ("entries", c_uint64), ("bytes", c_uint64), ("skipped", c_uint64)]


class FileEvent(Structure):
    _fields_ = [("struct_size", c_size_t), ("change", c_int), ("type", c_int), ("path", View), ("old_path", View)]


class Port(Structure):
    _fields_ = [("struct_size", c_size_t), ("port", c_uint16), ("host_port", c_uint16), ("host_address", c_char * 64)]


# A handle goes in as an integer; OUT is where a handle, op result or error comes out.
H = c_void_p
OUT = POINTER(c_void_p)
STATUS = c_int  # sbx_code

DECLARED: dict[str, Any] = {}
"""Every function below by its name, for the test that compares them with the header."""


def _bind(library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    DECLARED[name] = function
    return function


def _quick(name: str, result: Any, *arguments: Any) -> Any:
    return _bind(_short, name, result, arguments)


def _code(name: str, *arguments: Any) -> Any:
    """A short function that can fail: sbx_code f(…, sbx_error **err)."""
    return _bind(_short, name, STATUS, (*arguments, OUT))


def _start(name: str, *arguments: Any) -> Any:
    """sbx_op *f_start(…)."""
    return _bind(_waits, name, c_void_p, arguments)


def _free(name: str) -> Any:
    return _bind(_waits, name, None, (OUT,))


version = _quick("sbx_version", c_char_p)
bytes_view = _quick("sbx_bytes_view", View, H)
bytes_free = _bind(_short, "sbx_bytes_free", None, (OUT,))

error_code = _quick("sbx_error_code", c_int, H)
error_message = _quick("sbx_error_message", View, H)
error_operation = _quick("sbx_error_operation", View, H)
error_errno = _quick("sbx_error_errno", c_int, H)
error_retry = _quick("sbx_error_retry", c_int, H)
error_free = _bind(_short, "sbx_error_free", None, (OUT,))

op_done = _quick("sbx_op_done", c_int, H)
op_wait = _bind(_waits, "sbx_op_wait", STATUS, (H, c_int64, OUT))
op_cancel = _bind(_waits, "sbx_op_cancel", None, (H,))
op_notify = _code("sbx_op_notify", H, H, c_uint64)
op_free = _free("sbx_op_free")

queue_new = _code("sbx_queue_new", OUT)
queue_fd = _quick("sbx_queue_fd", c_int, H)
queue_next = _quick("sbx_queue_next", c_size_t, H, POINTER(c_uint64), c_size_t)
queue_free = _free("sbx_queue_free")

op_take = _code("sbx_op_take", H)
op_take_count = _code("sbx_op_take_count", H, POINTER(c_uint64))
op_take_bytes = _code("sbx_op_take_bytes", H, OUT)
op_take_runtime = _code("sbx_op_take_runtime", H, OUT)
op_take_client = _code("sbx_op_take_client", H, OUT)
op_take_sandbox = _code("sbx_op_take_sandbox", H, OUT)
op_take_events = _code("sbx_op_take_events", H, OUT)
op_take_stats = _code("sbx_op_take_stats", H, POINTER(Stats))
op_take_exec = _code("sbx_op_take_exec", H, OUT)
op_take_process = _code("sbx_op_take_process", H, OUT)
op_take_output = _code("sbx_op_take_output", H, POINTER(c_int), OUT)
op_take_status = _code("sbx_op_take_status", H, POINTER(ExitStatus))
op_take_transfer = _code("sbx_op_take_transfer", H, POINTER(Transfer))
op_take_files = _code("sbx_op_take_files", H, OUT)
op_take_watch = _code("sbx_op_take_watch", H, OUT)
op_take_file_event = _code("sbx_op_take_file_event", H, POINTER(FileEvent))
op_take_env = _code("sbx_op_take_env", H, OUT)
op_take_fd = _code("sbx_op_take_fd", H, POINTER(c_int))
op_take_port = _code("sbx_op_take_port", H, POINTER(Port))
op_take_ports = _code("sbx_op_take_ports", H, OUT)

runtime_open_start = _start("sbx_runtime_open_start", POINTER(RuntimeOptions))
runtime_close = _bind(_waits, "sbx_runtime_close", STATUS, (H, OUT))
runtime_close_start = _start("sbx_runtime_close_start", H)
runtime_free = _free("sbx_runtime_free")
runtime_create_start = _start("sbx_runtime_create_start", H, POINTER(Spec), POINTER(CreateOptions))
runtime_wait_warm_start = _start("sbx_runtime_wait_warm_start", H, c_int64)
runtime_set_warm_start = _start("sbx_runtime_set_warm_start", H, POINTER(Spec), c_uint32)
runtime_live = _code("sbx_runtime_live", H, POINTER(c_uint64))
runtime_pools = _bind(_waits, "sbx_runtime_pools", STATUS, (H, OUT, OUT))
runtime_templates_start = _start("sbx_runtime_templates_start", H)
runtime_find_template_start = _start("sbx_runtime_find_template_start", H, Text)
runtime_remove_template_start = _start("sbx_runtime_remove_template_start", H, Text)
runtime_prune_start = _start("sbx_runtime_prune_start", H, POINTER(PruneOptions))
runtime_host = _bind(_waits, "sbx_runtime_host", STATUS, (H, OUT, OUT))
runtime_next_adopted = _bind(_waits, "sbx_runtime_next_adopted", STATUS, (H, OUT, OUT))
runtime_leave_start = _start("sbx_runtime_leave_start", H)
runtime_events = _bind(_waits, "sbx_runtime_events", STATUS, (H, OUT, OUT))

client_connect_start = _start("sbx_client_connect_start", Text, POINTER(ClientOptions))
client_close = _bind(_waits, "sbx_client_close", STATUS, (H, OUT))
client_close_start = _start("sbx_client_close_start", H)
client_free = _free("sbx_client_free")
client_create_start = _start("sbx_client_create_start", H, POINTER(CreateRequest), POINTER(CreateOptions))
client_open_start = _start("sbx_client_open_start", H, Text, POINTER(OpenOptions))
client_remove_start = _start("sbx_client_remove_start", H, Text)
client_list_start = _start("sbx_client_list_start", H, POINTER(TextPair), c_size_t)
client_find_start = _start("sbx_client_find_start", H, Text)
client_templates_start = _start("sbx_client_templates_start", H)
client_find_template_start = _start("sbx_client_find_template_start", H, Text)
client_remove_template_start = _start("sbx_client_remove_template_start", H, Text)
client_profiles_start = _start("sbx_client_profiles_start", H)
client_pools_start = _start("sbx_client_pools_start", H)
client_set_warm_start = _start("sbx_client_set_warm_start", H, Text, c_uint32)
client_flush_start = _start("sbx_client_flush_start", H, Text)
client_wait_warm_start = _start("sbx_client_wait_warm_start", H, c_int64)
client_history_start = _start("sbx_client_history_start", H, c_uint64, c_uint32)
client_health_start = _start("sbx_client_health_start", H)
client_metrics_start = _start("sbx_client_metrics_start", H)
client_events_start = _start("sbx_client_events_start", H, c_int64)

events_next_start = _start("sbx_events_next_start", H)
events_gap = _quick("sbx_events_gap", c_int, H)
events_cancel = _bind(_waits, "sbx_events_cancel", None, (H,))
events_free = _free("sbx_events_free")

sandbox_id = _quick("sbx_sandbox_id", View, H)
sandbox_spec = _code("sbx_sandbox_spec", H, OUT)
sandbox_closed = _quick("sbx_sandbox_closed", c_int, H)
sandbox_close_start = _start("sbx_sandbox_close_start", H)
sandbox_detach_start = _start("sbx_sandbox_detach_start", H)
sandbox_free = _free("sbx_sandbox_free")
sandbox_ping_start = _start("sbx_sandbox_ping_start", H, c_int64)
sandbox_stats_start = _start("sbx_sandbox_stats_start", H)
sandbox_pause_start = _start("sbx_sandbox_pause_start", H)
sandbox_resume_start = _start("sbx_sandbox_resume_start", H)
sandbox_save_template_start = _start("sbx_sandbox_save_template_start", H, Text)
sandbox_fingerprint_start = _start("sbx_sandbox_fingerprint_start", H, c_int64)
sandbox_unenforced = _code("sbx_sandbox_unenforced", H, OUT)

exec_start = _start("sbx_exec_start", H, POINTER(Command))
exec_result_status = _quick("sbx_exec_result_status", None, H, POINTER(ExitStatus))
exec_result_stdout = _quick("sbx_exec_result_stdout", View, H)
exec_result_stderr = _quick("sbx_exec_result_stderr", View, H)
exec_result_free = _free("sbx_exec_result_free")

spawn_start = _start("sbx_spawn_start", H, POINTER(Command))
process_pid = _quick("sbx_process_pid", c_uint32, H)
process_read_start = _start("sbx_process_read_start", H)
process_write_start = _start("sbx_process_write_start", H, Text)
process_close_input = _bind(_waits, "sbx_process_close_input", STATUS, (H, OUT))
process_signal = _bind(_waits, "sbx_process_signal", STATUS, (H, c_int, OUT))
process_resize = _bind(_waits, "sbx_process_resize", STATUS, (H, c_uint16, c_uint16, OUT))
process_kill = _bind(_waits, "sbx_process_kill", STATUS, (H, OUT))
process_wait_start = _start("sbx_process_wait_start", H)
process_close = _bind(_waits, "sbx_process_close", None, (H,))
process_free = _free("sbx_process_free")

fs_read_start = _start("sbx_fs_read_start", H, Text, c_uint64)
fs_read_range_start = _start("sbx_fs_read_range_start", H, Text, c_uint64, c_uint64)
fs_write_start = _start("sbx_fs_write_start", H, Text, Text, POINTER(WriteOptions))
fs_open_reader = _bind(_waits, "sbx_fs_open_reader", STATUS, (H, Text, OUT, OUT))
fs_open_tar_reader = _bind(_waits, "sbx_fs_open_tar_reader", STATUS, (H, Text, OUT, OUT))
fs_open_writer = _bind(_waits, "sbx_fs_open_writer", STATUS, (H, Text, POINTER(WriteOptions), OUT, OUT))
fs_open_tar_writer = _bind(_waits, "sbx_fs_open_tar_writer", STATUS, (H, Text, OUT, OUT))
reader_read_start = _start("sbx_reader_read_start", H)
reader_close = _bind(_waits, "sbx_reader_close", None, (H,))
reader_free = _free("sbx_reader_free")
writer_write_start = _start("sbx_writer_write_start", H, Text)
writer_finish_start = _start("sbx_writer_finish_start", H)
writer_close = _bind(_waits, "sbx_writer_close", None, (H,))
writer_free = _free("sbx_writer_free")
fs_upload_start = _start("sbx_fs_upload_start", H, Text, Text)
fs_download_start = _start("sbx_fs_download_start", H, Text, Text)
fs_list_start = _start("sbx_fs_list_start", H, Text)
fs_find_start = _start("sbx_fs_find_start", H, Text, Text, POINTER(FindOptions))
fs_stat_start = _start("sbx_fs_stat_start", H, Text, c_int)
file_list_size = _quick("sbx_file_list_size", c_size_t, H)
file_list_at = _code("sbx_file_list_at", H, c_size_t, POINTER(FileInfo))
file_list_free = _free("sbx_file_list_free")
fs_mkdir_start = _start("sbx_fs_mkdir_start", H, Text)
fs_remove_start = _start("sbx_fs_remove_start", H, Text, c_int)
fs_rename_start = _start("sbx_fs_rename_start", H, Text, Text)
fs_copy_start = _start("sbx_fs_copy_start", H, Text, Text)
fs_symlink_start = _start("sbx_fs_symlink_start", H, Text, Text)
fs_chmod_start = _start("sbx_fs_chmod_start", H, Text, c_uint32)
fs_watch_start = _start("sbx_fs_watch_start", H, Text, c_int)
watch_next_start = _start("sbx_watch_next_start", H)
watch_close = _bind(_waits, "sbx_watch_close", None, (H,))
watch_free = _free("sbx_watch_free")

env_get_start = _start("sbx_env_get_start", H, Text)
env_get = _bind(_waits, "sbx_env_get", STATUS, (H, Text, OUT, OUT))
env_set = _bind(_waits, "sbx_env_set", STATUS, (H, Text, Text, OUT))
env_unset = _bind(_waits, "sbx_env_unset", STATUS, (H, Text, OUT))
env_set_start = _start("sbx_env_set_start", H, Text, Text)
env_unset_start = _start("sbx_env_unset_start", H, Text)
env_all_start = _start("sbx_env_all_start", H)
env_list_size = _quick("sbx_env_list_size", c_size_t, H)
env_list_at = _code("sbx_env_list_at", H, c_size_t, POINTER(Pair))
env_list_free = _free("sbx_env_list_free")

net_connect_start = _start("sbx_net_connect_start", H, c_uint16, c_int64)
net_expose_start = _start("sbx_net_expose_start", H, c_uint16, c_uint16, c_int64)
net_list_start = _start("sbx_net_list_start", H)
port_list_size = _quick("sbx_port_list_size", c_size_t, H)
port_list_at = _code("sbx_port_list_at", H, c_size_t, POINTER(Port))
port_list_free = _free("sbx_port_list_free")
net_close_start = _start("sbx_net_close_start", H, c_uint16)

signing_key_generate = _code("sbx_signing_key_generate", c_char_p, OUT)
