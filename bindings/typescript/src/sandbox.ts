import { Closing, endThenFree } from "./closing.js";
import { Env } from "./env.js";
import { Fs } from "./fs.js";
import { words } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { milliseconds } from "./native/input.js";
import { check, OutStruct, outError, outPointer, takeText, textOut } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import * as structs from "./native/structs.js";
import { Net } from "./net.js";
import { Process } from "./process.js";
import type { Abortable, Command, CommandOptions, SandboxStats, SpawnOptions } from "./types.js";
import { parse, type TemplateInfo, templateInfo } from "./values.js";
import type { ExecResult } from "./exit_status.js";
import type { RunningProcess } from "./running_process.js";

/**
 * An isolated environment. It ends with close(), at the end of an `await using` block, or when nothing refers to it any
 * more; one that came from Client.open() stays.
 */
export class Sandbox implements AsyncDisposable {
  readonly id: string;
  readonly fs: Fs;
  readonly process: Process;
  readonly env: Env;
  readonly net: Net;
  private readonly handle: Handle;
  private readonly closing: Closing;

  /** @internal `opened`: it existed before, and outlives this object */
  constructor(handle: bigint, owner: Handle, opened = false) {
    const dispose = endThenFree(opened ? c.sandbox.detach : c.sandbox.close, c.sandbox.free);
    this.handle = new Handle("sandbox", handle, freeWith(c.sandbox.free), dispose, owner);
    this.closing = new Closing(this.handle, c.sandbox.close);
    this.id = textOut(c.sandbox.id(handle));
    this.fs = new Fs(this.handle);
    this.process = new Process(this.handle);
    this.env = new Env(this.handle);
    this.net = new Net(this.handle);
  }

  /** Runs a program and collects its output: process.exec(). */
  exec(command: Command, options?: CommandOptions): Promise<ExecResult> {
    return this.process.exec(command, options);
  }

  /** Starts a program: process.spawn(). */
  spawn(command: Command, options?: SpawnOptions): Promise<RunningProcess> {
    return this.process.spawn(command, options);
  }

  /** Whether it ended, by close() or by itself. */
  get closed(): boolean {
    return this.handle.closed || c.sandbox.closed(this.handle.get()) !== 0;
  }

  /** Kills everything inside. Idempotent; what is under way in it fails. */
  close(): Promise<void> {
    return this.closing.run();
  }

  /** Gives up this object and leaves the sandbox running: only those of a daemon. */
  detach(): Promise<void> {
    return this.closing.run(c.sandbox.detach);
  }

  /** Milliseconds, with fractions, of one round trip to the agent inside. `timeout`: milliseconds, default 5 s. */
  ping(options: Abortable & { timeout?: number } = {}): Promise<number> {
    const handle = this.handle;
    return run({
      begin: () => c.sandbox.ping(handle.get(), milliseconds(options?.timeout, "timeout")),
      take: (op) => {
        check(c.op.takeCount(op, outPointer, outError));
        return Number(outPointer[0]) / 1e6;
      },
      handle,
      options,
    });
  }

  /** What it uses now. */
  stats(options: Abortable = {}): Promise<SandboxStats> {
    const handle = this.handle;
    return run({ begin: () => c.sandbox.stats(handle.get()), take: takeStats, handle, options });
  }

  /** Stops all programs inside until resume(). */
  pause(options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({ begin: () => c.sandbox.pause(handle.get()), take: takeNothing, handle, options });
  }

  /** Lets them go on. Not paused is fine. */
  resume(options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({ begin: () => c.sandbox.resume(handle.get()), take: takeNothing, handle, options });
  }

  /** Saves everything writable as a template, to create others from. */
  saveTemplate(label: string, options: Abortable = {}): Promise<TemplateInfo> {
    const handle = this.handle;
    return run({
      begin: () => c.sandbox.saveTemplate(handle.get(), ...words(label, "the label")),
      take: (op) => {
        check(c.op.takeBytes(op, outPointer, outError));
        return parse(takeText(), templateInfo);
      },
      handle,
      options,
    });
  }

  /** "sha256:…" of the agent of a sealed sandbox: what to pin. */
  fingerprint(options: Abortable & { timeout?: number } = {}): Promise<string> {
    const handle = this.handle;
    return run({
      begin: () => c.sandbox.fingerprint(handle.get(), milliseconds(options?.timeout, "timeout")),
      take: (op) => {
        check(c.op.takeBytes(op, outPointer, outError));
        return takeText() ?? "";
      },
      handle,
      options,
    });
  }

  /** Limits and locks that the host does not enforce; empty unless the spec allowed that. */
  get unenforced(): string[] {
    check(c.sandbox.unenforced(this.handle.get(), outPointer, outError));
    return (takeText() ?? "").split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closing.run();
  }
}

const stats = new OutStruct(structs.Stats);

function takeStats(op: bigint): SandboxStats {
  check(c.op.takeStats(op, stats.memory, outError));
  return {
    cpuTime: stats.milliseconds("cpu_time_ns"),
    memory: stats.uint64("memory"),
    memoryPeak: stats.uint64("memory_peak"),
    memoryLimit: stats.uint64("memory_limit"),
    pids: stats.uint32("pids"),
    networkRxBytes: stats.uint64("network_rx_bytes"),
    networkTxBytes: stats.uint64("network_tx_bytes"),
    diskUsed: stats.uint64("disk_used"),
    inodesUsed: stats.uint64("inodes_used"),
    oomKills: stats.uint64("oom_kills"),
    uptime: stats.milliseconds("uptime_ns"),
  };
}

/** @internal The sandbox in an op, as one of `owner`'s. */
export function takeSandbox(op: bigint, owner: Handle, opened = false): Sandbox {
  check(c.op.takeSandbox(op, outPointer, outError));
  return new Sandbox(outPointer[0] ?? 0n, owner, opened);
}
