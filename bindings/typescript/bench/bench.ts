/**
 * What this package costs, as JSON.
 *
 * usage: node bench.js [--soak ROUNDS] [--only env|file|parallel|soak]
 *        node bench.js --turns      measures what it is told, see benchmarks/bindings/take-turns
 */
import { mkdtempSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Runtime, type Sandbox, version } from "@sandbox/runtime";

const flags = process.argv.slice(2);
const flag = (name: string): string | undefined => (flags.includes(name) ? flags[flags.indexOf(name) + 1] : undefined);
const wanted = (part: string): boolean => [undefined, part].includes(flag("--only"));

const count = (directory: string): number => readdirSync(directory).length;
const memoryMiB = (pattern: RegExp): number => Number(pattern.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
const residentMiB = (): number => memoryMiB(/VmRSS:\s+(\d+)/);
const peakMiB = (): number => memoryMiB(/VmHWM:\s+(\d+)/);
const round = (value: number, digits = 1): number => Number(value.toFixed(digits));
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;

/** Microseconds that this thread was on a processor: tells the cost of this package also on a busy machine. */
const ownTime = (): number => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[0]) / 1000;

/** Microseconds of one env.get, awaited one after the other. */
async function envGet(box: Sandbox, rounds: number): Promise<{ p50_us: number; p5_us: number; own_thread_us: number }> {
  const times: number[] = [];
  const before = ownTime();
  for (let i = 0; i < rounds; i++) {
    const started = process.hrtime.bigint();
    await box.env.get("HOME");
    times.push(Number(process.hrtime.bigint() - started) / 1000);
  }
  const own = (ownTime() - before) / rounds;
  const p50 = median(times);
  return { p50_us: round(p50), p5_us: round(times[Math.floor(rounds / 20)] ?? NaN), own_thread_us: round(own) };
}

const SIZE = 64 * 2 ** 20;
const piece = Buffer.alloc(2 ** 20, 7);
const speed = (started: number): number => 64_000 / (performance.now() - started);

/** Each of these: MiB per second of a 64 MiB file. */
async function streamIn(box: Sandbox): Promise<number> {
  const started = performance.now();
  await using writer = box.fs.openWriter("/root/file");
  for (let at = 0; at < SIZE; at += piece.length) await writer.write(piece);
  await writer.finish();
  return speed(started);
}

async function streamOut(box: Sandbox): Promise<number> {
  const started = performance.now();
  await using reader = box.fs.openReader("/root/file");
  let size = 0;
  for await (const part of reader) size += part.length;
  if (size !== SIZE) throw new Error(`${size} bytes came back`);
  return speed(started);
}

async function wholeIn(box: Sandbox, content: Buffer): Promise<number> {
  const started = performance.now();
  await box.fs.write("/root/file", content);
  return speed(started);
}

async function wholeOut(box: Sandbox): Promise<number> {
  const started = performance.now();
  if ((await box.fs.read("/root/file")).length !== SIZE) throw new Error("not the whole file");
  return speed(started);
}

/** MiB per second of a 64 MiB file in pieces and as a whole, and the most memory that the pieces took. */
async function file(box: Sandbox): Promise<object> {
  const whole = Buffer.alloc(SIZE, 7);
  const before = residentMiB();
  const figures: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let i = 0; i < 5; i++) {
    figures[0].push(await streamIn(box));
    figures[1].push(await streamOut(box));
  }
  const streamed = peakMiB() - before;
  for (let i = 0; i < 5; i++) {
    figures[2].push(await wholeIn(box, whole));
    figures[3].push(await wholeOut(box));
  }
  const [stream_in_mib_s, stream_out_mib_s, whole_in_mib_s, whole_out_mib_s] = figures.map((values) => Math.round(median(values)));
  return { stream_in_mib_s, stream_out_mib_s, whole_in_mib_s, whole_out_mib_s, stream_memory_mib: round(streamed) };
}

/** Between two turns nothing of this process is to run. */
function lineOfInput(): string | undefined {
  const bytes = Buffer.alloc(64);
  const size = readSync(0, bytes);
  return size === 0 ? undefined : bytes.toString("utf8", 0, size).trim();
}

async function turns(box: Sandbox): Promise<void> {
  const whole = Buffer.alloc(SIZE, 7);
  const before = peakMiB();
  console.log("ready");
  for (let line = lineOfInput(); line !== undefined; line = lineOfInput()) {
    const [what, count] = line.split(" ");
    const figure = {
      env: async () => (await envGet(box, Number(count))).p50_us,
      in: () => streamIn(box),
      out: () => streamOut(box),
      write: () => wholeIn(box, whole),
      read: () => wholeOut(box),
      memory: async () => peakMiB() - before,
    }[what ?? ""];
    console.log(await figure?.());
  }
}

/** 200 execs at once: how late timers of the loop are meanwhile, and how many threads were made. */
async function parallel(box: Sandbox): Promise<object> {
  const exec = () => box.exec("echo hi; sleep 0.1");
  await Promise.all(Array.from({ length: 8 }, exec));
  const threads = count("/proc/self/task");
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  let most = threads;
  const results = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const result = await exec();
      most = Math.max(most, count("/proc/self/task"));
      return result.ok;
    }),
  );
  const took = performance.now() - started;
  delay.disable();
  return {
    ok: results.filter(Boolean).length,
    took_ms: Math.round(took),
    // The histogram counts the resolution itself, 1 ms, as delay.
    loop_p50_ms: round(delay.percentile(50) / 1e6, 2),
    loop_p99_ms: round(delay.percentile(99) / 1e6, 2),
    loop_max_ms: round(delay.max / 1e6, 2),
    extra_threads: most - threads,
  };
}

/** Rounds of create, exec, destroy: memory and descriptors at the end against those after a tenth. */
async function soak(runtime: Runtime, rounds: number): Promise<object> {
  const settle = async (): Promise<{ fds: number; mib: number }> => {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return { fds: count("/proc/self/fd"), mib: round(residentMiB()) };
  };
  const one = async (): Promise<void> => {
    await using box = await runtime.create();
    if (!(await box.exec(["true"])).ok) throw new Error("true failed");
  };
  const started = performance.now();
  for (let i = 0; i < rounds / 10; i++) await one();
  const early = await settle();
  for (let i = 0; i < rounds - rounds / 10; i++) await one();
  const late = await settle();
  return { rounds, early, late, per_round_ms: round((performance.now() - started) / rounds, 2) };
}

async function everything(runtime: Runtime, box: Sandbox): Promise<void> {
  const report: Record<string, unknown> = { version, node: process.version };
  if (wanted("env")) {
    await envGet(box, 2000);
    report["env_get"] = await envGet(box, 20_000);
  }
  if (wanted("file")) report["file_64_mib"] = await file(box);
  if (wanted("parallel")) report["parallel_200_execs"] = await parallel(box);
  if (wanted("soak")) report["soak"] = await soak(runtime, Number(flag("--soak") ?? 1000));
  console.log(JSON.stringify(report, null, 2));
}

const state = mkdtempSync(join(tmpdir(), "sandbox-bench-"));
try {
  await using runtime = await Runtime.open({ stateDirectory: state });
  await using box = await runtime.create({ pids: 1024, memory: 2 ** 30, disk: 512 * 2 ** 20 });
  await (flags.includes("--turns") ? turns(box) : everything(runtime, box));
} finally {
  rmSync(state, { recursive: true, force: true });
}
