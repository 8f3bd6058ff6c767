// A web server that runs what it is sent, each request in a fresh sandbox of a warm pool. The event loop stays free: no
// call blocks it, and no thread is made per request.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { Runtime, SandboxError } from "@sandbox/runtime";

const spec = { memory: 64 * 2 ** 20, pids: 32 };
await using runtime = await Runtime.open({ warm: [{ count: 4, spec }] });

async function run(request: IncomingMessage, response: ServerResponse): Promise<void> {
  // Whoever hangs up ends the program that runs for them.
  const hungUp = new AbortController();
  response.on("close", () => hungUp.abort());
  try {
    const script = await text(request);
    await using box = await runtime.create(spec, { deadline: 5_000, signal: hungUp.signal });
    const result = await box.exec(["/bin/sh", "-c", script], { timeout: 10_000, signal: hungUp.signal });
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ cause: result.cause, exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr }));
  } catch (error) {
    if (hungUp.signal.aborted) return;
    const busy = error instanceof SandboxError && error.code === "resource_exhausted";
    response.writeHead(busy ? 503 : 500).end(error instanceof Error ? error.message : String(error));
  }
}

const server = createServer((request, response) => void run(request, response));
server.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

// A real one would go on from here; this one serves a few requests of its own and ends.
const scripts = ["echo hello", "expr 6 '*' 7", "cat /etc/shadow", "exit 3"];
const answers = await Promise.all(scripts.map(async (body) => (await fetch(url, { method: "POST", body })).json()));
for (const [i, answer] of answers.entries()) {
  const { exitCode, stdout } = answer as { exitCode: number; stdout: string };
  console.log(`${scripts[i]} -> exit ${exitCode} ${JSON.stringify(stdout)}`);
}
server.close();
server.closeAllConnections();
