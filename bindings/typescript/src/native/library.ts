import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { UnsupportedError } from "../errors.js";

const LIBRARY = "libsandbox.so.0";

/** Where the library may be, best first: $SANDBOX_LIBRARY, inside this package, wherever the system's loader looks. */
function candidates(): string[] {
  const chosen = process.env["SANDBOX_LIBRARY"];
  if (chosen) return [chosen];
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const packaged = join(root, "native", `${process.platform}-${process.arch}`, LIBRARY);
  return existsSync(packaged) ? [packaged] : [LIBRARY];
}

function load() {
  // Views travel as two plain words (see functions.ts), which is the calling convention of these two only.
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
    throw new UnsupportedError(`libsandbox runs on Linux on x64 and arm64, not on ${process.platform} ${process.arch}`, "load");
  }
  const reasons: string[] = [];
  for (const path of candidates()) {
    try {
      return koffi.load(path);
    } catch (error) {
      reasons.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new UnsupportedError(`cannot load libsandbox (set SANDBOX_LIBRARY to its path): ${reasons.join("; ")}`, "load");
}

export const library = load();
export const libc = koffi.load(null);
