import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Of this package. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program of this host to its end. */
export function run(command: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv; timeout?: number } = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { timeout: options.timeout ?? 60_000, ...options, stdio: ["ignore", "pipe", "pipe"] });
    const ended: Ended = { code: null, stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (ended.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (ended.stderr += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ ...ended, code }));
  });
}

/** Its standard output, or a failure that says what it said. */
export async function output(...args: Parameters<typeof run>): Promise<string> {
  const ended = await run(...args);
  if (ended.code !== 0) throw new Error(`${args[0]} ${args[1].join(" ")} ended with ${ended.code}: ${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}
