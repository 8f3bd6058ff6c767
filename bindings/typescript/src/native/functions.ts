import koffi, { type TypeObject } from "koffi";
import { libc, library } from "./library.js";
import * as structs from "./structs.js";

/**
 * The functions of include/sandbox/c.h that this package calls.
 *
 * A view (pointer and length) is declared as two arguments: on x64 and arm64 a struct of two words travels exactly like
 * two words as long as registers last, and no function here needs more than six. It makes a call four times cheaper.
 * Handles are addresses (bigint), known only to the classes that own them.
 */

type Type = string | TypeObject;
/** What goes through: a handle, a number, memory, a struct as an object, or null. */
export type NativeArgument = bigint | number | Uint8Array | BigUint64Array | Int32Array | object | null;

const HANDLE = "void *";
const VIEW = ["const void *", "size_t"] as const;
const OUT = "void *";
const ERR = "void *";
const struct = (type: TypeObject): Type => koffi.pointer(type);

/** sbx_op *f_start(…) */
const start = (name: string, ...types: Type[]) =>
  library.func(`sbx_${name}_start`, "void *", types) as (...values: NativeArgument[]) => bigint | null;
/** sbx_code f(…, sbx_error **) */
const call = (name: string, ...types: Type[]) =>
  library.func(`sbx_${name}`, "int", [...types, ERR]) as (...values: NativeArgument[]) => number;
/** sbx_code sbx_op_take_x(sbx_op *, x *, sbx_error **) */
const take = (name: string) => call(name, HANDLE, OUT);
/** void sbx_x_free(sbx_x **) */
const free = (name: string) => library.func(`sbx_${name}_free`, "void", [OUT]) as (slot: BigUint64Array) => void;
/** sbx_view f(const x *) */
const view = (name: string) =>
  library.func(`sbx_${name}`, structs.View, [HANDLE]) as (handle: bigint) => { data: bigint | null; size: number };
const number = (name: string, ...types: Type[]) =>
  library.func(`sbx_${name}`, "int", types) as (...values: NativeArgument[]) => number;
const nothing = (name: string, ...types: Type[]) =>
  library.func(`sbx_${name}`, "void", types) as (...values: NativeArgument[]) => void;

export const version = library.func("sbx_version", "const char *", []) as () => string;

export const error = {
  code: number("error_code", HANDLE),
  message: view("error_message"),
  operation: view("error_operation"),
  errno: number("error_errno", HANDLE),
  retry: number("error_retry", HANDLE),
  free: free("error"),
};

export const bytes = { view: view("bytes_view"), free: free("bytes") };

export const op = {
  done: number("op_done", HANDLE),
  cancel: nothing("op_cancel", HANDLE),
  notify: call("op_notify", HANDLE, HANDLE, "uint64_t"),
  free: free("op"),
  take: call("op_take", HANDLE),
  takeCount: take("op_take_count"),
  takeBytes: take("op_take_bytes"),
  takeRuntime: take("op_take_runtime"),
  takeClient: take("op_take_client"),
  takeSandbox: take("op_take_sandbox"),
  takeStats: take("op_take_stats"),
  takeExec: take("op_take_exec"),
  takeProcess: take("op_take_process"),
  takeOutput: call("op_take_output", HANDLE, OUT, OUT),
  takeStatus: take("op_take_status"),
  takeTransfer: take("op_take_transfer"),
  takeFiles: take("op_take_files"),
  takeWatch: take("op_take_watch"),
  takeFileEvent: take("op_take_file_event"),
  takeEnv: take("op_take_env"),
  takeFd: take("op_take_fd"),
  takePort: take("op_take_port"),
  takePorts: take("op_take_ports"),
  takeEvents: take("op_take_events"),
};

export const queue = {
  create: call("queue_new", OUT),
  fd: number("queue_fd", HANDLE),
  next: library.func("sbx_queue_next", "size_t", [HANDLE, OUT, "size_t"]) as (
    queue: bigint,
    tags: BigUint64Array,
    capacity: number,
  ) => number,
  free: free("queue"),
};

