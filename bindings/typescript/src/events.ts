import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { check, outError, outPointer, takeText } from "./native/memory.js";
import { Arrivals, type Iterating, iterate } from "./streams.js";
import type { Abortable, Waiting } from "./types.js";
import { parse, type SandboxEvent, sandboxEvent } from "./values.js";

/** What happens in a runtime or daemon. At most 4096 events wait to be taken; `gap` says that some were lost. */
export class EventStream implements AsyncIterable<SandboxEvent>, AsyncDisposable {
  private readonly handle: Handle;
  private readonly arrivals = new Arrivals<SandboxEvent>("somebody waits for the next event already", "events.next");

  /** @internal */
  constructor(handle: bigint, owner: Handle) {
    this.handle = new Handle("event stream", handle, freeWith(c.events.free), undefined, owner, c.events.cancel);
  }

  /** One at a time. Giving up loses nothing. */
  next(waiting: Waiting = {}): Promise<SandboxEvent> {
    const handle = this.handle;
    return this.arrivals.next(handle, waiting, () => c.events.next(handle.get()), takeEvent);
  }

  /** All events from now on, until close(). */
  all(options: Abortable = {}): Iterating<SandboxEvent> {
    return iterate(
      () => this.next(options),
      () => this.handle.closed,
    );
  }

  [Symbol.asyncIterator](): Iterating<SandboxEvent> {
    return this.all();
  }

  /** Whether events between those seen were lost. */
  get gap(): boolean {
    return c.events.gap(this.handle.get()) !== 0;
  }

  /** Idempotent. */
  close(): void {
    this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

function takeEvent(op: bigint): SandboxEvent {
  check(c.op.takeBytes(op, outPointer, outError));
  return parse(takeText(), sandboxEvent);
}
