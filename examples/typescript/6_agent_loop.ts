// What an agent does: think of commands, run them all at once in one workspace, look at what came back, go on.
import { type ExecResult, Runtime, type Sandbox } from "@sandbox/runtime";

/** Stands for the model: the commands of the next round, from the results of the last. None: the task is done. */
function plan(round: number, results: readonly ExecResult[]): string[] {
  if (round === 0) return Array.from({ length: 100 }, (_, i) => `echo $((${i} * ${i})) > part-${i} && cat part-${i}`);
  if (round === 1) {
    const failed = results.filter((result) => !result.ok).length;
    return failed === 0 ? ["cat part-* | awk '{ sum += $1 } END { print sum }'"] : [];
  }
  return [];
}

async function work(box: Sandbox): Promise<void> {
  let results: ExecResult[] = [];
  for (let round = 0; ; round++) {
    const commands = plan(round, results);
    if (commands.length === 0) break;
    const started = performance.now();
    results = await Promise.all(commands.map((command) => box.exec(command, { workdir: "/root", timeout: 30_000 })));
    const failed = results.filter((result) => !result.ok).length;
    console.log(`round ${round}: ${commands.length} commands, ${failed} failed`);
    console.error(`${(performance.now() - started).toFixed(0)} ms`);
  }
  console.log(`the sum of the squares is ${results[0]?.stdout.trim()}`);
}

await using runtime = await Runtime.open();
await using box = await runtime.create({ pids: 512, memory: 256 * 2 ** 20 });
await work(box);
