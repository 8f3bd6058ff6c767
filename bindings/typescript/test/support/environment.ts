import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { Client, type CreateOptions, Runtime, type Sandbox, type SandboxSpec } from "../../src/index.js";
import { type Daemon, startDaemon } from "./daemon.js";

export interface Environment {
  readonly kind: "embedded" | "daemon";
  create(spec?: SandboxSpec, options?: CreateOptions): Promise<Sandbox>;
  close(): Promise<void>;
}

export async function openEmbedded(): Promise<Environment & { runtime: Runtime }> {
  const state = mkdtempSync(join(tmpdir(), "sandbox-ts-"));
  const runtime = await Runtime.open({ stateDirectory: state, launchers: 1 });
  return {
    kind: "embedded",
    runtime,
    create: (spec, options) => runtime.create(spec, options),
    async close() {
      await runtime.close();
      rmSync(state, { recursive: true, force: true });
    },
  };
}

export async function openDaemon(): Promise<Environment & { client: Client; daemon: Daemon }> {
  const daemon = await startDaemon();
  const client = await Client.connect(daemon.endpoint);
  return {
    kind: "daemon",
    daemon,
    client,
    create: (spec, options) => client.create(spec ? { spec } : {}, options),
    async close() {
      await client.close();
      await daemon.stop();
    },
  };
}

/** The same tests in this process and on a daemon. */
export function inEveryEnvironment(body: (environment: () => Environment) => void): void {
  describe.each(["embedded", "daemon"] as const)("%s", (kind) => {
    let environment: Environment | undefined;
    beforeAll(async () => {
      environment = kind === "embedded" ? await openEmbedded() : await openDaemon();
    });
    afterAll(async () => {
      await environment?.close();
    });
    body(() => {
      if (!environment) throw new Error("no environment");
      return environment;
    });
  });
}

/** Like it, with one sandbox for all tests. */
export function inOneSandbox(body: (box: () => Sandbox, environment: () => Environment) => void): void {
  inEveryEnvironment((environment) => {
    let box: Sandbox | undefined;
    beforeAll(async () => {
      box = await environment().create();
    });
    afterAll(async () => {
      await box?.close();
    });
    body(() => {
      if (!box) throw new Error("no sandbox");
      return box;
    }, environment);
  });
}

/** What `promise` is rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was rejected");
}
