import { InvalidArgumentError } from "../errors.js";

/** Checks and conversions of what callers pass in: whatever JavaScript can hold ends in an InvalidArgumentError, not in C. */

/** Text or plain bytes. Strings travel as UTF-8. */
export type BytesLike = string | Uint8Array;

/** As a member of a struct. */
export interface InputView {
  data: Uint8Array | null;
  size: number;
}

/** More than any call takes. Koffi lays arrays of structs out in a heap of 1 MiB. */
const MAX_BYTES = 2 ** 31;
const MAX_ITEMS = 16_384;

export function wrong(what: string, expected: string): InvalidArgumentError {
  return new InvalidArgumentError(`${what} must be ${expected}`);
}

/** `value` as bytes. Views of shared or resizable memory are copied: C reads them while this thread is inside the call. */
export function bytesOf(value: unknown, what: string): Uint8Array {
  if (typeof value === "string") {
    if (value.length > MAX_BYTES) throw wrong(what, `at most ${MAX_BYTES} bytes`);
    if (!value.isWellFormed()) throw wrong(what, "well-formed Unicode (there is half of a surrogate pair in it)");
    return Buffer.from(value, "utf8");
  }
  if (value instanceof Uint8Array) {
    if (value.byteLength > MAX_BYTES) throw wrong(what, `at most ${MAX_BYTES} bytes`);
    return value.buffer instanceof SharedArrayBuffer ? Buffer.from(value) : value;
  }
  throw wrong(what, "a string or a Uint8Array");
}

export function viewOf(value: unknown, what: string): InputView {
  const data = bytesOf(value, what);
  return { data, size: data.byteLength };
}

const NO_VIEW: InputView = { data: null, size: 0 };

export function optionalView(value: unknown, what: string): InputView {
  return value === undefined ? NO_VIEW : viewOf(value, what);
}

export function textOf(value: unknown, what: string): string {
  if (typeof value !== "string") throw wrong(what, "a string");
  return value;
}

/** A record as sbx_pair[]. */
export function pairsOf(value: unknown, what: string): { name: InputView; value: InputView }[] {
  if (value === undefined) return [];
  const entries = Object.entries(objectOf(value, what));
  if (entries.length > MAX_ITEMS) throw wrong(what, `at most ${MAX_ITEMS} entries`);
  return entries.map(([name, text]) => ({ name: viewOf(name, `a name in ${what}`), value: viewOf(text, `${what}.${name.slice(0, 64)}`) }));
}

export function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(what, "an object");
  return value as Record<string, unknown>;
}

export function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(what, "an array");
  if (value.length > MAX_ITEMS) throw wrong(what, `at most ${MAX_ITEMS} elements`);
  return value as readonly unknown[];
}

export function integer(value: unknown, what: string, least: number, most: number, fallback = 0): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw wrong(what, `a whole number from ${least} to ${most}`);
  }
  return value;
}

export const uint32 = (value: unknown, what: string): number => integer(value, what, 0, 0xffff_ffff);
export const bytesCount = (value: unknown, what: string): number => integer(value, what, 0, Number.MAX_SAFE_INTEGER);

/** Milliseconds. Zero in C means the default, so a given time is at least one; Infinity is as long as C can say. */
export function milliseconds(value: unknown, what: string): number {
  if (value === undefined) return 0;
  if (value === Infinity) return 2 ** 40;
  if (typeof value !== "number" || !(value >= 0) || value > 2 ** 40) throw wrong(what, "a time in milliseconds");
  return Math.max(1, Math.ceil(value));
}

export function flag(value: unknown, what: string): number {
  if (value === undefined) return 0;
  if (typeof value !== "boolean") throw wrong(what, "true or false");
  return value ? 1 : 0;
}

export function cores(value: unknown, what: string): number {
  if (value === undefined) return 0;
  if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) throw wrong(what, "a positive number");
  return value;
}

/** One of the keys of `numbers`, as its number. */
export function choice(value: unknown, what: string, numbers: Readonly<Record<string, number>>, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== "string" || !Object.hasOwn(numbers, value)) throw wrong(what, `one of ${Object.keys(numbers).join(", ")}`);
  return numbers[value] ?? fallback;
}

/** What every call with options may be given: checked, whatever its declared type. */
export function signalOf(options: unknown): AbortSignal | undefined {
  if (options === undefined) return undefined;
  const signal = objectOf(options, "the options")["signal"];
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong("signal", "an AbortSignal");
  return signal;
}

/** Also `timeout` in milliseconds; undefined: for ever. */
export function waitingOf(options: unknown): { signal: AbortSignal | undefined; timeout: number | undefined } {
  const signal = signalOf(options);
  const timeout = options === undefined ? undefined : objectOf(options, "the options")["timeout"];
  if (timeout === undefined || timeout === Infinity) return { signal, timeout: undefined };
  if (typeof timeout !== "number" || !(timeout >= 0)) throw wrong("timeout", "a time in milliseconds");
  return { signal, timeout };
}
