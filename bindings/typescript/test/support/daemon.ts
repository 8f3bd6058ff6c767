import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface Daemon {
  endpoint: string;
  stop(): Promise<void>;
}

/** $SANDBOX_BIN_DIR, where the helpers and the daemon of one build are. */
export function binDirectory(): string {
  const directory = process.env["SANDBOX_BIN_DIR"];
  if (!directory) throw new Error("set SANDBOX_BIN_DIR to the bin directory of a build");
  return directory;
}

/** Whether somebody listens there: the socket is in its place a moment before that. */
const listens = (socket: string): Promise<boolean> =>
  new Promise((resolve) => {
    const attempt = connect(socket);
    attempt.once("error", () => resolve(false));
    attempt.once("connect", () => {
      attempt.destroy();
      resolve(true);
    });
  });

/** A sandboxd of its own, on a scratch socket with scratch state. */
export async function startDaemon(): Promise<Daemon> {
  const scratch = mkdtempSync(join(tmpdir(), "sandbox-ts-"));
  const socket = join(scratch, "d.sock");
  const config = [
    `[server]\nsocket = "${socket}"\ndata_dir = "${scratch}/data"`,
    // Room for what tests create at once, and paths of this host as images.
    '[limits]\nmax_sandboxes = 400\nmax_memory = "4096g"\nmax_cpu = 4096.0\ncreate_rate_limit = 0\nallow_host_paths = true',
    "[pool]\ntotal_warm = 2\nmax_warm = 4",
  ];
  writeFileSync(join(scratch, "config.toml"), config.join("\n"));
  const log = join(scratch, "log");
  const output = openSync(log, "w");
  const child = spawn(join(binDirectory(), "sandboxd"), ["--config", join(scratch, "config.toml")], {
    stdio: ["ignore", output, output],
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  for (const deadline = Date.now() + 30_000; !(await listens(socket)); await delay(20)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`sandboxd did not come up: ${readFileSync(log, "utf8")}`);
    }
  }
  return {
    endpoint: `unix://${socket}`,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}
