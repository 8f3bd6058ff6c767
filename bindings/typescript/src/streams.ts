/** What the streams of this package have in common. */

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
