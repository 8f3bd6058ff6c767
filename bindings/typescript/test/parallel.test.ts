import { readdirSync, readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, expect, it } from "vitest";
import { inEveryEnvironment, openEmbedded } from "./support/environment.js";

const threads = (): number => readdirSync("/proc/self/task").length;
const descriptors = (): number => readdirSync("/proc/self/fd").length;
const residentMiB = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;

/** Frees what nobody refers to: finalizers run in a later turn of the loop. */
async function collect(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("many at once", () =>
  inEveryEnvironment((environment) => {
    it("two hundred execs need no thread each", { timeout: 120_000 }, async () => {
      await using box = await environment().create({ pids: 512 });
      await box.exec("true");
      const before = threads();
      const round = async (): Promise<number> => {
        let most = 0;
        const delay = monitorEventLoopDelay({ resolution: 1 });
        delay.enable();
        const results = await Promise.all(
          Array.from({ length: 200 }, async (_, i) => {
            const result = await box.exec(`echo ${i}; sleep 0.05`);
            most = Math.max(most, threads());
            return result.stdout;
          }),
        );
        delay.disable();
        expect(results).toEqual(Array.from({ length: 200 }, (_, i) => `${i}\n`));
        expect(most - before).toBeLessThanOrEqual(8);
        return delay.percentile(99) / 1e6;
      };
      // The aim is 10 ms, which bench/ measures. Tests run beside others, whose turn it may be: a loop that we hold up is late every time.
      let late = await round();
      for (let i = 0; i < 4 && late >= 100; i++) late = Math.min(late, await round());
      expect(late).toBeLessThan(100);
    });

    it("the rest of the loop runs beside short answers", async () => {
      await using box = await environment().create();
      let turns = 0;
      let going = true;
      const turn = (): void => {
        turns++;
        if (going) setImmediate(turn);
      };
      turn();
      for (let i = 0; i < 400; i++) await box.env.get("A");
      going = false;
      expect(turns).toBeGreaterThanOrEqual(400 / 8);
    });
  }));

describe("memory and descriptors", () => {
  it("come back, round after round", { timeout: 120_000 }, async () => {
    const environment = await openEmbedded();
    try {
      const round = async (): Promise<void> => {
        await using box = await environment.create();
        expect((await box.exec("echo hi")).stdout).toBe("hi\n");
      };
      for (let i = 0; i < 40; i++) await round();
      await collect();
      const [fds, memory] = [descriptors(), residentMiB()];
      for (let i = 0; i < 120; i++) await round();
      // Some of it comes back behind the close.
      for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
        await collect();
        if (descriptors() <= fds + 2 && residentMiB() < memory + 24) break;
      }
      expect(descriptors()).toBeLessThanOrEqual(fds + 2);
      expect(residentMiB()).toBeLessThan(memory + 24);
    } finally {
      await environment.close();
    }
  });

  it("come back from objects that were dropped without close()", async () => {
    const environment = await openEmbedded();
    try {
      const leave = async (): Promise<void> => {
        const box = await environment.runtime.create();
        await box.spawn("sleep 1000");
        box.fs.openReader("/etc/passwd");
        await box.fs.watch("/root");
      };
      for (let i = 0; i < 3; i++) await leave();
      for (const deadline = Date.now() + 20_000; environment.runtime.live > 0 && Date.now() < deadline; ) await collect();
      expect(environment.runtime.live).toBe(0);
    } finally {
      await environment.close();
    }
  });

  it("stay bounded while a large file passes", async () => {
    const environment = await openEmbedded();
    try {
      await using box = await environment.create({ disk: 300 * 2 ** 20, memory: 600 * 2 ** 20 });
      const piece = Buffer.alloc(2 ** 20, 7);
      await collect();
      const before = residentMiB();
      let most = 0;
      await using writer = box.fs.openWriter("/root/large");
      for (let i = 0; i < 192; i++) {
        await writer.write(piece);
        most = Math.max(most, residentMiB());
      }
      await writer.finish();
      await using reader = box.fs.openReader("/root/large");
      let size = 0;
      for await (const part of reader) {
        size += part.length;
        most = Math.max(most, residentMiB());
      }
      expect(size).toBe(192 * 2 ** 20);
      expect(most - before).toBeLessThan(96);
    } finally {
      await environment.close();
    }
  });
});
