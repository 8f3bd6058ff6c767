import { bytesOf, isObject, type Json, type Lookup, resolve, show, standsForValue, Surprise, type Value } from "./values.js";

/** Throws unless `value` is as `matcher` wants it. */
export function match(value: Value, matcher: Json, lookup: Lookup, where: string): void {
  if (Array.isArray(matcher)) {
    if (!Array.isArray(value) || value.length !== matcher.length) throw wanted(where, value, `${matcher.length} items`);
    matcher.forEach((item, i) => match(value[i], item, lookup, `${where}[${i}]`));
  } else if (isObject(matcher) && !standsForValue(matcher)) {
    for (const [condition, operand] of Object.entries(matcher as Record<string, Json>)) {
      const check = CONDITIONS[condition];
      if (!check) throw new Surprise(`there is no condition ${condition}`);
      check(value, operand, lookup, where);
    }
  } else {
    const expected = resolve(matcher, lookup);
    if (!equal(value, expected)) throw wanted(where, value, show(expected));
  }
}

export function matches(value: Value, matcher: Json, lookup: Lookup): boolean {
  try {
    match(value, matcher, lookup, "");
    return true;
  } catch {
    return false;
  }
}

const wanted = (where: string, value: Value, what: string): Surprise => new Surprise(`${where} is ${show(value)}, wanted ${what}`);

function equal(value: Value, expected: Value): boolean {
  if (expected === null || expected === undefined) return value === null || value === undefined;
  const [a, b] = [bytesOf(value), bytesOf(expected)];
  if (a && b) return a.equals(b);
  if (Array.isArray(value) && Array.isArray(expected)) {
    return value.length === expected.length && value.every((item, i) => equal(item, expected[i]));
  }
  return value === expected;
}

type Condition = (value: Value, operand: Json, lookup: Lookup, where: string) => void;

/** A condition on bytes, with the operand as bytes. */
const ofBytes =
  (name: string, holds: (value: Buffer, operand: Buffer) => boolean): Condition =>
  (value, operand, lookup, where) => {
    const [a, b] = [bytesOf(value), bytesOf(resolve(operand, lookup))];
    if (!a || !b || !holds(a, b)) throw wanted(where, value, `${name} ${show(resolve(operand, lookup))}`);
  };

const ofNumbers =
  (name: string, holds: (value: number, operand: number) => boolean): Condition =>
  (value, operand, lookup, where) => {
    const limit = resolve(operand, lookup);
    if (typeof value !== "number" || typeof limit !== "number" || !holds(value, limit)) throw wanted(where, value, `${name} ${show(limit)}`);
  };

const CONDITIONS: Record<string, Condition> = {
  equals: (value, operand, lookup, where) => {
    const expected = resolve(operand, lookup);
    if (!equal(value, expected)) throw wanted(where, value, show(expected));
  },
  not: (value, operand, lookup, where) => {
    if (matches(value, operand, lookup)) throw wanted(where, value, `not ${JSON.stringify(operand)}`);
  },
  contains: ofBytes("something with", (value, operand) => value.includes(operand)),
  starts_with: ofBytes("a beginning", (value, operand) => value.subarray(0, operand.length).equals(operand)),
  ends_with: ofBytes("an end", (value, operand) => value.length >= operand.length && value.subarray(value.length - operand.length).equals(operand)),
  size: (value, operand, lookup, where) => {
    const size = Array.isArray(value) ? value.length : bytesOf(value)?.length;
    if (size === undefined) throw wanted(where, value, "something with a size");
    match(size, operand, lookup, `the size of ${where}`);
  },
  at_least: ofNumbers("at least", (value, operand) => value >= operand),
  at_most: ofNumbers("at most", (value, operand) => value <= operand),
  one_of: (value, operand, lookup, where) => {
    if (!Array.isArray(operand)) throw new Surprise("one_of takes a list");
    if (!operand.some((item) => matches(value, item, lookup))) throw wanted(where, value, `one of ${JSON.stringify(operand)}`);
  },
  has: (value, operand, lookup, where) => {
    if (!Array.isArray(value) || !value.some((item) => matches(item, operand, lookup))) {
      throw wanted(where, value, `an item ${JSON.stringify(operand)}`);
    }
  },
  fields: (value, operand, lookup, where) => {
    if (!isObject(value) || !isObject(operand)) throw wanted(where, value, "fields");
    matchFields(value as Record<string, Value>, operand as Record<string, Json>, lookup, where);
  },
};

/** Every field that `expected` names. */
export function matchFields(fields: Record<string, Value>, expected: Record<string, Json>, lookup: Lookup, where = ""): void {
  for (const [field, matcher] of Object.entries(expected)) {
    if (!(field in fields)) throw new Surprise(`there is no field ${field}`);
    match(fields[field], matcher, lookup, where ? `${where}.${field}` : field);
  }
}
