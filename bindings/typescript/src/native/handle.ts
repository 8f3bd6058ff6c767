import { FailedPreconditionError } from "../errors.js";
import type * as functions from "./functions.js";
import { release } from "./memory.js";
import type { Underway } from "./operation.js";

/** What to do with a handle that nobody has any more. */
export type Dispose = (handle: bigint) => void;

/** Frees at once: for handles whose freeing does not block. */
export const freeWith =
  (free: typeof functions.op.free): Dispose =>
  (handle) =>
    release(free, handle);

/** Objects that were dropped without close(). The loop frees what they held. */
const dropped = new FinalizationRegistry<{ handle: bigint; dispose: Dispose }>(({ handle, dispose }) => {
  try {
    dispose(handle);
  } catch {
    // Nobody is left to be told.
  }
});

/**
 * Owns one handle of C. It is freed once: when it was closed and its last operation has ended, or when nothing refers to
 * it any more. Operations under way hold it, so C never sees a handle that is gone.
 */
export class Handle {
  private readonly operations = new Set<Underway>();
  private open = true;
  private freed = false;

  /**
   * @param what for people: "sandbox"
   * @param free frees the handle after close()
   * @param dispose frees it when it was dropped instead
   * @param owner stays alive as long as this one
   * @param end has the operations under way end soon
   */
  constructor(
    private readonly what: string,
    private readonly handle: bigint,
    private readonly free: Dispose,
    dispose: Dispose = free,
    readonly owner?: Handle,
    private readonly end?: Dispose,
  ) {
    dropped.register(this, { handle, dispose }, this);
  }

  get closed(): boolean {
    return !this.open;
  }

  /** The handle for a call now. Errors: failed_precondition after close(). */
  get(): bigint {
    if (!this.open) throw new FailedPreconditionError(`the ${this.what} is closed`, `${this.what}.closed`);
    return this.handle;
  }

  hold(operation: Underway): void {
    this.operations.add(operation);
  }

  drop(operation: Underway): void {
    this.operations.delete(operation);
    this.freeIfUnused();
  }

  /** No more calls; the handle goes when those under way have ended. Idempotent. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.end?.(this.handle);
    this.freeIfUnused();
  }

  private freeIfUnused(): void {
    if (this.open || this.freed || this.operations.size > 0) return;
    this.freed = true;
    dropped.unregister(this);
    this.free(this.handle);
  }
}
