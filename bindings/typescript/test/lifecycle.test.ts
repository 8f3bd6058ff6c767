import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FailedPreconditionError, NotFoundError, Runtime, SandboxError } from "../src/index.js";
import { inEveryEnvironment, openDaemon, openEmbedded, rejection } from "./support/environment.js";

describe("sandboxes", () =>
  inEveryEnvironment((environment) => {
    it("live until they are closed", async () => {
      const box = await environment().create();
      expect(box.id).not.toBe("");
      expect(box.closed).toBe(false);
      expect(await box.ping()).toBeGreaterThan(0);
      expect(box.unenforced).toEqual([]);
      await Promise.all([box.close(), box.close()]);
      await box.close();
      expect(box.closed).toBe(true);
      expect(box.id).not.toBe("");
      expect(await rejection(box.exec("true"))).toBeInstanceOf(FailedPreconditionError);
    });

    it("end with their block", async () => {
      let escaped;
      {
        await using box = await environment().create();
        escaped = box;
      }
      expect(escaped.closed).toBe(true);
    });

    it("are made of what the spec says", async () => {
      await using box = await environment().create({
        env: { A: "b" },
        hostname: "named",
        workdir: "/tmp",
        memory: 64 * 2 ** 20,
        pids: 32,
      });
      expect((await box.exec("echo $A $(hostname 2>/dev/null || cat /proc/sys/kernel/hostname) $PWD")).stdout).toBe("b named /tmp\n");
      const stats = await box.stats();
      expect(stats.memoryLimit).toBe(64 * 2 ** 20);
      expect(stats.pids).toBeGreaterThan(0);
      expect(stats.uptime).toBeGreaterThan(0);
    });

    it("pause and resume", async () => {
      await using box = await environment().create();
      await box.pause();
      expect(await rejection(box.exec("true"))).toBeInstanceOf(SandboxError);
      await box.resume();
      expect((await box.exec("true")).ok).toBe(true);
    });

    it("are saved as templates", async () => {
      await using box = await environment().create();
      await box.fs.write("/root/kept", "from the template");
      const saved = await box.saveTemplate("mine");
      expect(saved).toMatchObject({
        label: "mine",
        id: expect.stringMatching(/^tpl-[0-9a-f]{8,16}$/),
        image: "host",
        writableRoot: false,
        lastUsed: undefined,
      });
      for (const limit of ["memory", "cpus", "pids", "openFiles", "disk", "inodes"] as const) expect(saved.limits[limit]).toBeGreaterThan(0);
      await using copy = await environment().create({ image: saved.id });
      expect(await copy.fs.readText("/root/kept")).toBe("from the template");
    });

    it("speak sealed", async () => {
      await using box = await environment().create({ sealed: true });
      expect(await box.fingerprint()).toMatch(/^sha256:/);
      expect((await box.exec("echo secret")).stdout).toBe("secret\n");
    });
  }));

describe("a runtime", () => {
  it("opens only with the proof that it asks for", async () => {
    const refused = await rejection(Runtime.open({ requireProof: "/no/such/proof.json" }));
    expect(refused).toBeInstanceOf(FailedPreconditionError);
    expect(refused).toHaveProperty("message", expect.stringContaining("sbx prove --report"));
  });

  it("tells about itself", async () => {
    const environment = await openEmbedded();
    try {
      const { runtime } = environment;
      expect(runtime.host.backend).toBe("native");
      expect(runtime.host.enforced.length).toBeGreaterThan(3);
      await using events = runtime.events();
      await runtime.setWarm({}, 1);
      await runtime.waitWarm();
      expect(runtime.pools[0]).toMatchObject({ ready: 1, target: 1 });
      expect(runtime.live).toBe(0);
      await using box = await runtime.create();
      expect(runtime.live).toBe(1);
      for await (const event of events.all({ signal: AbortSignal.timeout(10_000) })) {
        if (event.type === "sandbox.created") {
          expect(event).toMatchObject({ sandboxId: box.id });
          break;
        }
      }
      const saved = await box.saveTemplate("t");
      expect((await runtime.templates()).map((template) => template.id)).toEqual([saved.id]);
      expect(await runtime.findTemplate(saved.id)).toEqual((await runtime.templates())[0]);
      await runtime.removeTemplate(saved.id);
      expect(await rejection(runtime.findTemplate(saved.id))).toBeInstanceOf(NotFoundError);
    } finally {
      await environment.close();
    }
    expect(await rejection(environment.runtime.create())).toBeInstanceOf(FailedPreconditionError);
    await environment.runtime.close();
  });
});

