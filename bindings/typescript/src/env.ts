import * as structs from "./native/structs.js";
import { bytesOf } from "./native/input.js";
import * as c from "./native/functions.js";
import type { Handle } from "./native/handle.js";
import { check, OutStruct, outError, outPointer, release, takeText } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import type { Abortable, BytesLike } from "./types.js";

const NONE: Abortable = {};

/** The environment that programs of a sandbox start with. */
export class Env {
  /** @internal */
  constructor(private readonly handle: Handle) {}

  /** undefined: not set. */
  get(name: string, options: Abortable = NONE): Promise<string | undefined> {
    const handle = this.handle;
    return run({
      begin: () => {
        const bytes = bytesOf(name, "the name");
        return c.env.get(handle.get(), bytes, bytes.byteLength);
      },
      take: takeValue,
      handle,
      options,
    });
  }

  /** For programs that start from now on. */
  set(name: string, value: BytesLike, options: Abortable = NONE): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => {
        const [key, content] = [bytesOf(name, "the name"), bytesOf(value, "the value")];
        return c.env.set(handle.get(), key, key.byteLength, content, content.byteLength);
      },
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Not set is fine. */
  unset(name: string, options: Abortable = NONE): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => {
        const bytes = bytesOf(name, "the name");
        return c.env.unset(handle.get(), bytes, bytes.byteLength);
      },
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Sorted by name. A Map: names are the guest's, and "__proto__" may be one. */
  all(options: Abortable = NONE): Promise<Map<string, string>> {
    const handle = this.handle;
    return run({ begin: () => c.env.all(handle.get()), take: takeAll, handle, options });
  }
}

function takeValue(op: bigint): string | undefined {
  check(c.op.takeBytes(op, outPointer, outError));
  return takeText();
}

const pair = new OutStruct(structs.Pair);

function takeAll(op: bigint): Map<string, string> {
  check(c.op.takeEnv(op, outPointer, outError));
  const list = outPointer[0] ?? 0n;
  try {
    const all = new Map<string, string>();
    const size = c.envList.size(list);
    for (let i = 0; i < size; i++) {
      check(c.envList.at(list, i, pair.memory, outError));
      all.set(pair.text("name"), pair.text("value"));
    }
    return all;
  } finally {
    release(c.envList.free, list);
  }
}
