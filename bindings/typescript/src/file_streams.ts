import { words } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { check, OutStruct, outError, outPointer, takeBuffer } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import * as structs from "./native/structs.js";
import { Arrivals, type Iterating, iterate, Turns } from "./streams.js";
import type { Abortable, BytesLike, Transfer, Waiting } from "./types.js";
import { waitingOf } from "./native/input.js";

/**
 * A file, or a directory as tar, on its way out, at the reader's pace. Iterate it for its pieces; for a stream of Node:
 * `Readable.from(reader, { objectMode: false })`.
 */
export class FileReader implements AsyncIterable<Buffer>, AsyncDisposable {
  private readonly handle: Handle;
  private readonly arrivals = new Arrivals<Buffer | undefined>("another read is under way", "reader.read");

  /** @internal */
  constructor(handle: bigint, owner: Handle) {
    this.handle = new Handle("reader", handle, freeWith(c.reader.free), undefined, owner, c.reader.close);
  }

  /** The next piece; undefined at the end. One read at a time. */
  read(waiting: Waiting = {}): Promise<Buffer | undefined> {
    const handle = this.handle;
    const ready = () => waitingOf(waiting).signal?.throwIfAborted();
    return this.arrivals.next(handle, waiting, () => c.reader.read(handle.get()), takePiece, ready);
  }

  /** All pieces from here on. Leaving the loop leaves the reader open. */
  pieces(options: Abortable = {}): Iterating<Buffer> {
    return iterate(() => this.read(options));
  }

  [Symbol.asyncIterator](): Iterating<Buffer> {
    return this.pieces();
  }

  /** Ends the transfer. Idempotent. */
  close(): void {
    this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** Content on its way into a file, or an archive into a directory. Closed before finish(), it leaves the old content in place. */
export class FileWriter implements AsyncDisposable {
  private readonly handle: Handle;
  private readonly order = new Turns();

  /** @internal */
  constructor(handle: bigint, owner: Handle) {
    this.handle = new Handle("writer", handle, freeWith(c.writer.free), undefined, owner, c.writer.close);
  }

  /** After what was written before; resolves when there is room for more. */
  write(bytes: BytesLike, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return this.order.next(() =>
      run({ begin: () => c.writer.write(handle.get(), ...words(bytes, "the content")), take: takeNothing, handle, options }),
    );
  }

  /** Everything that `source` gives, then finish(). Ends as soon as one of the two fails. */
  async writeAll(source: AsyncIterable<BytesLike> | Iterable<BytesLike>, options: Abortable = {}): Promise<Transfer> {
    for await (const piece of source) await this.write(piece, options);
    return this.finish(options);
  }

  /** No more content: waits until everything is in place. */
  finish(options: Abortable = {}): Promise<Transfer> {
    const handle = this.handle;
    return this.order.next(() => run({ begin: () => c.writer.finish(handle.get()), take: takeTransfer, handle, options }));
  }

  /** Ends the transfer. Idempotent; after finish() it changes nothing. */
  close(): void {
    this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

function takePiece(op: bigint): Buffer | undefined {
  check(c.op.takeBytes(op, outPointer, outError));
  return takeBuffer();
}

const transfer = new OutStruct(structs.Transfer);

/** @internal */
export function takeTransfer(op: bigint): Transfer {
  check(c.op.takeTransfer(op, transfer.memory, outError));
  return { entries: transfer.uint64("entries"), bytes: transfer.uint64("bytes"), skipped: transfer.uint64("skipped") };
}
