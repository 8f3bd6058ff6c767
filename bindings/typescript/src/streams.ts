/** What the streams of this package have in common. */
import { FailedPreconditionError } from "./errors.js";
import type { Handle } from "./native/handle.js";
import { run } from "./native/operation.js";
import type { Waiting } from "./types.js";

/** An async iterator that `for await` takes, and that ends without closing what it reads from. */
export interface Iterating<T> extends AsyncIterableIterator<T> {
  [Symbol.asyncIterator](): Iterating<T>;
}

/** `next` until it has no more, or until `closed` by somebody while it waits. */
export function iterate<T>(next: () => Promise<T | undefined>, closed: () => boolean = () => false): Iterating<T> {
  let over = false;
  const end = { done: true as const, value: undefined };
  return {
    async next(): Promise<IteratorResult<T, undefined>> {
      if (over || closed()) return end;
      try {
        const value = await next();
        if (value !== undefined) return { done: false, value };
      } catch (error) {
        if (!closed()) throw error;
      }
      over = true;
      return end;
    },
    async return(): Promise<IteratorResult<T, undefined>> {
      over = true;
      return end;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** What comes piece by piece to whoever asks, one asking at a time. Giving up loses nothing: the next who asks gets it. */
export class Arrivals<T> {
  private readonly kept: T[] = [];
  private busy = false;

  /** `refused`: what somebody is told who asks while another waits. */
  constructor(
    private readonly refused: string,
    private readonly operation: string,
  ) {}

  /** `begin` and `take` as those of an operation. `ready` throws what stands in the way even of a piece that is here already. */
  async next(
    handle: Handle,
    waiting: Waiting,
    begin: () => bigint | null,
    take: (op: bigint) => T,
    ready?: () => void,
  ): Promise<T> {
    handle.get();
    if (this.busy) throw new FailedPreconditionError(this.refused, this.operation);
    ready?.();
    if (this.kept.length > 0) return this.kept.shift() as T;
    this.busy = true;
    try {
      return await run({ begin, take, handle, waiting, late: (piece) => this.kept.push(piece) });
    } finally {
      this.busy = false;
    }
  }
}

/** Work that is done one after the other, in the order it was asked for, whether or not what came before succeeded. */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();
  private waiting = 0;

  next<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.waiting === 0 ? work() : this.last.then(work, work);
    this.waiting++;
    this.last = mine.then(
      () => this.waiting--,
      () => this.waiting--,
    );
    return mine;
  }
}
