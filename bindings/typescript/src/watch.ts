import { FILE_TYPES } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { check, OutStruct, outError } from "./native/memory.js";
import * as structs from "./native/structs.js";
import { Arrivals, type Iterating, iterate } from "./streams.js";
import type { Abortable, FileChange, FileEvent, Waiting } from "./types.js";

/** Changes of files below a directory. Iterate it, or ask for the next. */
export class Watch implements AsyncIterable<FileEvent>, AsyncDisposable {
  private readonly handle: Handle;
  private readonly arrivals = new Arrivals<FileEvent>("somebody waits for the next event already", "watch.next");

  /** @internal */
  constructor(handle: bigint, owner: Handle) {
    this.handle = new Handle("watch", handle, freeWith(c.watch.free), undefined, owner, c.watch.close);
  }

  /** One at a time. Giving up loses nothing. */
  next(waiting: Waiting = {}): Promise<FileEvent> {
    const handle = this.handle;
    return this.arrivals.next(handle, waiting, () => c.watch.next(handle.get()), takeEvent);
  }

  /** All events from now on. Ends by its signal, or with close(). */
  events(options: Abortable = {}): Iterating<FileEvent> {
    return iterate(
      () => this.next(options),
      () => this.handle.closed,
    );
  }

  [Symbol.asyncIterator](): Iterating<FileEvent> {
    return this.events();
  }

  /** Idempotent. */
  close(): void {
    this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

const CHANGES: readonly FileChange[] = ["overflow", "created", "modified", "removed", "renamed", "attributes", "overflow"];
const event = new OutStruct(structs.FileEvent);

function takeEvent(op: bigint): FileEvent {
  check(c.op.takeFileEvent(op, event.memory, outError));
  return {
    change: CHANGES[event.int("change")] ?? "overflow",
    type: FILE_TYPES[event.int("type")] ?? "unknown",
    path: event.text("path"),
    oldPath: event.text("old_path"),
  };
}
