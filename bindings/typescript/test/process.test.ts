import { describe, expect, it } from "vitest";
import { CancelledError, DeadlineExceededError, FailedPreconditionError, type RunningProcess, SandboxError } from "../src/index.js";
import { inOneSandbox, rejection } from "./support/environment.js";

async function readUntil(process: RunningProcess, text: string): Promise<string> {
  let seen = "";
  while (!seen.includes(text)) {
    const chunk = await process.read({ timeout: 10_000 });
    if (!chunk) throw new Error(`ended before ${text}: ${seen}`);
    seen += chunk.bytes.toString();
  }
  return seen;
}

describe("spawn", () =>
  inOneSandbox((box) => {
    it("streams output as it comes", async () => {
      await using process = await box().spawn("echo one; read line; echo two >&2", { openInput: true });
      expect(process.pid).toBeGreaterThan(1);
      expect(await process.read()).toEqual({ stream: "stdout", bytes: Buffer.from("one\n") });
      await process.write("\n");
      const rest: string[] = [];
      for await (const chunk of process) rest.push(`${chunk.stream}:${chunk.bytes}`);
      expect(rest).toEqual(["stderr:two\n"]);
      expect(await process.read()).toBeUndefined();
      expect(await process.wait()).toMatchObject({ cause: "exited", exitCode: 0 });
      expect((await process.wait()).ok).toBe(true);
    });

    it("writes in the order of the calls, then ends the input", async () => {
      await using process = await box().spawn(["cat"], { openInput: true });
      const pieces = Array.from({ length: 50 }, (_, i) => `${i};`);
      const written = Promise.all([...pieces.map((piece) => process.write(piece)), process.closeInput()]);
      let seen = "";
      for await (const chunk of process) seen += chunk.bytes.toString();
      await written;
      expect(seen).toBe(pieces.join(""));
      await process.closeInput();
      expect(await rejection(process.write("more"))).toBeInstanceOf(SandboxError);
    });

    it("signals and kills", async () => {
      await using trapped = await box().spawn("trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.02; done");
      await readUntil(trapped, "ready");
      trapped.signal(10);
      await readUntil(trapped, "got");
      expect(await trapped.wait()).toMatchObject({ cause: "exited", exitCode: 7 });
      await using killed = await box().spawn("sleep 100");
      killed.kill();
      expect(await killed.wait()).toMatchObject({ cause: "cancelled", signal: 9, shellCode: 137 });
    });

    it("gives a terminal", async () => {
      await using process = await box().spawn(["/bin/sh"], { pty: { rows: 30, columns: 90 }, openInput: true, env: { PS1: "" } });
      await process.write("stty size\n");
      expect(await readUntil(process, "30 90")).toContain("30 90");
      process.resize({ rows: 40, columns: 120 });
      await process.write("stty size; exit 5\n");
      await readUntil(process, "40 120");
      expect((await process.wait()).exitCode).toBe(5);
    });

    it("waits only as long as it is told, and loses nothing", async () => {
      await using process = await box().spawn(["cat"], { openInput: true });
      expect(await rejection(process.read({ timeout: 20 }))).toBeInstanceOf(DeadlineExceededError);
      expect(await rejection(process.wait({ timeout: 20 }))).toBeInstanceOf(DeadlineExceededError);
      const controller = new AbortController();
      const read = process.read({ signal: controller.signal });
      controller.abort(new Error("enough"));
      expect(await rejection(read)).toMatchObject({ message: "enough" });
      await process.write("still there");
      expect((await process.read({ timeout: 10_000 }))?.bytes.toString()).toBe("still there");
    });

    it("leaves the program alone when a loop over its output is left", async () => {
      await using process = await box().spawn("echo a; read x; echo b", { openInput: true });
      for await (const chunk of process) {
        expect(chunk.bytes.toString()).toBe("a\n");
        break;
      }
      await process.write("\n");
      expect((await process.read())?.bytes.toString()).toBe("b\n");
    });

    it("reads one at a time", async () => {
      await using process = await box().spawn("sleep 0.1; echo x");
      const first = process.read();
      expect(await rejection(process.read())).toBeInstanceOf(FailedPreconditionError);
      expect((await first)?.bytes.toString()).toBe("x\n");
    });

    it("ends the program and what waits for it when it is closed", async () => {
      const process = await box().spawn("sleep 100");
      const read = rejection(process.read());
      const wait = rejection(process.wait());
      process.close();
      expect(await read).toBeInstanceOf(CancelledError);
      expect(await wait).toBeInstanceOf(CancelledError);
      process.close();
      expect(await rejection(process.read())).toBeInstanceOf(FailedPreconditionError);
      expect(() => process.kill()).toThrow(FailedPreconditionError);
    });

    it("carries a hundred megabytes at the reader's pace", { timeout: 120_000 }, async () => {
      const size = 100 * 2 ** 20;
      await using process = await box().spawn(`head -c ${size} /dev/zero`);
      let seen = 0;
      for await (const chunk of process) seen += chunk.bytes.length;
      expect(seen).toBe(size);
    });
  }));
