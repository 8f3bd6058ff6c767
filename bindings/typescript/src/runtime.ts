import { Closing, endThenFree } from "./closing.js";
import { EventStream } from "./events.js";
import { encodeCreateOptions, encodeRuntimeOptions, encodeSpec, words } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { milliseconds, uint32 } from "./native/input.js";
import { check, outError, outPointer, takeText } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import { Sandbox, takeSandbox } from "./sandbox.js";
import type { Abortable, CreateOptions, RuntimeOptions, SandboxSpec } from "./types.js";
import { type HostReport, hostReport, listOf, parse, type PoolInfo, poolInfo, type TemplateInfo, templateInfo } from "./values.js";

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

  get pools(): PoolInfo[] {
    check(c.runtime.pools(this.handle.get(), outPointer, outError));
    return parse(takeText(), (value) => listOf(value, poolInfo));
  }

  /** What this host enforces, and what not. */
  get host(): HostReport {
    check(c.runtime.host(this.handle.get(), outPointer, outError));
    return parse(takeText(), hostReport);
  }

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

  removeTemplate(id: string, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.runtime.removeTemplate(handle.get(), ...words(id, "the id")),
      take: takeNothing,
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
