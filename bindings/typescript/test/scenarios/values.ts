/** Values of stories: what the objects {"$"}, {"join"}, {"base64"}, {"repeat"} and {"numbered"} stand for. */

/** The story is not as wanted, or not as a story is written. */
export class Surprise extends Error {}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** What a step gave, or an argument is, after references are followed. */
export type Value = null | undefined | boolean | number | string | Uint8Array | Value[] | { [key: string]: Value };
export type Fields = Record<string, Value>;

export function isObject(value: unknown): value is Record<string, never> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** Refuses keys that nobody knows. */
export function onlyKeys(object: object, known: readonly string[], what: string): void {
  for (const key of Object.keys(object)) if (!known.includes(key)) throw new Surprise(`${what} has no ${key}`);
}

/** Follows a reference: "index", "scratch" or "name.field". */
export type Lookup = (reference: string) => Value;

const STAND_INS = ["$", "join", "base64", "repeat", "numbered"];

/** Whether an object stands for a value. */
export const standsForValue = (value: Json): boolean => isObject(value) && STAND_INS.some((key) => key in value);

export function resolve(value: Json, lookup: Lookup): Value {
  if (Array.isArray(value)) return value.map((item) => resolve(item, lookup));
  if (!isObject(value)) return value;
  const object = value as { [key: string]: Json };
  if (!standsForValue(value)) return Object.fromEntries(Object.entries(object).map(([key, item]) => [key, resolve(item, lookup)]));
  onlyKeys(object, "repeat" in object ? ["repeat", "times"] : [STAND_INS.find((key) => key in object) ?? ""], "a value");
  if (typeof object["$"] === "string") return lookup(object["$"]);
  if (Array.isArray(object["join"])) return object["join"].map((item) => String(resolve(item, lookup))).join("");
  if (typeof object["base64"] === "string") return Buffer.from(object["base64"], "base64");
  if (typeof object["repeat"] === "string" && typeof object["times"] === "number") return object["repeat"].repeat(object["times"]);
  if (typeof object["numbered"] === "number") {
    return Array.from({ length: object["numbered"] }, (_, i) => `${String(i).padStart(15, "0")}\n`).join("");
  }
  throw new Surprise(`no such value: ${JSON.stringify(value)}`);
}

/** Text and bytes alike, as bytes. */
export function bytesOf(value: Value): Buffer | undefined {
  if (typeof value === "string") return Buffer.from(value, "utf8");
  return value instanceof Uint8Array ? Buffer.from(value) : undefined;
}

export function show(value: Value): string {
  const text = value instanceof Uint8Array ? JSON.stringify(Buffer.from(value).toString("latin1")) : (JSON.stringify(value) ?? "nothing");
  return text.length > 200 ? `${text.slice(0, 200)}… (${text.length})` : text;
}
