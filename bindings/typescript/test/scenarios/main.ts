/**
 * Runs the stories of tests/conformance/scenarios on this package.
 *
 * usage: node main.js DIRECTORY [embedded|daemon|sealed]… [--only NAME]
 */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Runtime } from "@sandbox/runtime";
import { startDaemon } from "../support/daemon.js";
import type { World } from "./operations.js";
import { runStory, type Story } from "./story.js";
import { onlyKeys, Surprise } from "./values.js";

const ENVIRONMENTS = ["embedded", "daemon", "sealed"] as const;
type Environment = (typeof ENVIRONMENTS)[number];

const [directory, ...rest] = process.argv.slice(2);
if (!directory) throw new Error("usage: main.js DIRECTORY [environment]… [--only NAME]");
const only = rest.includes("--only") ? rest[rest.indexOf("--only") + 1] : undefined;
const chosen = ENVIRONMENTS.filter((environment) => rest.includes(environment));
const report = process.env["SANDBOX_SCENARIO_REPORT"];
if (report) writeFileSync(report, "");

function say(line: string): void {
  console.log(line);
  if (report) appendFileSync(report, `${line}\n`);
}

function stories(): Story[] {
  const all: Story[] = [];
  for (const name of readdirSync(directory ?? "").filter((file) => file.endsWith(".json")).sort()) {
    const file = JSON.parse(readFileSync(join(directory ?? "", name), "utf8")) as { format: number; area: string; stories: Story[] };
    onlyKeys(file, ["format", "area", "stories"], name);
    if (file.format !== 1) throw new Surprise(`${name} is of another format`);
    all.push(...file.stories.map((story) => ({ ...story, name: `${file.area}.${story.name}` })));
  }
  return all;
}

/** Opens where sandboxes come from, with what ends it. */
async function open(environment: Environment): Promise<{ world: World; close: () => Promise<void> }> {
  if (environment === "embedded") {
    const state = mkdtempSync(join(tmpdir(), "sandbox-stories-"));
    const runtime = await Runtime.open({ stateDirectory: state });
    const close = async (): Promise<void> => {
      await runtime.close();
      rmSync(state, { recursive: true, force: true });
    };
    return { world: { environment, maker: { runtime } }, close };
  }
  const daemon = await startDaemon();
  const client = await Client.connect(daemon.endpoint);
  const close = async (): Promise<void> => {
    await client.close();
    await daemon.stop();
  };
  return { world: { environment, maker: { client } }, close };
}

let failures = 0;
for (const environment of chosen.length > 0 ? chosen : ENVIRONMENTS) {
  const { world, close } = await open(environment);
  const counts = { ok: 0, failed: 0, skipped: 0 };
  for (const story of stories()) {
    if (only !== undefined && story.name !== only) continue;
    const title = `story ${environment} ${story.name}`;
    if (story.environments && !story.environments.includes(environment)) {
      counts.skipped++;
      say(`${title} skipped not for this environment`);
      continue;
    }
    try {
      await runStory(story, world);
      counts.ok++;
      say(`${title} ok`);
    } catch (error) {
      counts.failed++;
      say(`${title} failed ${(error as Error).message}`);
    }
  }
  await close();
  failures += counts.failed;
  say(`stories ${environment} ${counts.ok} ok, ${counts.failed} failed, ${counts.skipped} skipped`);
}
process.exitCode = failures === 0 ? 0 : 1;
