import { cells } from "./native/encode.js";
import * as c from "./native/functions.js";
import { freeWith, Handle } from "./native/handle.js";
import { bytesOf, integer, waitingOf } from "./native/input.js";
import { check, outError, outInt, outPointer, takeBuffer } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import { ExitStatus, exitStatus } from "./exit_status.js";
import { Arrivals, type Iterating, iterate, Turns } from "./streams.js";
import type { Abortable, BytesLike, OutputChunk, TerminalSize, Waiting } from "./types.js";

/**
 * A program that runs in a sandbox. Iterate it for its output; output nobody reads waits in the sandbox, then the program
 * blocks, as on any pipe. Closing it, or dropping it, kills the program's group if it still runs.
 */
export class RunningProcess implements AsyncIterable<OutputChunk>, AsyncDisposable {
  private readonly handle: Handle;
  private readonly input = new Turns();
  private readonly arrivals = new Arrivals<OutputChunk | undefined>("another read is under way", "process.read");

  /** Process id inside the sandbox. */
  readonly pid: number;

  /** @internal */
  constructor(handle: bigint, owner: Handle) {
    this.handle = new Handle("process", handle, freeWith(c.process.free), undefined, owner, c.process.close);
    this.pid = c.process.pid(handle);
  }

  /** The next output; undefined when both streams have ended. One read at a time. */
  read(waiting: Waiting = {}): Promise<OutputChunk | undefined> {
    const handle = this.handle;
    const ready = () => waitingOf(waiting).signal?.throwIfAborted();
    return this.arrivals.next(handle, waiting, () => c.process.read(handle.get()), takeOutput, ready);
  }

  /** All output from now on, as it comes. Leaving the loop leaves the program alone. */
  output(options: Abortable = {}): Iterating<OutputChunk> {
    return iterate(() => this.read(options));
  }

  [Symbol.asyncIterator](): Iterating<OutputChunk> {
    return this.output();
  }

  /** To standard input, all of it, after what was written before; resolves when the program's pipe has taken it. */
  write(bytes: BytesLike, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return this.input.next(() =>
      run({
        begin: () => {
          const content = bytesOf(bytes, "the input");
          return c.process.write(handle.get(), content, content.byteLength);
        },
        take: takeNothing,
        handle,
        options,
      }),
    );
  }

  /** End of file on standard input, after what was written before. Idempotent. */
  closeInput(): Promise<void> {
    return this.input.next(async () => check(c.process.closeInput(this.handle.get(), outError)));
  }

  /** Sends a signal, by its number, to the program's group. No error if it ended already. */
  signal(signal: number): void {
    check(c.process.signal(this.handle.get(), integer(signal ?? null, "the signal", 1, 64), outError));
  }

  /** Programs on a terminal only: failed_precondition otherwise. */
  resize({ rows, columns }: TerminalSize): void {
    check(c.process.resize(this.handle.get(), cells(rows, "rows"), cells(columns, "columns"), outError));
  }

  /** Kills the group (SIGKILL); wait() then says "cancelled". */
  kill(): void {
    check(c.process.kill(this.handle.get(), outError));
  }

  /** Until it ended. Drops unread output: read first what you want to have. Repeatable; giving up leaves the program alone. */
  wait(waiting: Waiting = {}): Promise<ExitStatus> {
    const handle = this.handle;
    return run({ begin: () => c.process.wait(handle.get()), take: takeStatus, handle, waiting });
  }

  /** Ends the program if it still runs, and every call under way with it. Idempotent. */
  close(): void {
    this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

function takeOutput(op: bigint): OutputChunk | undefined {
  check(c.op.takeOutput(op, outInt, outPointer, outError));
  const stream = outInt[0] === 2 ? "stderr" : "stdout";
  const bytes = takeBuffer();
  return bytes && { stream, bytes };
}

function takeStatus(op: bigint): ExitStatus {
  check(c.op.takeStatus(op, exitStatus.memory, outError));
  return new ExitStatus(exitStatus);
}
