import { ProtocolError } from "./errors.js";
import type { Limits } from "./types.js";

/** What runtimes and daemons tell about themselves. Values; read from the JSON of docs/PROTOCOL.md, "Values as JSON". */

export type SandboxState = "creating" | "running" | "paused" | "disconnected" | "stopping" | "stopped";

/** One sandbox as its daemon lists it. */
export interface SandboxInfo {
  id: string;
  image: string;
  state: SandboxState;
  created: Date;
  /** Seconds. */
  ttl: number;
  /** Empty when it was made from a template or a spec. */
  profile: string;
  /** Empty unless made from one. */
  template: string;
  labels: Record<string, string>;
  unenforced: string[];
}

/** Everything writable of a sandbox, saved as a layer over the image it came from. */
export interface TemplateInfo {
  /** "tpl-…" */
  id: string;
  /** As given when it was saved; a daemon without one gives the id. */
  label: string;
  /** "sha256:…" of the uncompressed layer. */
  digest: string;
  /** Bytes at rest. */
  size: number;
  /** What lies underneath, as `SandboxSpec.image` says it. */
  image: string;
  /** Of the sandbox it was saved from. */
  limits: Required<Limits>;
  /** Whether the whole root of that sandbox was writable. */
  writableRoot: boolean;
  created: Date;
  backend: string;
  /** Of the tenant it belongs to; empty: none. */
  identity: string;
  /** Of a daemon's; undefined: never, or not known. */
  lastUsed: Date | undefined;
}

/** An unpacked layer of the state directory that nothing used. */
export interface PrunedLayer {
  /** SHA-256 of the unpacked archive or template, 64 hex digits. */
  digest: string;
  /** Bytes on disk. */
  size: number;
  lastUsed: Date;
}

/** The sandboxes of one kind that are kept ready. */
export interface PoolInfo {
  /** A daemon's name of it; of a runtime: a readable key of the spec. */
  profile: string;
  image: string;
  /** As a daemon has it configured, "512m"; empty of a runtime, whose key says it. */
  memory: string;
  /** Likewise; 0 of a runtime. */
  cpus: number;
  ready: number;
  /** Members that the pool now wants ready. */
  target: number;
  /** Being made. */
  warming: number;
  /** Creates served from the pool. */
  hits: number;
  /** Creates that had to make one. */
  misses: number;
  /** Members found unhealthy and replaced. */
  replaced: number;
  /** Refills that failed. */
  failures: number;
  /** Milliseconds that making one takes. */
  refillTime: number;
}

/** What a daemon makes sandboxes from by name. */
export interface ProfileInfo {
  name: string;
  image: string;
  /** As configured, "512m". */
  memory: string;
  cpus: number;
  storage: string;
}

/** What this host can do, measured. */
export interface HostReport {
  backend: string;
  rootless: boolean;
  /** Locks and limits in force. */
  enforced: string[];
  /** What this host cannot enforce, and what that means. */
  unenforced: string[];
}

/** Something that happened to a sandbox, a pool or a template. */
export interface SandboxEvent {
  /** Counts up in each run of a daemon; 0 from a runtime. */
  id: number;
  /** "sandbox.created", … */
  type: string;
  sandboxId: string;
  identity: string;
  time: Date;
  data: Record<string, unknown>;
}

/** Past events of a daemon. */
export interface EventHistory {
  /** Oldest first. */
  events: SandboxEvent[];
  /** false: some after the asked point were dropped already. */
  complete: boolean;
  /** Id of the newest event there is. */
  last: number;
}

/** What a daemon says of itself to anybody who asks. */
export interface Health {
  status: string;
  sandboxes: number;
  pools: PoolInfo[];
  nodeId: string;
  version: string;
  protocols: string[];
}

/** A JSON object whose members may be missing, or not what they should be. */
class Fields {
  private readonly members: ReadonlyMap<string, unknown>;

