import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { output, packageRoot } from "./support/run.js";

/** In a checkout they are beside the bindings; the build's copy of this package is told where. */
const source = process.env["SANDBOX_EXAMPLES_DIR"] ?? join(packageRoot, "..", "..", "examples", "typescript");
// Inside the package, so that "@sandbox/runtime" is this one.
const built = join(packageRoot, "build", "examples");

beforeAll(async () => {
  rmSync(built, { recursive: true, force: true });
  mkdirSync(built, { recursive: true });
  const config = {
    extends: join(packageRoot, "tsconfig.json"),
    compilerOptions: {
      rootDir: source,
      outDir: built,
      declaration: false,
      typeRoots: [join(packageRoot, "node_modules", "@types")],
      paths: { "@sandbox/runtime": [join(packageRoot, "dist", "index.d.ts")] },
    },
    include: [join(source, "*.ts")],
  };
  writeFileSync(join(built, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(packageRoot, "node_modules", "typescript", "bin", "tsc");
  await output(process.execPath, [join(packageRoot, "node_modules", "typescript", "bin", "tsc"), "-p", join(packageRoot, "tsconfig.build.json")]);
  await output(process.execPath, [tsc, "-p", join(built, "tsconfig.json")]);
}, 120_000);

const example = (name: string): Promise<string> => output(process.execPath, [join(built, `${name}.js`)]);

describe("example", () => {
  it("1_hello", async () => {
    expect(await example("1_hello")).toMatch(/^Hello from sandbox, as root\nexit code 0 after [0-9.]+ ms\n$/);
  });

  it("2_streaming", async () => {
    // A chunk is what has arrived: two lines, if the reader came late.
    expect(await example("2_streaming")).toMatch(
      /^stdout: 1\n(stdout: )?2\n(stdout: )?3\nstderr: done\ncounter: exited\ntr: QUIET WORDS\nsleep: TimeoutError\n$/,
    );
  });

  it("3_files", async () => {
    expect(await example("3_files")).toBe(
      [
        "first line",
        "second line",
        "the watch saw /root/project/notes.txt",
        "wrote 500000 bytes",
        "read 500000 bytes",
        "regular project/notes.txt, 23 bytes",
        "",
      ].join("\n"),
    );
  });

  it("4_ports", async () => {
    expect(await example("4_ports")).toBe("GET /: 200, served from inside\nHEAD /: HTTP/1.0 200 OK\n");
  });

  it("5_web_server", async () => {
    const lines = (await example("5_web_server")).trimEnd().split("\n");
    expect(lines).toEqual(
      expect.arrayContaining(['echo hello -> exit 0 "hello\\n"', "expr 6 '*' 7 -> exit 0 \"42\\n\"", 'exit 3 -> exit 3 ""']),
    );
    expect(lines[2]).toMatch(/^cat \/etc\/shadow -> exit 1/);
  });

  it("6_agent_loop", async () => {
    expect(await example("6_agent_loop")).toBe(
      "round 0: 100 commands, 0 failed\nround 1: 1 commands, 0 failed\nthe sum of the squares is 328350\n",
    );
  });
});
