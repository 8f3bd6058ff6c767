import type { SandboxSpec } from "../types.js";
import {
  arrayOf,
  bytesCount,
  bytesOf,
  choice,
  cores,
  flag,
  integer,
  milliseconds,
  objectOf,
  optionalView,
  pairsOf,
  uint32,
  viewOf,
  wrong,
} from "./input.js";
import { packagedHelpers } from "./library.js";
import * as structs from "./structs.js";

/** Options of callers as structs of C. Values are checked whatever their declared type: callers may write JavaScript. */

const LIMIT = (value: unknown, what: string): number =>
  value === undefined ? 0 : integer(value, what, 1, Number.MAX_SAFE_INTEGER);
const COUNT = (value: unknown, what: string): number => (value === undefined ? 0 : integer(value, what, 1, 0xffff_ffff));

export function encodeSpec(value: SandboxSpec): object {
  const spec = objectOf(value, "the spec");
  const env = pairsOf(spec["env"], "env");
  return {
    struct_size: structs.Spec.size,
    image: optionalView(spec["image"], "image"),
    memory: LIMIT(spec["memory"], "memory"),
    cpus: cores(spec["cpus"], "cpus"),
    pids: COUNT(spec["pids"], "pids"),
    open_files: COUNT(spec["openFiles"], "openFiles"),
    disk: LIMIT(spec["disk"], "disk"),
    inodes: LIMIT(spec["inodes"], "inodes"),
    network: choice(spec["network"], "network", { none: 0, bridge: 1 }, 0),
    env,
    env_size: env.length,
    workdir: optionalView(spec["workdir"], "workdir"),
    hostname: optionalView(spec["hostname"], "hostname"),
    writable_root: flag(spec["writableRoot"], "writableRoot"),
    backend: optionalView(spec["backend"], "backend"),
    user: optionalView(spec["user"], "user"),
    sealed: flag(spec["sealed"], "sealed"),
    allow_unenforced_limits: flag(spec["allowUnenforcedLimits"], "allowUnenforcedLimits"),
  };
}

export function encodeCreateOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  return {
    struct_size: structs.CreateOptions.size,
    deadline_ms: milliseconds(options["deadline"], "deadline"),
    cold: flag(options["cold"], "cold"),
  };
}

export function encodeRuntimeOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  const warm = arrayOf(options["warm"] ?? [], "warm").map((entry) => {
    const pool = objectOf(entry, "an element of warm");
    return { count: uint32(pool["count"], "warm.count"), spec: encodeSpec((pool["spec"] ?? {}) as SandboxSpec) };
  });
  return {
    struct_size: structs.RuntimeOptions.size,
    warm,
    warm_size: warm.length,
    max_warm: uint32(options["maxWarm"], "maxWarm"),
    max_sandboxes: uint32(options["maxSandboxes"], "maxSandboxes"),
    state_directory: optionalView(options["stateDirectory"], "stateDirectory"),
    helper_directory: optionalView(options["helperDirectory"] ?? packagedHelpers, "helperDirectory"),
    launchers: uint32(options["launchers"], "launchers"),
    persistent: flag(options["persistent"], "persistent"),
    orphan_time_ms: milliseconds(options["orphanTime"], "orphanTime"),
    require_proof: optionalView(options["requireProof"], "requireProof"),
    prune_after_ms: options["pruneAfter"] === 0 ? -1 : milliseconds(options["pruneAfter"], "pruneAfter"),
  };
}

export function encodePruneOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  return {
    struct_size: structs.PruneOptions.size,
    unused_for_ms: options["unusedFor"] === 0 ? -1 : milliseconds(options["unusedFor"], "unusedFor"),
    dry_run: flag(options["dryRun"], "dryRun"),
  };
}

export function encodeClientOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  const tenant = options["tenant"] === undefined ? {} : objectOf(options["tenant"], "tenant");
  const seed = tenant["seed"];
  if (options["tenant"] !== undefined && (!(seed instanceof Uint8Array) || seed.byteLength !== 32)) {
    throw wrong("tenant.seed", "a Uint8Array of 32 bytes");
  }
  return {
    struct_size: structs.ClientOptions.size,
    token: optionalView(options["token"], "token"),
    tenant: optionalView(tenant["name"], "tenant.name"),
    tenant_seed: optionalView(seed, "tenant.seed"),
    tenant_max_concurrent: uint32(tenant["maxConcurrent"], "tenant.maxConcurrent"),
    tenant_max_ttl_s: uint32(tenant["maxTtl"], "tenant.maxTtl"),
    tenant_max_templates: uint32(tenant["maxTemplates"], "tenant.maxTemplates"),
    ca_file: optionalView(options["caFile"], "caFile"),
    timeout_ms: milliseconds(options["timeout"], "timeout"),
    reconnect_ms: options["reconnect"] === 0 ? -1 : milliseconds(options["reconnect"], "reconnect"),
    heartbeat_ms: milliseconds(options["heartbeat"], "heartbeat"),
    compress: flag(options["compress"], "compress"),
  };
}

