// Puts the native files of a build into this package, where `npm pack` takes them from and the library is found first.
//
// usage: node scripts/stage-native.mjs BUILD_DIRECTORY
import { copyFileSync, chmodSync, mkdirSync, realpathSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const build = process.argv[2];
if (!build) {
  console.error("usage: node scripts/stage-native.mjs BUILD_DIRECTORY");
  process.exit(2);
}
const target = join(dirname(fileURLToPath(import.meta.url)), "..", "native", `${process.platform}-${process.arch}`);
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
// The helpers stand beside the library: that is where it looks for them.
for (const [from, name] of [
  ["lib/libsandbox.so.0", "libsandbox.so.0"],
  ["bin/sandbox-launcher", "sandbox-launcher"],
  ["bin/sandbox-agent", "sandbox-agent"],
]) {
  copyFileSync(realpathSync(join(build, from)), join(target, name));
  chmodSync(join(target, name), 0o755);
}
console.log(`staged ${target}`);
