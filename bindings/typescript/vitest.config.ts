import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Each file is one process with one runtime: native memory and descriptors of one cannot hide in another's.
    pool: "forks",
    poolOptions: { forks: { maxForks: 1, execArgv: ["--expose-gc"] } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
