import koffi from "koffi";

/** The structs of include/sandbox/c.h, member for member. Koffi zeroes what an object leaves out, and `sized` fills struct_size. */

export const View = koffi.struct("sbx_view", { data: "const void *", size: "size_t" });
export const Pair = koffi.struct("sbx_pair", { name: View, value: View });

const pairs = koffi.pointer(Pair);
const views = koffi.pointer(View);

export const Spec = koffi.struct("sbx_spec", {
  struct_size: "size_t",
  image: View,
  memory: "uint64_t",
  cpus: "double",
  pids: "uint32_t",
  open_files: "uint32_t",
  disk: "uint64_t",
  inodes: "uint64_t",
  network: "int",
  env: pairs,
  env_size: "size_t",
  workdir: View,
  hostname: View,
  writable_root: "int",
  backend: View,
  user: View,
  sealed: "int",
  allow_unenforced_limits: "int",
});

export const Warm = koffi.struct("sbx_warm", { count: "uint32_t", spec: koffi.pointer(Spec) });

export const RuntimeOptions = koffi.struct("sbx_runtime_options", {
  struct_size: "size_t",
  warm: koffi.pointer(Warm),
  warm_size: "size_t",
  max_warm: "uint32_t",
  max_sandboxes: "uint32_t",
  state_directory: View,
  helper_directory: View,
  launchers: "uint32_t",
  persistent: "int",
  orphan_time_ms: "int64_t",
  require_proof: View,
  prune_after_ms: "int64_t",
});

export const PruneOptions = koffi.struct("sbx_prune_options", { struct_size: "size_t", unused_for_ms: "int64_t", dry_run: "int" });

export const CreateOptions = koffi.struct("sbx_create_options", { struct_size: "size_t", deadline_ms: "int64_t", cold: "int" });

export const ClientOptions = koffi.struct("sbx_client_options", {
  struct_size: "size_t",
  token: View,
  tenant: View,
  tenant_seed: View,
  tenant_max_concurrent: "uint32_t",
  tenant_max_ttl_s: "uint32_t",
  tenant_max_templates: "uint32_t",
  ca_file: View,
  timeout_ms: "int64_t",
  reconnect_ms: "int64_t",
  heartbeat_ms: "int64_t",
  compress: "int",
});

export const CreateRequest = koffi.struct("sbx_create_request", {
  struct_size: "size_t",
  profile: View,
  template_id: View,
  spec: koffi.pointer(Spec),
  memory: "uint64_t",
  cpus: "double",
  storage: "uint64_t",
  ttl_s: "int64_t",
  labels: pairs,
  labels_size: "size_t",
  sealed: "int",
});

export const OpenOptions = koffi.struct("sbx_open_options", { struct_size: "size_t", sealed: "int", pin: View });

export const Stats = koffi.struct("sbx_stats", {
  struct_size: "size_t",
  cpu_time_ns: "uint64_t",
  memory: "uint64_t",
  memory_peak: "uint64_t",
  memory_limit: "uint64_t",
  pids: "uint32_t",
  network_rx_bytes: "uint64_t",
  network_tx_bytes: "uint64_t",
  disk_used: "uint64_t",
  inodes_used: "uint64_t",
  oom_kills: "uint64_t",
  uptime_ns: "uint64_t",
});

export const Command = koffi.struct("sbx_command", {
  struct_size: "size_t",
  line: View,
  argv: views,
  argv_size: "size_t",
  env: pairs,
  env_size: "size_t",
  clear_env: "int",
  workdir: View,
  timeout_ms: "int64_t",
  max_output: "uint64_t",
  input: views,
  open_input: "int",
  rows: "uint16_t",
  columns: "uint16_t",
  merge_stderr: "int",
  idempotency_key: View,
});

export const ExitStatus = koffi.struct("sbx_exit_status", {
  struct_size: "size_t",
  cause: "int",
  exit_code: "int",
  signal: "int",
  core_dumped: "int",
  oom_kills: "uint32_t",
  stdout_bytes: "uint64_t",
  stderr_bytes: "uint64_t",
  stdout_dropped: "uint64_t",
  stderr_dropped: "uint64_t",
  wall_time_ns: "uint64_t",
  user_time_ns: "uint64_t",
  system_time_ns: "uint64_t",
  max_rss: "uint64_t",
});

export const FileInfo = koffi.struct("sbx_file_info", {
  struct_size: "size_t",
  path: View,
  type: "int",
  size: "uint64_t",
  mode: "uint32_t",
  uid: "uint32_t",
  gid: "uint32_t",
  modified_ns: "int64_t",
  target: View,
});

export const WriteOptions = koffi.struct("sbx_write_options", {
  struct_size: "size_t",
  append: "int",
  exclusive: "int",
  make_parents: "int",
  mode: "uint32_t",
});

export const FindOptions = koffi.struct("sbx_find_options", {
  struct_size: "size_t",
  type: "int",
  max_depth: "uint32_t",
  max_results: "uint64_t",
});

export const Transfer = koffi.struct("sbx_transfer", {
  struct_size: "size_t",
  entries: "uint64_t",
  bytes: "uint64_t",
  skipped: "uint64_t",
});

export const FileEvent = koffi.struct("sbx_file_event", {
  struct_size: "size_t",
  change: "int",
  type: "int",
  path: View,
  old_path: View,
});

export const Port = koffi.struct("sbx_port", {
  struct_size: "size_t",
  port: "uint16_t",
  host_port: "uint16_t",
  host_address: koffi.array("char", 64, "String"),
});
