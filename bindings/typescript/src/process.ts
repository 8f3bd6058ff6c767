import { ExecResult, exitStatus } from "./exit_status.js";
import { encodeCommand } from "./native/encode.js";
import * as c from "./native/functions.js";
import type { Handle } from "./native/handle.js";
import { check, copyOut, outError, outPointer, release } from "./native/memory.js";
import { run } from "./native/operation.js";
import { RunningProcess } from "./running_process.js";
import type { Command, CommandOptions, SpawnOptions } from "./types.js";

/** Programs of one sandbox. */
export class Process {
  /** @internal */
  constructor(private readonly handle: Handle) {}

  /** Runs a program and collects its output. Aborting kills its group. */
  exec(command: Command, options: CommandOptions = {}): Promise<ExecResult> {
    const handle = this.handle;
    return run({ begin: () => c.process.exec(handle.get(), encodeCommand(command, options)), take: takeExec, handle, options });
  }

  /** Starts a program; the promise resolves as soon as it runs. */
  spawn(command: Command, options: SpawnOptions = {}): Promise<RunningProcess> {
    const handle = this.handle;
    return run({
      begin: () => c.process.spawn(handle.get(), encodeCommand(command, options)),
      take: (op) => {
        check(c.op.takeProcess(op, outPointer, outError));
        return new RunningProcess(outPointer[0] ?? 0n, handle);
      },
      handle,
      options,
    });
  }
}

function takeExec(op: bigint): ExecResult {
  check(c.op.takeExec(op, outPointer, outError));
  const result = outPointer[0] ?? 0n;
  try {
    c.execResult.status(result, exitStatus.memory);
    return new ExecResult(exitStatus, copyOut(c.execResult.stdout(result)), copyOut(c.execResult.stderr(result)));
  } finally {
    release(c.execResult.free, result);
  }
}
