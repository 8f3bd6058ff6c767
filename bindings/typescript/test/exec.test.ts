import { describe, expect, it } from "vitest";
import { InvalidArgumentError, NotFoundError } from "../src/index.js";
import { inOneSandbox, rejection } from "./support/environment.js";

describe("exec", () =>
  inOneSandbox((box) => {
    it("runs a shell line and collects both streams", async () => {
      const result = await box().exec("echo out; echo err >&2; exit 3");
      expect(result).toMatchObject({ cause: "exited", exitCode: 3, ok: false, shellCode: 3, stdoutBytes: 4, stderrBytes: 4 });
      expect([result.stdout, result.stderr]).toEqual(["out\n", "err\n"]);
      expect(result.wallTime).toBeGreaterThan(0);
      expect(result.maxRss).toBeGreaterThan(0);
    });

    it("interprets nothing of a list", async () => {
      const result = await box().exec(["printf", "%s|", "$HOME", "a b", "*", "ü", ""]);
      expect(result.stdout).toBe("$HOME|a b|*|ü||");
    });

    it("passes bytes that are no text", async () => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      expect((await box().exec("cat", { input: bytes })).stdoutBuffer).toEqual(bytes);
      expect((await box().exec(["printf", "%s", Buffer.from([0xff, 0xfe])])).stdoutBuffer).toEqual(Buffer.from([0xff, 0xfe]));
    });

    it("takes environment, directory and input", async () => {
      const result = await box().exec("echo $A-$B; pwd; cat", { env: { A: "1", B: "zwei" }, workdir: "/tmp", input: "in" });
      expect(result.stdout).toBe("1-zwei\n/tmp\nin");
      expect((await box().exec(["/usr/bin/env"], { env: { ONLY: "1" }, clearEnv: true })).stdout).toBe("ONLY=1\n");
    });

    it("says how a program ended", async () => {
      expect(await box().exec("sleep 10", { timeout: 100 })).toMatchObject({ cause: "timed_out", shellCode: 124 });
      expect(await box().exec("kill -TERM $$")).toMatchObject({ cause: "signalled", signal: 15, shellCode: 143 });
    });

    it("drops and counts what is too much", async () => {
      const result = await box().exec("head -c 3000 /dev/zero", { maxOutput: 1000 });
      expect(result).toMatchObject({ stdoutBytes: 3000, stdoutDropped: 2000 });
      expect(result.stdoutBuffer.length).toBe(1000);
      const none = await box().exec("echo much", { maxOutput: 0 });
      expect(none.stdout).toBe("");
    });

    it("merges standard error into standard output", async () => {
      expect(await box().exec("echo a; echo b >&2", { mergeStderr: true })).toMatchObject({ stdout: "a\nb\n", stderr: "" });
    });

    it("tells a missing program from a program that fails", async () => {
      const error = await rejection(box().exec(["/no/such/program"]));
      expect(error).toBeInstanceOf(NotFoundError);
      expect(error).toMatchObject({ code: "not_found", name: "NotFoundError" });
    });

    it("refuses what is no command", async () => {
      expect(await rejection(box().exec([]))).toBeInstanceOf(InvalidArgumentError);
      expect(await rejection(box().exec(""))).toBeInstanceOf(InvalidArgumentError);
    });
  }));
