import { describe, expect, it } from "vitest";
import { inOneSandbox, rejection } from "./support/environment.js";

describe("abort", () =>
  inOneSandbox((box, environment) => {
    it("ends an exec and kills its program", async () => {
      const controller = new AbortController();
      const running = rejection(box().exec("echo $$ > /root/pid; sleep 100", { signal: controller.signal }));
      while (!(await box().fs.readText("/root/pid").catch(() => "")).endsWith("\n"));
      const reason = new Error("no longer wanted");
      controller.abort(reason);
      expect(await running).toBe(reason);
      const pid = (await box().fs.readText("/root/pid")).trim();
      const left = `for i in $(seq 500); do [ -e /proc/${pid}/stat ] && ! grep -q ' Z ' /proc/${pid}/stat || exit 0; sleep 0.01; done; exit 1`;
      expect((await box().exec(left)).exitCode).toBe(0);
    });

    it("ends an expose and leaves the port free", async () => {
      for (const delay of [0, 50]) {
        const signal = AbortSignal.timeout(delay);
        expect(await rejection(box().net.expose(8000, { timeout: 60_000, signal }))).toMatchObject({ name: "TimeoutError" });
        // And not that it is exposed already.
        expect(await rejection(box().net.expose(8000, { timeout: 1 }))).toMatchObject({ code: "deadline_exceeded" });
      }
    });

    it("starts nothing with a signal that is aborted already", async () => {
      const error = await rejection(box().exec("touch /root/started", { signal: AbortSignal.abort() }));
      expect(error).toMatchObject({ name: "AbortError" });
      expect((await box().fs.find("/root", "started")).length).toBe(0);
    });

    it("works with time limits", async () => {
      expect(await rejection(box().exec("sleep 100", { signal: AbortSignal.timeout(50) }))).toMatchObject({ name: "TimeoutError" });
    });

    it("does not keep its listeners", async () => {
      const { signal } = new AbortController();
      let listeners = 0;
      const add = signal.addEventListener.bind(signal);
      const remove = signal.removeEventListener.bind(signal);
      signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
      signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
      for (let i = 0; i < 10; i++) await box().env.get("HOME", { signal });
      expect(listeners).toBe(0);
    });

    it("leaves no sandbox behind when a creation is aborted", async () => {
      for (let i = 0; i < 5; i++) {
        const controller = new AbortController();
        const creating = environment().create({ hostname: `h${i}` }, { cold: true, signal: controller.signal });
        setTimeout(() => controller.abort(), i);
        await creating.then(
          (made) => made.close(),
          (error: unknown) => expect(error).toMatchObject({ name: "AbortError" }),
        );
      }
      expect((await box().exec("true")).ok).toBe(true);
    });
  }));