describe("prune", () => {
  it("removes the layers that nothing uses", async () => {
    const stateDirectory = mkdtempSync(join(tmpdir(), "sandbox-prune-"));
    try {
      const image = join(stateDirectory, "usr.tar");
      mkdirSync(join(stateDirectory, "image", "usr"), { recursive: true });
      execFileSync("tar", ["-C", join(stateDirectory, "image"), "-cf", image, "usr"]);
      {
        await using runtime = await Runtime.open({ stateDirectory, pruneAfter: 0 });
        await using box = await runtime.create({ image });
        expect(await runtime.prune({ unusedFor: 0 })).toEqual([]);
        expect(box.closed).toBe(false);
      }
      await using runtime = await Runtime.open({ stateDirectory, pruneAfter: 0 });
      expect(await runtime.prune()).toEqual([]); // it is young
      const told = await runtime.prune({ unusedFor: 0, dryRun: true });
      expect(told).toMatchObject([{ digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string }]);
      expect(told[0]?.size).toBeGreaterThan(0);
      expect(told[0]?.lastUsed.getTime()).toBeGreaterThan(Date.now() - 600_000);
      expect(await runtime.prune({ unusedFor: 0 })).toMatchObject([{ digest: told[0]?.digest }]);
      expect(await runtime.prune({ unusedFor: 0 })).toEqual([]);
    } finally {
      rmSync(stateDirectory, { recursive: true, force: true });
    }
  });
});

describe("a client", () => {
  it("manages what a daemon keeps", async () => {
    const environment = await openDaemon();
    try {
      const { client } = environment;
      expect(await client.health()).toMatchObject({ status: "ok" });
      expect(await client.metrics()).toContain("sandbox");
      expect((await client.profiles()).length).toBeGreaterThan(0);
      await client.waitWarm();
      const [pool] = await client.pools();
      expect(pool?.ready).toBeGreaterThan(0);
      expect(pool?.cpus).toBeGreaterThan(0);
      expect(pool?.memory).toMatch(/^\d+[mg]$/);
      await using events = await client.events();
      const box = await client.create({ labels: { who: "me" }, ttl: 60 });
      const [listed] = await client.list({ labels: { who: "me" } });
      expect(listed).toMatchObject({ id: box.id, labels: { who: "me" }, ttl: 60, state: "running" });
      expect(await client.list({ labels: { who: "you" } })).toEqual([]);
      expect((await events.next({ timeout: 10_000 })).type).toMatch(/^[a-z]+\./);
      await box.env.set("KEPT", "yes");
      await box.detach();
      expect(await rejection(box.exec("true"))).toBeInstanceOf(FailedPreconditionError);
      const again = await client.open(listed?.id ?? "");
      expect(await again.env.get("KEPT")).toBe("yes");
      await client.remove(again.id);
      expect(await rejection(client.find(again.id))).toBeInstanceOf(NotFoundError);
      const history = await client.history({ after: 0, limit: 1000 });
      expect(history.events.map((event) => event.id)).toEqual(history.events.map((event) => event.id).sort((a, b) => a - b));
      expect(history.last).toBeGreaterThan(0);
    } finally {
      await environment.close();
    }
    expect(await rejection(environment.client.list())).toBeInstanceOf(FailedPreconditionError);
  });
});