export const runtime = {
  open: start("runtime_open", struct(structs.RuntimeOptions)),
  close: start("runtime_close", HANDLE),
  free: free("runtime"),
  create: start("runtime_create", HANDLE, struct(structs.Spec), struct(structs.CreateOptions)),
  waitWarm: start("runtime_wait_warm", HANDLE, "int64_t"),
  setWarm: start("runtime_set_warm", HANDLE, struct(structs.Spec), "uint32_t"),
  live: call("runtime_live", HANDLE, OUT),
  pools: call("runtime_pools", HANDLE, OUT),
  templates: start("runtime_templates", HANDLE),
  findTemplate: start("runtime_find_template", HANDLE, ...VIEW),
  removeTemplate: start("runtime_remove_template", HANDLE, ...VIEW),
  prune: start("runtime_prune", HANDLE, struct(structs.PruneOptions)),
  host: call("runtime_host", HANDLE, OUT),
  nextAdopted: call("runtime_next_adopted", HANDLE, OUT),
  leave: start("runtime_leave", HANDLE),
  events: call("runtime_events", HANDLE, OUT),
};

export const client = {
  connect: start("client_connect", ...VIEW, struct(structs.ClientOptions)),
  close: start("client_close", HANDLE),
  free: free("client"),
  create: start("client_create", HANDLE, struct(structs.CreateRequest), struct(structs.CreateOptions)),
  open: start("client_open", HANDLE, ...VIEW, struct(structs.OpenOptions)),
  remove: start("client_remove", HANDLE, ...VIEW),
  list: start("client_list", HANDLE, struct(structs.Pair), "size_t"),
  find: start("client_find", HANDLE, ...VIEW),
  templates: start("client_templates", HANDLE),
  findTemplate: start("client_find_template", HANDLE, ...VIEW),
  removeTemplate: start("client_remove_template", HANDLE, ...VIEW),
  profiles: start("client_profiles", HANDLE),
  pools: start("client_pools", HANDLE),
  setWarm: start("client_set_warm", HANDLE, ...VIEW, "uint32_t"),
  flush: start("client_flush", HANDLE, ...VIEW),
  waitWarm: start("client_wait_warm", HANDLE, "int64_t"),
  history: start("client_history", HANDLE, "uint64_t", "uint32_t"),
  health: start("client_health", HANDLE),
  metrics: start("client_metrics", HANDLE),
  events: start("client_events", HANDLE, "int64_t"),
};

export const events = {
  next: start("events_next", HANDLE),
  gap: number("events_gap", HANDLE),
  cancel: nothing("events_cancel", HANDLE),
  free: free("events"),
};

export const sandbox = {
  id: view("sandbox_id"),
  closed: number("sandbox_closed", HANDLE),
  close: start("sandbox_close", HANDLE),
  detach: start("sandbox_detach", HANDLE),
  free: free("sandbox"),
  ping: start("sandbox_ping", HANDLE, "int64_t"),
  stats: start("sandbox_stats", HANDLE),
  pause: start("sandbox_pause", HANDLE),
  resume: start("sandbox_resume", HANDLE),
  saveTemplate: start("sandbox_save_template", HANDLE, ...VIEW),
  fingerprint: start("sandbox_fingerprint", HANDLE, "int64_t"),
  unenforced: call("sandbox_unenforced", HANDLE, OUT),
  spec: call("sandbox_spec", HANDLE, OUT),
};

export const process = {
  exec: start("exec", HANDLE, struct(structs.Command)),
  spawn: start("spawn", HANDLE, struct(structs.Command)),
  pid: number("process_pid", HANDLE),
  read: start("process_read", HANDLE),
  write: start("process_write", HANDLE, ...VIEW),
  closeInput: call("process_close_input", HANDLE),
  signal: call("process_signal", HANDLE, "int"),
  resize: call("process_resize", HANDLE, "uint16_t", "uint16_t"),
  kill: call("process_kill", HANDLE),
  wait: start("process_wait", HANDLE),
  close: nothing("process_close", HANDLE),
  free: free("process"),
};

export const execResult = {
  status: nothing("exec_result_status", HANDLE, OUT),
  stdout: view("exec_result_stdout"),
  stderr: view("exec_result_stderr"),
  free: free("exec_result"),
};

