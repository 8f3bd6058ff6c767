import { Socket, type ConnectOpts, type SocketConstructorOpts } from "node:net";
import { DeadlineExceededError, InternalError, ResourceExhaustedError, SandboxError } from "../errors.js";
import * as c from "./functions.js";
import type { Handle } from "./handle.js";
import { signalOf, waitingOf } from "./input.js";
import { check, outError, outPointer, release } from "./memory.js";
import type { Abortable, Waiting } from "../types.js";

/**
 * Work under way. Each operation is started in C and, unless it has ended by then, reports to one queue of this thread; the
 * queue's descriptor is a socket of Node's own loop, so nothing waits in a thread and nothing is called from one.
 */

/** The longest that a timer of Node waits, 24 days. */
const MAX_TIMER = 2 ** 31 - 1;

interface Start<T> {
  /** Starts the work: one of the sbx_x_start functions. */
  begin: () => bigint | null;
  /** Takes the result out of the ended op; may throw. */
  take: (op: bigint) => T;
  /** Lives until the op has ended, and knows it as its own. */
  handle?: Handle | undefined;
  /** Of the caller: looked at for a signal. */
  options?: Abortable | undefined;
  /** In place of `options`: also looked at for a time after which the promise is rejected with deadline_exceeded. */
  waiting?: Waiting | undefined;
  /** Gets a result that came although the operation was aborted, where it must not be lost. */
  late?: ((value: T) => void) | undefined;
}

/** An operation, whatever its result. */
export interface Underway {
  cancel(): void;
  settle(): void;
}

class Operation<T> implements Underway {
  private reason: { value: unknown } | undefined;
  private readonly onAbort: (() => void) | undefined;
  private readonly timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly op: bigint,
    private readonly start: Start<T>,
    private readonly signal: AbortSignal | undefined,
    timeout: number | undefined,
    private readonly resolve: (value: T) => void,
    private readonly reject: (reason: unknown) => void,
  ) {
    start.handle?.hold(this);
    if (signal) {
      this.onAbort = () => this.stop(signal.reason);
      signal.addEventListener("abort", this.onAbort, { once: true });
    }
    if (timeout !== undefined && timeout <= MAX_TIMER) {
      this.timer = setTimeout(() => this.stop(new DeadlineExceededError("not within the time given", "wait")), timeout);
    }
  }

  /** Has the operation end, and be rejected with `reason` then. */
  private stop(reason: unknown): void {
    this.reason ??= { value: reason };
    this.cancel();
  }

  cancel(): void {
    c.op.cancel(this.op);
  }

  unhook(): void {
    if (this.onAbort) this.signal?.removeEventListener("abort", this.onAbort);
    clearTimeout(this.timer);
  }

  /** The op has ended. */
  settle(): void {
    const { handle, take, late } = this.start;
    this.unhook();
    try {
      if (this.reason) {
        if (late) {
          try {
            late(take(this.op));
          } catch {
            // The usual end of an aborted operation: there is no result.
          }
        }
        this.reject(this.reason.value);
      } else {
        this.resolve(take(this.op));
      }
    } catch (error) {
      this.reject(error);
    } finally {
      release(c.op.free, this.op);
      handle?.drop(this);
    }
  }
}

/** Where the ops of this thread report that they ended. */
class Queue {
  private readonly handle: bigint;
  private readonly socket: Socket;
  private readonly tags = new BigUint64Array(256);
  private readonly pending = new Map<number, Underway>();
  private lastTag = 0;

  constructor() {
    check(c.queue.create(outPointer, outError));
    this.handle = outPointer[0] ?? 0n;
    const fd = c.duplicate(c.queue.fd(this.handle));
    if (fd < 0) {
      release(c.queue.free, this.handle);
      throw new ResourceExhaustedError("no descriptor for the queue of operations", "queue");
    }
    // What is in the socket says nothing; it is read into the same few bytes again and again.
    const options: SocketConstructorOpts & ConnectOpts = {
      fd,
      readable: true,
      writable: false,
      onread: {
        buffer: Buffer.alloc(64),
        callback: () => {
          this.drain();
          return true;
        },
      },
    };
    this.socket = new Socket(options);
    this.socket.on("error", (error) => this.fail(error));
    this.socket.on("close", () => this.fail(new InternalError("the queue of operations was closed")));
    this.socket.unref();
  }

  add(op: bigint, operation: Underway): void {
    const tag = ++this.lastTag;
    check(c.op.notify(op, this.handle, tag, outError));
    if (this.pending.size === 0) this.socket.ref();
    this.pending.set(tag, operation);
  }

  private drain(): void {
    let count: number;
    do {
      count = c.queue.next(this.handle, this.tags, this.tags.length);
      for (let i = 0; i < count; i++) {
        const tag = Number(this.tags[i]);
        const operation = this.pending.get(tag);
        this.pending.delete(tag);
        operation?.settle();
      }
    } while (count === this.tags.length);
    if (this.pending.size === 0) this.socket.unref();
  }

  /** Without the socket nothing would ever end: whoever waits hears so. */
  private fail(error: Error): void {
    queue = undefined;
    for (const operation of this.pending.values()) operation.cancel();
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const operation of waiting) operation.settle();
    process.emitWarning(`sandbox: ${error.message}`);
  }
}

let queue: Queue | undefined;

/** Of so many short answers in a row one lets the rest of the loop have its turn, which costs more than an answer. */
const AT_ONCE = 8;
let inARow = 0;

const settle = (operation: Underway): void => operation.settle();

/** Starts an operation. Everything that goes wrong, wrong arguments included, rejects the promise. */
export function run<T>(start: Start<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const { signal, timeout } =
      start.waiting !== undefined ? waitingOf(start.waiting) : { signal: signalOf(start.options), timeout: undefined };
    signal?.throwIfAborted();
    queue ??= new Queue();
    const op = start.begin();
    if (op === null) throw new SandboxError("resource_exhausted", "no memory for the operation");
    const operation = new Operation(op, start, signal, timeout, resolve, reject);
    // A short answer comes while its operation is started.
    if (c.op.done(op) !== 0) {
      inARow = (inARow + 1) % AT_ONCE;
      return inARow === 0 ? void setImmediate(settle, operation) : operation.settle();
    }
    try {
      queue.add(op, operation);
    } catch (error) {
      operation.unhook();
      release(c.op.free, op);
      start.handle?.drop(operation);
      throw error;
    }
  });
}

/** For operations that only succeed or fail. */
export function takeNothing(op: bigint): void {
  check(c.op.take(op, outError));
}
