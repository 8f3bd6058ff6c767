import { Closing, endThenFree } from "./closing.js";
import { EventStream } from "./events.js";
import { encodeClientOptions, encodeCreateOptions, encodeCreateRequest, encodeOpenOptions, words } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { integer, milliseconds, pairsOf, uint32 } from "./native/input.js";
import { check, outError, outPointer, takeText } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import { type Sandbox, takeSandbox } from "./sandbox.js";
import type { Abortable, ClientOptions, CreateOptions, CreateRequest, OpenOptions } from "./types.js";
import {
  type EventHistory,
  eventHistory,
  type Health,
  health,
  listOf,
  parse,
  type PoolInfo,
  poolInfo,
  type ProfileInfo,
  profileInfo,
  type SandboxInfo,
  sandboxInfo,
  type TemplateInfo,
  templateInfo,
} from "./values.js";

/** Sandboxes of a daemon, sandboxd. */
export class Client implements AsyncDisposable {
  private readonly handle: Handle;
  private readonly closing: Closing;

  private constructor(handle: bigint) {
    this.handle = new Handle("client", handle, freeWith(c.client.free), endThenFree(c.client.close, c.client.free));
    this.closing = new Closing(this.handle, c.client.close);
  }

  /** `endpoint`: "unix:///path", "http://host:port", "https://host:port"; empty: $SANDBOX_HOST, else the default socket. */
  static connect(endpoint = "", options: ClientOptions = {}): Promise<Client> {
    return run({
      begin: () => c.client.connect(...words(endpoint, "the endpoint"), encodeClientOptions(options)),
      take: (op) => {
        check(c.op.takeClient(op, outPointer, outError));
        return new Client(outPointer[0] ?? 0n);
      },
      options,
    });
  }

  /** A sandbox that ends with this object, or its ttl after. */
  create(request: CreateRequest = {}, options: CreateOptions = {}): Promise<Sandbox> {
    const handle = this.handle;
    return run({
      begin: () => c.client.create(handle.get(), encodeCreateRequest(request), encodeCreateOptions(options)),
      take: (op) => takeSandbox(op, handle),
      handle,
      options,
    });
  }

  /** A sandbox that exists. Dropping the object leaves it alone; close() destroys it. */
  open(id: string, options: OpenOptions = {}): Promise<Sandbox> {
    const handle = this.handle;
    return run({
      begin: () => c.client.open(handle.get(), ...words(id, "the id"), encodeOpenOptions(options)),
      take: (op) => takeSandbox(op, handle, true),
      handle,
      options,
    });
  }

  /** Destroys a sandbox by its id. */
  remove(id: string, options: Abortable = {}): Promise<void> {
    return this.done(options, (handle) => c.client.remove(handle, ...words(id, "the id")));
  }

  /** All sandboxes, or those with all of these labels. */
  list(options: Abortable & { labels?: Readonly<Record<string, string>> } = {}): Promise<SandboxInfo[]> {
    return this.told(options, (value) => listOf(value, sandboxInfo), (handle) => {
      const labels = pairsOf(options?.labels, "labels");
      return c.client.list(handle, labels, labels.length);
    });
  }

  /** What its daemon says of one sandbox. Rejects with NotFoundError. */
  find(id: string, options: Abortable = {}): Promise<SandboxInfo> {
    return this.told(options, sandboxInfo, (handle) => c.client.find(handle, ...words(id, "the id")));
  }

  /** Templates of the daemon, or of this tenant. */
  templates(options: Abortable = {}): Promise<TemplateInfo[]> {
    return this.told(options, (value) => listOf(value, templateInfo), c.client.templates);
  }

  /** Rejects with NotFoundError. */
  findTemplate(id: string, options: Abortable = {}): Promise<TemplateInfo> {
    return this.told(options, templateInfo, (handle) => c.client.findTemplate(handle, ...words(id, "the id")));
  }

  /** Rejects with NotFoundError, or FailedPreconditionError while a sandbox stands on it. */
  removeTemplate(id: string, options: Abortable = {}): Promise<void> {
    return this.done(options, (handle) => c.client.removeTemplate(handle, ...words(id, "the id")));
  }

  /** The configured kinds of sandbox: CreateRequest.profile. */
  profiles(options: Abortable = {}): Promise<ProfileInfo[]> {
    return this.told(options, (value) => listOf(value, profileInfo), c.client.profiles);
  }

  /** The warm pools as they are now. Only over the unix socket, as setWarm() and flush() are. */
  pools(options: Abortable = {}): Promise<PoolInfo[]> {
    return this.told(options, (value) => listOf(value, poolInfo), c.client.pools);
  }

  /** Keeps `count` sandboxes of a profile ready. */
  setWarm(profile: string, count: number, options: Abortable = {}): Promise<void> {
    return this.done(options, (handle) => c.client.setWarm(handle, ...words(profile, "the profile"), uint32(count ?? null, "count")));
  }

  /** Throws the ready sandboxes of a profile away. */
  flush(profile: string, options: Abortable = {}): Promise<void> {
    return this.done(options, (handle) => c.client.flush(handle, ...words(profile, "the profile")));
  }

  /** Until every pool holds its warm count. `timeout`: milliseconds, default 30 s. */
  waitWarm(options: Abortable & { timeout?: number } = {}): Promise<void> {
    return this.done(options, (handle) => c.client.waitWarm(handle, milliseconds(options?.timeout, "timeout")));
  }

  /** Past events, those after event `after`. */
  history(options: Abortable & { after?: number; limit?: number } = {}): Promise<EventHistory> {
    return this.told(options, eventHistory, (handle) =>
      c.client.history(handle, integer(options?.after, "after", 0, Number.MAX_SAFE_INTEGER), uint32(options?.limit, "limit")),
    );
  }

  /** How the daemon is, and what it speaks. */
  health(options: Abortable = {}): Promise<Health> {
    return this.told(options, health, c.client.health);
  }

  /** Prometheus text. */
  metrics(options: Abortable = {}): Promise<string> {
    const handle = this.handle;
    return run({ begin: () => c.client.metrics(handle.get()), take: takeJson, handle, options });
  }

  /** Events from now on, or those after event `after` first. */
  events(options: Abortable & { after?: number } = {}): Promise<EventStream> {
    const handle = this.handle;
    return run({
      begin: () => c.client.events(handle.get(), integer(options?.after, "after", 0, Number.MAX_SAFE_INTEGER, -1)),
      take: (op) => {
        check(c.op.takeEvents(op, outPointer, outError));
        return new EventStream(outPointer[0] ?? 0n, handle);
      },
      handle,
      options,
    });
  }

  /** Later calls fail. Sandboxes it gave out keep their sessions until they are closed or left themselves. Idempotent. */
  close(): Promise<void> {
    return this.closing.run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closing.run();
  }

  private told<T>(options: Abortable, read: (value: unknown) => T, start: (handle: bigint) => bigint | null): Promise<T> {
    const handle = this.handle;
    return run({ begin: () => start(handle.get()), take: (op) => parse(takeJson(op), read), handle, options });
  }

  private done(options: Abortable, start: (handle: bigint) => bigint | null): Promise<void> {
    const handle = this.handle;
    return run({ begin: () => start(handle.get()), take: takeNothing, handle, options });
  }
}

function takeJson(op: bigint): string {
  check(c.op.takeBytes(op, outPointer, outError));
  return takeText() ?? "";
}
