import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { binDirectory } from "./support/daemon.js";
import { output, packageRoot, run } from "./support/run.js";

const scratch = mkdtempSync(join(tmpdir(), "sandbox-ts-pack-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const PROGRAM = `
import { Runtime, version } from "@sandbox/runtime";
await using runtime = await Runtime.open();
await using box = await runtime.create();
console.log(version, (await box.exec("echo packed")).stdout.trim());
`;

describe("the package", () => {
  it("is packed with the native files, installed, and runs", { timeout: 240_000 }, async () => {
    // A copy: staging and packing leave nothing behind in the one that is tested.
    const copy = join(scratch, "package");
    for (const part of ["package.json", "tsconfig.json", "tsconfig.build.json", "README.md", "src", "scripts"]) {
      cpSync(join(packageRoot, part), join(copy, part), { recursive: true });
    }
    cpSync(join(packageRoot, "node_modules"), join(copy, "node_modules"), { recursive: true, verbatimSymlinks: true });
    await output("npm", ["run", "build"], { cwd: copy });
    await output("npm", ["run", "stage-native", "--", dirname(binDirectory())], { cwd: copy });
    const [packed] = JSON.parse(await output("npm", ["pack", "--json"], { cwd: copy })) as [{ filename: string; files: { path: string }[] }];
    const files = packed.files.map((file) => file.path);
    const native = `native/linux-${process.arch}`;
    for (const file of ["dist/index.js", "dist/index.d.ts", `${native}/libsandbox.so.0`, `${native}/sandbox-launcher`, `${native}/sandbox-agent`]) {
      expect(files).toContain(file);
    }
    expect(files.filter((file) => /^(src|test|bench|node_modules)\//.test(file))).toEqual([]);

    // koffi comes from the cache that installing this package filled, or from the registry.
    const project = join(scratch, "project");
    cpSync(join(copy, "tsconfig.json"), join(project, "tsconfig.base.json"));
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "scratch", private: true, type: "module" }));
    await output("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", join(copy, packed.filename)], { cwd: project, timeout: 120_000 });
    writeFileSync(join(project, "main.ts"), PROGRAM);
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: { target: "ES2022", module: "NodeNext", lib: ["ES2023", "ESNext.Disposable"], strict: true, typeRoots: [join(packageRoot, "node_modules", "@types")], types: ["node"] },
        files: ["main.ts"],
      }),
    );
    await output(process.execPath, [join(packageRoot, "node_modules", "typescript", "bin", "tsc"), "-p", project]);
    // Without the variables of this test: library and helpers are those of the package.
    const { SANDBOX_LIBRARY: _library, SANDBOX_BIN_DIR: _directory, ...env } = process.env;
    expect(await output(process.execPath, ["main.js"], { cwd: project, env })).toMatch(/^\d+\.\d+\.\d+ packed\n$/);
  });

  it("says where it looked when there is no library", async () => {
    await output(process.execPath, [join(packageRoot, "node_modules", "typescript", "bin", "tsc"), "-p", join(packageRoot, "tsconfig.build.json")]);
    const ended = await run(process.execPath, ["--input-type=module", "-e", `await import("${join(packageRoot, "dist", "index.js")}")`], {
      env: { ...process.env, SANDBOX_LIBRARY: "/no/such/libsandbox.so" },
    });
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain("cannot load libsandbox (set SANDBOX_LIBRARY to its path): /no/such/libsandbox.so");
  });

  it("has a lock file without addresses of any machine", () => {
    const lock = readFileSync(join(packageRoot, "package-lock.json"), "utf8");
    const resolved = [...lock.matchAll(/"resolved": "([^"]*)"/g)].map((match) => match[1]);
    expect(resolved.filter((address) => !address?.startsWith("https://registry.npmjs.org/"))).toEqual([]);
    expect(lock).not.toMatch(/(file|git\+|http):|\d+\.\d+\.\d+\.\d+[:/]/);
  });
});