export const fs = {
  read: start("fs_read", HANDLE, ...VIEW, "uint64_t"),
  readRange: start("fs_read_range", HANDLE, ...VIEW, "uint64_t", "uint64_t"),
  write: start("fs_write", HANDLE, ...VIEW, ...VIEW, struct(structs.WriteOptions)),
  openReader: call("fs_open_reader", HANDLE, ...VIEW, OUT),
  openTarReader: call("fs_open_tar_reader", HANDLE, ...VIEW, OUT),
  openWriter: call("fs_open_writer", HANDLE, ...VIEW, struct(structs.WriteOptions), OUT),
  openTarWriter: call("fs_open_tar_writer", HANDLE, ...VIEW, OUT),
  upload: start("fs_upload", HANDLE, ...VIEW, ...VIEW),
  download: start("fs_download", HANDLE, ...VIEW, ...VIEW),
  list: start("fs_list", HANDLE, ...VIEW),
  find: start("fs_find", HANDLE, ...VIEW, ...VIEW, struct(structs.FindOptions)),
  stat: start("fs_stat", HANDLE, ...VIEW, "int"),
  mkdir: start("fs_mkdir", HANDLE, ...VIEW),
  remove: start("fs_remove", HANDLE, ...VIEW, "int"),
  rename: start("fs_rename", HANDLE, ...VIEW, ...VIEW),
  copy: start("fs_copy", HANDLE, ...VIEW, ...VIEW),
  symlink: start("fs_symlink", HANDLE, ...VIEW, ...VIEW),
  chmod: start("fs_chmod", HANDLE, ...VIEW, "uint32_t"),
  watch: start("fs_watch", HANDLE, ...VIEW, "int"),
};

export const reader = { read: start("reader_read", HANDLE), close: nothing("reader_close", HANDLE), free: free("reader") };
export const writer = {
  write: start("writer_write", HANDLE, ...VIEW),
  finish: start("writer_finish", HANDLE),
  close: nothing("writer_close", HANDLE),
  free: free("writer"),
};
export const watch = { next: start("watch_next", HANDLE), close: nothing("watch_close", HANDLE), free: free("watch") };

const size = (name: string) => library.func(`sbx_${name}`, "size_t", [HANDLE]) as (handle: bigint) => number;

export const fileList = { size: size("file_list_size"), at: call("file_list_at", HANDLE, "size_t", OUT), free: free("file_list") };

export const env = {
  get: start("env_get", HANDLE, ...VIEW),
  set: start("env_set", HANDLE, ...VIEW, ...VIEW),
  unset: start("env_unset", HANDLE, ...VIEW),
  all: start("env_all", HANDLE),
};
export const envList = { size: size("env_list_size"), at: call("env_list_at", HANDLE, "size_t", OUT), free: free("env_list") };

export const net = {
  connect: start("net_connect", HANDLE, "uint16_t", "int64_t"),
  expose: start("net_expose", HANDLE, "uint16_t", "uint16_t", "int64_t"),
  list: start("net_list", HANDLE),
  close: start("net_close", HANDLE, "uint16_t"),
};
export const portList = { size: size("port_list_size"), at: call("port_list_at", HANDLE, "size_t", OUT), free: free("port_list") };

export const signingKeyGenerate = call("signing_key_generate", OUT, OUT);

export const memcpy = libc.func("memcpy", "void *", ["void *", "const void *", "size_t"]) as (
  to: Uint8Array,
  from: bigint,
  size: number,
) => void;

export const MADV_HUGEPAGE = 14;
export const madvise = libc.func("madvise", "int", ["void *", "size_t", "int"]) as (start: bigint, size: bigint, advice: number) => number;

const F_DUPFD_CLOEXEC = 1030;
const fcntl = libc.func("int fcntl(int fd, int command, ...)") as (fd: number, command: number, type: string, value: number) => number;
const close = libc.func("close", "int", ["int"]) as (fd: number) => number;
/** A close-on-exec copy of a descriptor; negative when there is none to be had. */
export const duplicate = (fd: number): number => fcntl(fd, F_DUPFD_CLOEXEC, "int", 0);
export const closeDescriptor = (fd: number): void => void close(fd);
