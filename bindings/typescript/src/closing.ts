import { release } from "./native/memory.js";
import * as c from "./native/functions.js";
import type { Dispose, Handle } from "./native/handle.js";
import { run, takeNothing } from "./native/operation.js";

/** For things whose end takes time: begun on the loop, freed when it is over. */

type Start = (handle: bigint) => bigint | null;

/** Of handles that were dropped: ends what they stand for without blocking the loop, then frees them. */
export const endThenFree =
  (start: Start, free: typeof c.op.free): Dispose =>
  (handle) => {
    run({ begin: () => start(handle), take: takeNothing }).then(
      () => release(free, handle),
      () => release(free, handle),
    );
  };

/** close() of one object: once, however often it is called; again after it failed. */
export class Closing {
  private closing: Promise<void> | undefined;

  constructor(
    private readonly handle: Handle,
    private readonly start: Start,
  ) {}

  get begun(): boolean {
    return this.closing !== undefined;
  }

  run(start = this.start): Promise<void> {
    this.closing ??= run({ begin: () => start(this.handle.get()), take: takeNothing, handle: this.handle }).then(
      () => this.handle.close(),
      (error: unknown) => {
        this.closing = undefined;
        throw error;
      },
    );
    return this.closing;
  }
}

