import type { BytesLike } from "./native/input.js";

export type { BytesLike };

/** Of every call that waits. Aborting cancels the work; the promise is rejected with the signal's reason once it has ended. */
export interface Abortable {
  signal?: AbortSignal;
}

/** Like Abortable, with a time in milliseconds: `deadline_exceeded` when it is over, and nothing is lost. Default: none. */
export interface Waiting extends Abortable {
  timeout?: number;
}

export interface Limits {
  /** Bytes of RAM of all processes and writable file systems together. Default 512 MiB. */
  memory?: number;
  /** Cores' worth of time. Default 1. */
  cpus?: number;
  /** Processes and threads. Default 256. */
  pids?: number;
  /** Open files of one process. Default 1024. */
  openFiles?: number;
  /** Bytes in all writable directories. Default 256 MiB. */
  disk?: number;
  /** Files and directories in them. Default 65536. */
  inodes?: number;
}

/** What a sandbox is made of. Everything left out is the locked-down default. */
export interface SandboxSpec extends Limits {
  /** "host" (default: this host's read-only userland), "tpl-…", or a path to a directory or tar archive. */
  image?: string;
  network?: "none" | "bridge";
  env?: Readonly<Record<string, BytesLike>>;
  /** Default /root. */
  workdir?: string;
  hostname?: string;
  writableRoot?: boolean;
  backend?: string;
  /** Pools are never shared between users. */
  user?: string;
  /** End-to-end encryption with the agent inside: X25519, AES-256-GCM. */
  sealed?: boolean;
  /** Weakens: create even where this host cannot enforce a limit. See Sandbox.unenforced. */
  allowUnenforcedLimits?: boolean;
}

export interface CreateOptions extends Abortable {
  /** Milliseconds for capacity and creation together. Default 30 s. */
  deadline?: number;
  /** Do not take from the warm pool. */
  cold?: boolean;
}

export interface RuntimeOptions extends Abortable {
  /** Pools of ready sandboxes to keep. */
  warm?: readonly { count: number; spec?: SandboxSpec }[];
  /** Default 64. */
  maxWarm?: number;
  /** Default 1000. */
  maxSandboxes?: number;
  stateDirectory?: string;
  /** Of sandbox-launcher and sandbox-agent. Default: $SANDBOX_BIN_DIR, else beside the library. */
  helperDirectory?: string;
  launchers?: number;
  /** Sandboxes outlive this runtime, for `orphanTime`, and are taken over by the next one: Runtime.adopted(). */
  persistent?: boolean;
  /** Milliseconds. */
  orphanTime?: number;
  /** Path of a report of `sbx prove --report`: opens only if it passed, for this build, host and policy. */
  requireProof?: string;
  /** Milliseconds after which unpacked layers that nothing uses are removed in the background. Default 7 days; 0: never. */
  pruneAfter?: number;
}

export interface PruneOptions extends Abortable {
  /** Milliseconds since the last use ended, rounded up to seconds. Default 7 days; 0: all that nothing uses now. */
  unusedFor?: number;
  /** Only tell. */
  dryRun?: boolean;
}

export interface ClientOptions extends Abortable {
  /** Bearer token. */
  token?: string;
  /** Signs requests as a tenant, with an Ed25519 seed of 32 bytes: generateSigningKey(). */
  tenant?: { name: string; seed: Uint8Array; maxConcurrent?: number; maxTtl?: number; maxTemplates?: number };
  caFile?: string;
  /** Milliseconds of one request. Default 30 s. */
  timeout?: number;
  /** Milliseconds that operations wait for a lost connection. Default 30 s; 0: not at all. */
  reconnect?: number;
  /** Milliseconds. Default 5 s. */
  heartbeat?: number;
  compress?: boolean;
}

/** What to ask a daemon for. All empty: its default profile. */
export interface CreateRequest {
  profile?: string;
  template?: string;
  /** In place of profile and template. */
  spec?: SandboxSpec;
  memory?: number;
  cpus?: number;
  storage?: number;
  /** Seconds that the sandbox outlives its last session. Default 0: it ends with the session. */
  ttl?: number;
  labels?: Readonly<Record<string, string>>;
  sealed?: boolean;
}

export interface OpenOptions extends Abortable {
  sealed?: boolean;
  /** "sha256:…" of the agent to accept (Sandbox.fingerprint()); seals, too. */
  pin?: string;
}

/** A shell line, run by /bin/sh -c; or a program and its arguments, of which nothing is interpreted. */
export type Command = string | readonly BytesLike[];

export interface CommandOptions extends Abortable {
  /** On top of the sandbox's environment. */
  env?: Readonly<Record<string, BytesLike>>;
  /** Start from an empty environment instead of the sandbox's. */
  clearEnv?: boolean;
  workdir?: string;
  /** Milliseconds after which the program's group is killed: the result says `timed_out`. Default: none. */
  timeout?: number;
  /** Bytes kept per stream; more is dropped and counted. Default: 1 MiB for exec, no limit for spawn. 0 keeps none. */
  maxOutput?: number;
  /** Standard input, then end of file. Default: /dev/null. */
  input?: BytesLike;
  mergeStderr?: boolean;
  /** A second run with the same key gets the first one's outcome instead of running again. */
  idempotencyKey?: string;
}

export interface TerminalSize {
  rows: number;
  columns: number;
}

export interface SpawnOptions extends CommandOptions {
  /** Keeps standard input open for RunningProcess.write(). */
  openInput?: boolean;
  /** Runs on a terminal: one merged output stream, job control, resize(). */
  pty?: TerminalSize;
}

export type ExitCause = "exited" | "signalled" | "timed_out" | "out_of_memory" | "limit_hit" | "cancelled";

export interface OutputChunk {
  stream: "stdout" | "stderr";
  bytes: Buffer;
}

export interface SandboxStats {
  /** Milliseconds, with fractions. */
  cpuTime: number;
  memory: number;
  memoryPeak: number;
  memoryLimit: number;
  pids: number;
  networkRxBytes: number;
  networkTxBytes: number;
  diskUsed: number;
  inodesUsed: number;
  oomKills: number;
  /** Milliseconds, with fractions. */
  uptime: number;
}

export type FileType = "unknown" | "regular" | "directory" | "symlink" | "fifo" | "socket" | "character" | "block";

export interface FileInfo {
  /** list: the name; find: below the root asked; stat: as asked. */
  path: string;
  type: FileType;
  size: number;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  modified: Date;
  /** Of a symlink. */
  target: string;
}

export interface WriteOptions {
  /** Otherwise the file is replaced atomically. */
  append?: boolean;
  /** Fail with already_exists instead of replacing. */
  exclusive?: boolean;
  makeParents?: boolean;
  /** Permission bits. Default: 0644, or the existing file's. */
  mode?: number;
}

export interface FindOptions extends Abortable {
  type?: FileType;
  /** Default: no limit. */
  maxDepth?: number;
  /** Default: no limit. */
  maxResults?: number;
}

/** What a transfer moved. */
export interface Transfer {
  entries: number;
  bytes: number;
  /** Devices, sockets and FIFOs left out. */
  skipped: number;
}

export type FileChange = "created" | "modified" | "removed" | "renamed" | "attributes" | "overflow";

export interface FileEvent {
  /** "overflow": events were lost; look again. */
  change: FileChange;
  type: FileType;
  path: string;
  /** Of "renamed": where it was. */
  oldPath: string;
}

/** A port of this host that leads to one inside. */
export interface ExposedPort {
  port: number;
  hostPort: number;
  hostAddress: string;
  url: string;
}
