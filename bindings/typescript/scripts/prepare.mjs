// Brings a copy of this package up to date, for tests: its files, its dependencies as the lock file says, its build.
//
// usage: node scripts/prepare.mjs SOURCE COPY NPM
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [source, copy, npm] = process.argv.slice(2);
const PARTS = ["package.json", "package-lock.json", "README.md", "src", "test", "bench", "scripts"];
const CONFIGURATION = ["tsconfig.json", "tsconfig.build.json", "tsconfig.tools.json", "vitest.config.ts"];

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: copy, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

mkdirSync(copy, { recursive: true });
for (const part of [...PARTS, ...CONFIGURATION]) {
  rmSync(join(copy, part), { recursive: true, force: true });
  cpSync(join(source, part), join(copy, part), { recursive: true });
}

// Installing is slow and needs a registry: only when the lock file changed since it succeeded.
const stamp = join(copy, "node_modules", ".stamp");
const wanted = createHash("sha256").update(readFileSync(join(copy, "package-lock.json"))).update(process.version).digest("hex");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
  run(npm, "ci", "--no-audit", "--no-fund", "--prefer-offline");
  writeFileSync(stamp, wanted);
}

const tsc = join(copy, "node_modules", "typescript", "bin", "tsc");
rmSync(join(copy, "dist"), { recursive: true, force: true });
rmSync(join(copy, "build"), { recursive: true, force: true });
run(process.execPath, tsc, "-p", "tsconfig.build.json");
run(process.execPath, tsc, "-p", "tsconfig.tools.json");