  constructor(value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ProtocolError("not the JSON object it should be");
    this.members = new Map(Object.entries(value));
  }
  text(name: string): string {
    const value = this.members.get(name);
    return typeof value === "string" ? value : "";
  }
  number(name: string): number {
    const value = this.members.get(name);
    return typeof value === "number" ? value : 0;
  }
  flag(name: string): boolean {
    return this.members.get(name) === true;
  }
  time(name: string): Date {
    return new Date(this.text(name));
  }
  /** undefined for the year 1, which stands for none. */
  timeIfAny(name: string): Date | undefined {
    const time = this.time(name);
    return time.getTime() > 0 ? time : undefined;
  }
  /** "host", or the one member of {"template": …}, {"directory": …} or {"tar": …}. */
  image(name: string): string {
    return this.text(name) || String(Object.values(this.object(name))[0] ?? "");
  }
  list<T>(name: string, read: (value: unknown) => T): T[] {
    return listOf(this.members.get(name) ?? [], read);
  }
  texts(name: string): string[] {
    return this.list(name, String);
  }
  object(name: string): Record<string, unknown> {
    const value = this.members.get(name);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
  }
}

export function listOf<T>(value: unknown, read: (value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new ProtocolError("not the JSON array it should be");
  return value.map(read);
}

/** @internal */
export function parse<T>(json: string | undefined, read: (value: unknown) => T): T {
  let value: unknown;
  try {
    value = JSON.parse(json ?? "");
  } catch (error) {
    throw new ProtocolError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return read(value);
}

export function sandboxInfo(value: unknown): SandboxInfo {
  const from = new Fields(value);
  return {
    id: from.text("id"),
    image: from.text("image"),
    state: from.text("state") as SandboxState,
    created: from.time("created"),
    ttl: from.number("ttl"),
    profile: from.text("profile"),
    template: from.text("template"),
    labels: Object.fromEntries(Object.entries(from.object("labels")).map(([key, label]) => [key, String(label)])),
    unenforced: from.texts("unenforced"),
  };
}

export function templateInfo(value: unknown): TemplateInfo {
  const from = new Fields(value);
  return {
    id: from.text("id"),
    label: from.text("label"),
    digest: from.text("digest"),
    size: from.number("size"),
    image: from.image("base"),
    limits: limits(from.object("limits")),
    writableRoot: from.flag("writable_root"),
    created: from.time("created_at"),
    backend: from.text("backend"),
    identity: from.text("identity"),
    lastUsed: from.timeIfAny("last_used"),
  };
}

function limits(value: unknown): Required<Limits> {
  const from = new Fields(value);
  return {
    memory: from.number("memory"),
    cpus: from.number("cpus"),
    pids: from.number("pids"),
    openFiles: from.number("open_files"),
    disk: from.number("disk"),
    inodes: from.number("inodes"),
  };
}

export function prunedLayer(value: unknown): PrunedLayer {
  const from = new Fields(value);
  return { digest: from.text("digest"), size: from.number("size"), lastUsed: from.time("last_used") };
}

export function poolInfo(value: unknown): PoolInfo {
  const from = new Fields(value);
  return {
    profile: from.text("profile"),
    image: from.text("image"),
    memory: from.text("memory"),
    cpus: from.number("cpu"),
    ready: from.number("ready"),
    target: from.number("target"),
    warming: from.number("warming"),
    hits: from.number("hits"),
    misses: from.number("misses"),
    replaced: from.number("replaced"),
    failures: from.number("failures"),
    refillTime: from.number("refill_ms"),
  };
}

export function profileInfo(value: unknown): ProfileInfo {
  const from = new Fields(value);
  return {
    name: from.text("name"),
    image: from.text("image"),
    memory: from.text("memory"),
    cpus: from.number("cpu"),
    storage: from.text("storage"),
  };
}

export function hostReport(value: unknown): HostReport {
  const from = new Fields(value);
  return {
    backend: from.text("backend"),
    rootless: from.flag("rootless"),
    enforced: from.texts("enforced"),
    unenforced: from.texts("unenforced"),
  };
}

export function sandboxEvent(value: unknown): SandboxEvent {
  const from = new Fields(value);
  return {
    id: from.number("id"),
    type: from.text("type"),
    sandboxId: from.text("sandbox_id"),
    identity: from.text("identity"),
    time: from.time("timestamp"),
    data: from.object("data"),
  };
}

export function eventHistory(value: unknown): EventHistory {
  const from = new Fields(value);
  return { events: from.list("events", sandboxEvent), complete: from.flag("complete"), last: from.number("seq") };
}

export function health(value: unknown): Health {
  const from = new Fields(value);
  return {
    status: from.text("status"),
    sandboxes: from.number("sandboxes"),
    pools: from.list("pool", poolInfo),
    nodeId: from.text("node_id"),
    version: from.text("version"),
    protocols: from.texts("protocols"),
  };
}
