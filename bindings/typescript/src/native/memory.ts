import koffi, { type TypeObject } from "koffi";
import { errorOf, InternalError, type Retry, SandboxError } from "../errors.js";
import * as c from "./functions.js";

/**
 * Where C puts what it returns. Every call is synchronous and its results are read before the next call, so a few words
 * of memory serve all of them.
 */
export const outPointer = new BigUint64Array(1);
export const outError = new BigUint64Array(1);
export const outInt = new Int32Array(1);
const freeSlot = new BigUint64Array(1);

const MAX_COPY = 0xffff_ffff;

const HUGE_PAGE = 2 ** 21;

type ForeignView = { data: bigint | null; size: number };

/**
 * Has the kernel back untouched memory with huge pages where it has some: the faults of small ones take several times as
 * long as the copy into them.
 */
function expectBulk(memory: Buffer): void {
  const page = BigInt(HUGE_PAGE);
  const start = koffi.address(memory);
  const begin = (start + page - 1n) & -page;
  const end = (start + BigInt(memory.byteLength)) & -page;
  if (begin < end) c.madvise(begin, end - begin, c.MADV_HUGEPAGE); // a wish: failing is fine
}

/** A copy of memory that belongs to C. */
export function copyOut(view: ForeignView): Buffer {
  if (view.data === null || view.size === 0) return Buffer.alloc(0);
  if (view.size > MAX_COPY) throw new SandboxError("resource_exhausted", "the content is too large for one Buffer");
  const copy = view.size <= 4096 ? Buffer.allocUnsafe(view.size) : Buffer.allocUnsafeSlow(view.size);
  if (view.size >= 2 * HUGE_PAGE) expectBulk(copy);
  c.memcpy(copy, view.data, view.size);
  return copy;
}

/** Text that belongs to C; what is not UTF-8 becomes U+FFFD. */
export function textOut(view: ForeignView): string {
  if (view.data === null || view.size === 0) return "";
  return koffi.decode.string(view.data, view.size);
}

/** Frees `handle` with one of the sbx_x_free functions. */
export function release(free: (slot: BigUint64Array) => void, handle: bigint): void {
  freeSlot[0] = handle;
  free(freeSlot);
}

const RETRY: readonly Retry[] = ["never", "now", "after_backoff"];

/** Takes the error that C left in outError. */
export function takeError(code: number): SandboxError {
  const handle = outError[0] ?? 0n;
  if (handle === 0n) return errorOf(code, "no memory for the error's text", {});
  const error = errorOf(c.error.code(handle), textOut(c.error.message(handle)), {
    operation: textOut(c.error.operation(handle)),
    errno: c.error.errno(handle),
    retry: RETRY[c.error.retry(handle)] ?? "never",
  });
  release(c.error.free, handle);
  outError[0] = 0n;
  return error;
}

/** Throws what a call that returned `code` says. */
export function check(code: number): void {
  if (code !== 0) throw takeError(code);
}

/** sbx_bytes in outPointer as a Buffer; undefined: there is none. */
export function takeBuffer(): Buffer | undefined {
  const handle = outPointer[0] ?? 0n;
  if (handle === 0n) return undefined;
  try {
    return copyOut(c.bytes.view(handle));
  } finally {
    release(c.bytes.free, handle);
  }
}

/** sbx_bytes in outPointer as text; undefined: there is none. */
export function takeText(): string | undefined {
  const handle = outPointer[0] ?? 0n;
  if (handle === 0n) return undefined;
  try {
    return textOut(c.bytes.view(handle));
  } finally {
    release(c.bytes.free, handle);
  }
}

/** A struct that C fills, read member by member. */
export class OutStruct {
  readonly memory: Buffer;
  private readonly view: DataView;
  private readonly offsets = new Map<string, number>();

  constructor(type: TypeObject) {
    this.memory = Buffer.alloc(type.size);
    this.view = new DataView(this.memory.buffer, this.memory.byteOffset, type.size);
    for (const [name, member] of Object.entries(type.members ?? {})) this.offsets.set(name, member.offset);
    if (this.offsets.has("struct_size")) this.view.setBigUint64(this.at("struct_size"), BigInt(type.size), true);
  }

  private at(name: string): number {
    const offset = this.offsets.get(name);
    if (offset === undefined) throw new InternalError(`no member ${name}`);
    return offset;
  }

  int(name: string): number {
    return this.view.getInt32(this.at(name), true);
  }
  uint32(name: string): number {
    return this.view.getUint32(this.at(name), true);
  }
  uint16(name: string): number {
    return this.view.getUint16(this.at(name), true);
  }
  /** Exact up to 2^53: counts and sizes never get there. */
  uint64(name: string): number {
    return Number(this.view.getBigUint64(this.at(name), true));
  }
  int64(name: string): number {
    return Number(this.view.getBigInt64(this.at(name), true));
  }
  /** Nanoseconds as milliseconds, the unit of time in this package. */
  milliseconds(name: string): number {
    return Number(this.view.getBigUint64(this.at(name), true)) / 1e6;
  }
  text(name: string): string {
    const offset = this.at(name);
    return textOut({ data: this.view.getBigUint64(offset, true), size: Number(this.view.getBigUint64(offset + 8, true)) });
  }
  /** A char array that ends with NUL. */
  chars(name: string, length: number): string {
    const offset = this.at(name);
    const end = this.memory.indexOf(0, offset);
    return this.memory.toString("latin1", offset, end < 0 || end > offset + length ? offset + length : end);
  }
}
