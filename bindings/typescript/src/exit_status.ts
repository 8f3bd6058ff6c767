import { OutStruct } from "./native/memory.js";
import * as structs from "./native/structs.js";
import type { ExitCause } from "./types.js";

/** How a program ended: data, not an error. */
export class ExitStatus {
  readonly cause: ExitCause;
  /** Valid when `cause` is "exited". */
  readonly exitCode: number;
  /** The signal that ended it, for every other cause. */
  readonly signal: number;
  readonly coreDumped: boolean;
  /** OOM kills in the sandbox while it ran, of any process. */
  readonly oomKills: number;
  /** Written by the program. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** Of these, dropped beyond maxOutput. */
  readonly stdoutDropped: number;
  readonly stderrDropped: number;
  /** Milliseconds, with fractions, like the next two. */
  readonly wallTime: number;
  readonly userTime: number;
  readonly systemTime: number;
  /** Bytes. */
  readonly maxRss: number;

  /** @internal */
  constructor(from: OutStruct) {
    this.cause = CAUSES[from.int("cause")] ?? "exited";
    this.exitCode = from.int("exit_code");
    this.signal = from.int("signal");
    this.coreDumped = from.int("core_dumped") !== 0;
    this.oomKills = from.uint32("oom_kills");
    this.stdoutBytes = from.uint64("stdout_bytes");
    this.stderrBytes = from.uint64("stderr_bytes");
    this.stdoutDropped = from.uint64("stdout_dropped");
    this.stderrDropped = from.uint64("stderr_dropped");
    this.wallTime = from.milliseconds("wall_time_ns");
    this.userTime = from.milliseconds("user_time_ns");
    this.systemTime = from.milliseconds("system_time_ns");
    this.maxRss = from.uint64("max_rss");
  }

  /** Whether it ended by itself with 0. */
  get ok(): boolean {
    return this.cause === "exited" && this.exitCode === 0;
  }

  /** What a shell would say: exitCode, or 128 + signal; 124 when timed out. */
  get shellCode(): number {
    if (this.cause === "exited") return this.exitCode;
    return this.cause === "timed_out" ? 124 : 128 + this.signal;
  }
}

const CAUSES: readonly (ExitCause | undefined)[] = [
  undefined,
  "exited",
  "signalled",
  "timed_out",
  "out_of_memory",
  "limit_hit",
  "cancelled",
];

/** Status and collected output of a program that ended. */
export class ExecResult extends ExitStatus {
  /** @internal */
  constructor(
    from: OutStruct,
    readonly stdoutBuffer: Buffer,
    readonly stderrBuffer: Buffer,
  ) {
    super(from);
  }

  /** Standard output as UTF-8. */
  get stdout(): string {
    return this.stdoutBuffer.toString("utf8");
  }

  get stderr(): string {
    return this.stderrBuffer.toString("utf8");
  }
}

/** @internal Where C writes one. */
export const exitStatus = new OutStruct(structs.ExitStatus);
