import { Closing, endThenFree } from "./closing.js";
import { EventStream } from "./events.js";
import { encodeCreateOptions, encodePruneOptions, encodeRuntimeOptions, encodeSpec, words } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { milliseconds, uint32 } from "./native/input.js";
import { check, outError, outPointer, takeText } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import { Sandbox, takeSandbox } from "./sandbox.js";
import type { Abortable, CreateOptions, PruneOptions, RuntimeOptions, SandboxSpec } from "./types.js";
import {
  type HostReport,
  hostReport,
  listOf,
  parse,
  type PoolInfo,
  poolInfo,
  type PrunedLayer,
  prunedLayer,
  type TemplateInfo,
  templateInfo,
} from "./values.js";

/** Sandboxes of this process, without a daemon. */
export class Runtime implements AsyncDisposable {
  private readonly handle: Handle;
  private readonly closing: Closing;

  private constructor(handle: bigint) {
    this.handle = new Handle("runtime", handle, freeWith(c.runtime.free), endThenFree(c.runtime.close, c.runtime.free));
    this.closing = new Closing(this.handle, c.runtime.close);
  }

  /** Starts what makes sandboxes, and begins to fill the warm pools. */
  static open(options: RuntimeOptions = {}): Promise<Runtime> {
    return run({
      begin: () => c.runtime.open(encodeRuntimeOptions(options)),
      take: (op) => {
        check(c.op.takeRuntime(op, outPointer, outError));
        return new Runtime(outPointer[0] ?? 0n);
      },
      options,
    });
  }

  /** A sandbox, from the warm pool of its spec when one is ready. */
  create(spec: SandboxSpec = {}, options: CreateOptions = {}): Promise<Sandbox> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.create(handle.get(), encodeSpec(spec), encodeCreateOptions(options)),
      take: (op) => takeSandbox(op, handle),
      handle,
      options,
    });
  }

  /** Until every pool holds its warm count. `timeout`: milliseconds, default 30 s. */
  waitWarm(options: Abortable & { timeout?: number } = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.waitWarm(handle.get(), milliseconds(options?.timeout, "timeout")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Keeps `count` sandboxes of this spec ready. */
  setWarm(spec: SandboxSpec, count: number, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.setWarm(handle.get(), encodeSpec(spec), uint32(count ?? null, "count")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Sandboxes handed out and alive. */
  get live(): number {
    check(c.runtime.live(this.handle.get(), outPointer, outError));
    return Number(outPointer[0]);
  }

  /** The warm pools as they are now. */
  get pools(): PoolInfo[] {
    check(c.runtime.pools(this.handle.get(), outPointer, outError));
    return parse(takeText(), (value) => listOf(value, poolInfo));
  }

  /** What this host enforces, and what not. */
  get host(): HostReport {
    check(c.runtime.host(this.handle.get(), outPointer, outError));
    return parse(takeText(), hostReport);
  }

  /** Templates of the state directory. */
  templates(options: Abortable = {}): Promise<TemplateInfo[]> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.templates(handle.get()),
      take: (op) => {
        check(c.op.takeBytes(op, outPointer, outError));
        return parse(takeText(), (value) => listOf(value, templateInfo));
      },
      handle,
      options,
    });
  }

  /** Rejects with NotFoundError. */
  findTemplate(id: string, options: Abortable = {}): Promise<TemplateInfo> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.findTemplate(handle.get(), ...words(id, "the id")),
      take: (op) => {
        check(c.op.takeBytes(op, outPointer, outError));
        return parse(takeText(), templateInfo);
      },
      handle,
      options,
    });
  }

  /** Rejects with NotFoundError, or FailedPreconditionError while a sandbox stands on it. */
  removeTemplate(id: string, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.removeTemplate(handle.get(), ...words(id, "the id")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /**
   * Removes unpacked layers of the state directory that nothing uses, in this process or another, and tells which. What a
   * template stands on stays; a layer of an archive is unpacked again when it is asked for. Aborted, it runs out behind.
   */
  prune(options: PruneOptions = {}): Promise<PrunedLayer[]> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.prune(handle.get(), encodePruneOptions(options)),
      take: (op) => {
        check(c.op.takeBytes(op, outPointer, outError));
        return parse(takeText(), (value) => listOf(value, prunedLayer));
      },
      handle,
      options,
    });
  }

  /** Events from now on. */
  events(): EventStream {
    check(c.runtime.events(this.handle.get(), outPointer, outError));
    return new EventStream(outPointer[0] ?? 0n, this.handle);
  }

  /** Of a persistent runtime: the sandboxes taken over from an earlier one that nobody took yet. */
  adopted(): Sandbox[] {
    const all: Sandbox[] = [];
    for (;;) {
      check(c.runtime.nextAdopted(this.handle.get(), outPointer, outError));
      const handle = outPointer[0] ?? 0n;
      if (handle === 0n) return all;
      all.push(new Sandbox(handle, this.handle));
    }
  }

  /** Ends a persistent runtime and leaves its sandboxes for the next one. */
  leave(): Promise<void> {
    return this.closing.run(c.runtime.leave);
  }

  /** Destroys every sandbox. Idempotent. */
  close(): Promise<void> {
    return this.closing.run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closing.run();
  }
}