export function encodeCreateRequest(value: unknown): object {
  const request = objectOf(value, "the request");
  const labels = pairsOf(request["labels"], "labels");
  return {
    struct_size: structs.CreateRequest.size,
    profile: optionalView(request["profile"], "profile"),
    template_id: optionalView(request["template"], "template"),
    spec: request["spec"] === undefined ? null : encodeSpec(request["spec"] as SandboxSpec),
    memory: LIMIT(request["memory"], "memory"),
    cpus: cores(request["cpus"], "cpus"),
    storage: LIMIT(request["storage"], "storage"),
    ttl_s: uint32(request["ttl"], "ttl"),
    labels,
    labels_size: labels.length,
    sealed: flag(request["sealed"], "sealed"),
  };
}

export function encodeOpenOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  return {
    struct_size: structs.OpenOptions.size,
    sealed: flag(options["sealed"], "sealed"),
    pin: optionalView(options["pin"], "pin"),
  };
}

const NONE_KEPT = 0xffff_ffff_ffff_ffffn;

export function encodeCommand(command: unknown, value: unknown): object {
  const options = objectOf(value, "the options");
  const env = pairsOf(options["env"], "env");
  const maxOutput = options["maxOutput"];
  const encoded: Record<string, unknown> = {
    struct_size: structs.Command.size,
    env,
    env_size: env.length,
    clear_env: flag(options["clearEnv"], "clearEnv"),
    workdir: optionalView(options["workdir"], "workdir"),
    timeout_ms: milliseconds(options["timeout"], "timeout"),
    max_output: maxOutput === 0 ? NONE_KEPT : bytesCount(maxOutput, "maxOutput"),
    input: options["input"] === undefined ? null : [viewOf(options["input"], "input")],
    open_input: flag(options["openInput"], "openInput"),
    merge_stderr: flag(options["mergeStderr"], "mergeStderr"),
    idempotency_key: optionalView(options["idempotencyKey"], "idempotencyKey"),
  };
  if (typeof command === "string") {
    encoded["line"] = viewOf(command, "the command");
  } else {
    const argv = arrayOf(command, "the command").map((argument) => viewOf(argument, "an argument"));
    if (argv.length === 0) throw wrong("the command", "a shell line, or a program and its arguments");
    encoded["argv"] = argv;
    encoded["argv_size"] = argv.length;
  }
  if (options["pty"] !== undefined) {
    const size = objectOf(options["pty"], "pty");
    encoded["rows"] = cells(size["rows"], "pty.rows");
    encoded["columns"] = cells(size["columns"], "pty.columns");
  }
  return encoded;
}

export function cells(value: unknown, what: string): number {
  return integer(value ?? null, what, 1, 0xffff);
}

export function encodeWriteOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  return {
    struct_size: structs.WriteOptions.size,
    append: flag(options["append"], "append"),
    exclusive: flag(options["exclusive"], "exclusive"),
    make_parents: flag(options["makeParents"], "makeParents"),
    mode: options["mode"] === undefined ? 0 : integer(options["mode"], "mode", 1, 0o7777),
  };
}

export const FILE_TYPES = ["unknown", "regular", "directory", "symlink", "fifo", "socket", "character", "block"] as const;
const FILE_TYPE_NUMBERS: Record<string, number> = Object.fromEntries(FILE_TYPES.map((name, index) => [name, index]));

export function encodeFindOptions(value: unknown): object {
  const options = objectOf(value, "the options");
  return {
    struct_size: structs.FindOptions.size,
    type: choice(options["type"], "type", FILE_TYPE_NUMBERS, 0),
    max_depth: uint32(options["maxDepth"], "maxDepth"),
    max_results: bytesCount(options["maxResults"], "maxResults"),
  };
}

/** One view in words, for arguments: bytes and their number. */
export function words(value: unknown, what: string): [Uint8Array, number] {
  const bytes = bytesOf(value, what);
  return [bytes, bytes.byteLength];
}
