import { describe, expect, it } from "vitest";
import { Client, FailedPreconditionError, InvalidArgumentError, Runtime, SandboxError } from "../src/index.js";
import { inEveryEnvironment, inOneSandbox, rejection } from "./support/environment.js";

/** Values that no parameter takes. */
const NONSENSE: unknown[] = [null, undefined, 17, -1, NaN, true, Symbol("s"), () => 1, {}, [], new Date(), 1n, new Map()];

const any = (value: unknown): never => value as never;

describe("misuse", () =>
  inOneSandbox((box) => {
    it.each([
      ["path", (value: unknown) => box().fs.read(any(value))],
      ["content", (value: unknown) => box().fs.write("/root/x", any(value))],
      ["name", (value: unknown) => box().env.get(any(value))],
      ["value", (value: unknown) => box().env.set("A", any(value))],
      ["command", (value: unknown) => box().exec(any(value))],
      ["argument", (value: unknown) => box().exec(["true", any(value)])],
    ])("a %s of a wrong type is an invalid argument", async (_, call) => {
      for (const value of NONSENSE) expect(await rejection(call(value)), String(value)).toBeInstanceOf(InvalidArgumentError);
    });

    it.each([
      ["env", { env: [] }],
      ["env", { env: { A: 1 } }],
      ["timeout", { timeout: "1" }],
      ["timeout", { timeout: -1 }],
      ["maxOutput", { maxOutput: 1.5 }],
      ["maxOutput", { maxOutput: null }],
      ["input", { input: 3 }],
      ["workdir", { workdir: {} }],
      ["signal", { signal: {} }],
      ["signal", { signal: null }],
      ["options", null],
      ["options", "x"],
    ])("an option %s of a wrong type, too", async (_, options) => {
      expect(await rejection(box().exec("true", any(options)))).toBeInstanceOf(InvalidArgumentError);
    });

    it("NUL bytes and half characters are invalid arguments", async () => {
      for (const path of ["/root/a\0b", "\0", "/root/\ud800"]) {
        expect(await rejection(box().fs.read(path))).toBeInstanceOf(InvalidArgumentError);
        expect(await rejection(box().fs.write(path, "x"))).toBeInstanceOf(InvalidArgumentError);
        expect(await rejection(box().env.set(path, "x"))).toBeInstanceOf(InvalidArgumentError);
        expect(await rejection(box().exec(["echo", path]))).toBeInstanceOf(InvalidArgumentError);
      }
      expect(await rejection(box().env.set("A", "x\0y"))).toBeInstanceOf(InvalidArgumentError);
      expect(await rejection(box().exec("true", { workdir: "/\0" }))).toBeInstanceOf(InvalidArgumentError);
    });

    it("huge strings and lists are refused, not copied for ever", async () => {
      const huge = "x".repeat(200 * 2 ** 20);
      expect(await rejection(box().fs.read(`/${huge}`))).toBeInstanceOf(SandboxError);
      expect(await rejection(box().env.get(huge))).toBeInstanceOf(SandboxError);
      expect(await rejection(box().exec(huge))).toBeInstanceOf(SandboxError);
      expect(await rejection(box().exec(Array.from({ length: 100_000 }, () => "x")))).toBeInstanceOf(SandboxError);
      expect(await rejection(box().exec(Array.from({ length: 16_384 }, () => "x")))).toBeInstanceOf(SandboxError);
      const env = Object.fromEntries(Array.from({ length: 16_384 }, (_, i) => [`A${i}`, "x"]));
      expect(await rejection(box().exec("true", { env }))).toBeInstanceOf(SandboxError);
      expect((await box().exec("echo fine")).stdout).toBe("fine\n");
    });

    it("numbers out of range are invalid arguments", async () => {
      for (const value of [-1, 1.5, NaN, Infinity, 2 ** 60, "1", null]) {
        expect(await rejection(box().fs.readRange("/dev/zero", any(value), 1))).toBeInstanceOf(InvalidArgumentError);
        expect(await rejection(box().fs.chmod("/root", any(value)))).toBeInstanceOf(InvalidArgumentError);
        expect(await rejection(box().net.connect(any(value)))).toBeInstanceOf(InvalidArgumentError);
      }
      expect(await rejection(box().net.connect(0))).toBeInstanceOf(InvalidArgumentError);
      expect(await rejection(box().net.connect(65_536))).toBeInstanceOf(InvalidArgumentError);
      expect(() => box().fs.openReader(any(1))).toThrow(InvalidArgumentError);
      expect(() => box().fs.openWriter("/root/x", { mode: any("755") })).toThrow(InvalidArgumentError);
    });
  }));

describe("misuse of specs and ends", () =>
  inEveryEnvironment((environment) => {
    it.each([
      { memory: 0 },
      { memory: -5 },
      { memory: 1.5 },
      { memory: null },
      { cpus: 0 },
      { cpus: NaN },
      { pids: 2 ** 40 },
      { network: "everything" },
      { network: "constructor" },
      { env: "A=B" },
      { sealed: 1 },
      { image: 7 },
      { hostname: "a\0b" },
    ])("%o is refused", async (spec) => {
      expect(await rejection(environment().create(any(spec)))).toBeInstanceOf(InvalidArgumentError);
    });

    it("everything of a closed sandbox fails, and nothing crashes", async () => {
      const box = await environment().create();
      const [reader, writer] = [box.fs.openReader("/etc/passwd"), box.fs.openWriter("/root/w")];
      const watch = await box.fs.watch("/root");
      const process = await box.spawn("sleep 100");
      const underWay = [box.exec("sleep 100"), process.wait(), watch.next(), reader.read(), writer.write("x")].map((promise) =>
        promise.catch((error: unknown) => error),
      );
      await box.close();
      for (const outcome of await Promise.all(underWay)) {
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(SandboxError);
      }
      const { fs, env, net } = box;
      for (const late of [
        box.ping(),
        box.stats(),
        box.pause(),
        box.exec("true"),
        box.spawn("true"),
        fs.read("/x"),
        fs.list("/"),
        fs.watch("/"),
        env.get("A"),
        env.all(),
        net.list(),
        net.connect(1),
      ]) {
        expect(await rejection(late)).toBeInstanceOf(FailedPreconditionError);
      }
      expect(() => fs.openReader("/x")).toThrow(FailedPreconditionError);
      for (const stream of [reader, writer, watch, process]) {
        stream.close();
        stream.close();
      }
      expect(await rejection(process.wait())).toBeInstanceOf(FailedPreconditionError);
      expect(await rejection(writer.finish())).toBeInstanceOf(FailedPreconditionError);
    });
  }));

describe("misuse of openings", () => {
  it("says what is wrong", async () => {
    expect(await rejection(Runtime.open(any({ warm: 3 })))).toBeInstanceOf(InvalidArgumentError);
    expect(await rejection(Runtime.open(any(null)))).toBeInstanceOf(InvalidArgumentError);
    expect(await rejection(Runtime.open({ helperDirectory: "/no/such/place" }))).toBeInstanceOf(SandboxError);
    expect(await rejection(Client.connect("gopher://x"))).toBeInstanceOf(InvalidArgumentError);
    expect(await rejection(Client.connect(any(5)))).toBeInstanceOf(InvalidArgumentError);
    expect(await rejection(Client.connect("unix:///no/such/socket"))).toBeInstanceOf(SandboxError);
    expect(await rejection(Client.connect("", { tenant: { name: "t", seed: Buffer.alloc(31) } }))).toBeInstanceOf(InvalidArgumentError);
  });
});
