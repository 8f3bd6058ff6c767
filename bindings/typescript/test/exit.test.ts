import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { output, packageRoot, run } from "./support/run.js";

const index = pathToFileURL(join(packageRoot, "dist", "index.js")).href;

/** Programs that end in unfriendly ways, each in a process of its own. */
beforeAll(async () => {
  await output(process.execPath, [join(packageRoot, "node_modules", "typescript", "bin", "tsc"), "-p", join(packageRoot, "tsconfig.build.json")]);
}, 60_000);

const program = (body: string, args: string[] = []) =>
  run(process.execPath, [...args, "--input-type=module", "-e", `import { Runtime } from "${index}";${body}`], { timeout: 30_000 });

describe("a process", () => {
  it("ends by itself with a runtime that was never closed", async () => {
    const ended = await program(`const runtime = await Runtime.open(); const box = await runtime.create(); console.log((await box.exec("echo hi")).stdout);`);
    expect(ended).toMatchObject({ code: 0, stdout: "hi\n\n" });
  });

  it("stays while somebody waits", async () => {
    const ended = await program(
      `const runtime = await Runtime.open(); const box = await runtime.create(); box.exec("sleep 0.3; echo late").then((result) => { console.log(result.stdout); });`,
    );
    expect(ended).toMatchObject({ code: 0, stdout: "late\n\n" });
  });

  it("may end in the middle of everything", async () => {
    const ended = await program(
      `const runtime = await Runtime.open(); const box = await runtime.create(); const p = await box.spawn("sleep 100");
       p.read().catch(() => {}); box.exec("sleep 100").catch(() => {}); setTimeout(() => process.exit(7), 50);`,
    );
    expect(ended).toMatchObject({ code: 7, stderr: "" });
  });

  it("may use it in several workers at once, and end one in the middle", async () => {
    const ended = await program(
      `import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
       const source = \`import { parentPort, workerData } from "node:worker_threads";
         const { Runtime } = await import(workerData.url);
         const runtime = await Runtime.open(); const box = await runtime.create();
         parentPort.postMessage((await box.exec("echo worker")).stdout);
         await box.exec("sleep 100");\`;
       const make = () => new Promise((resolve, reject) => {
         const worker = new Worker(new URL("data:text/javascript," + encodeURIComponent(source)), { workerData: { url: "${index}" } });
         worker.once("error", reject); worker.once("message", (text) => resolve({ worker, text })); });
       const both = await Promise.all([make(), make()]);
       for (const { worker, text } of both) { console.log(text.trim()); await worker.terminate(); }
       const runtime = await Runtime.open(); console.log((await (await runtime.create()).exec("echo main")).stdout.trim());`,
    );
    expect(ended).toMatchObject({ code: 0, stdout: "worker\nworker\nmain\n" });
  });

  it("runs with finalizers in every turn", async () => {
    const ended = await program(
      `const runtime = await Runtime.open(); let sum = 0;
       for (let i = 0; i < 20; i++) { const box = await runtime.create(); gc(); const p = await box.spawn("echo x"); gc();
         for await (const chunk of p) { gc(); sum += chunk.bytes.length; } await p.wait(); }
       gc(); await new Promise((resolve) => setTimeout(resolve, 200)); console.log(sum);`,
      ["--expose-gc"],
    );
    expect(ended).toMatchObject({ code: 0, stdout: "40\n" });
  });
});
