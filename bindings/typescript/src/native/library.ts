import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { UnsupportedError } from "../errors.js";

const LIBRARY = "libsandbox.so.0";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const packaged = join(root, "native", `${process.platform}-${process.arch}`);

/** Where the library is: $SANDBOX_LIBRARY, else inside this package, else wherever the system's loader looks. */
const chosen = process.env["SANDBOX_LIBRARY"] || (existsSync(join(packaged, LIBRARY)) ? join(packaged, LIBRARY) : LIBRARY);

/** Directory of the helper programs that belong to the library of this package, when that is the one in use. */
export const packagedHelpers = chosen === join(packaged, LIBRARY) && !process.env["SANDBOX_BIN_DIR"] ? packaged : undefined;

function load() {
  // Views travel as two plain words (see functions.ts), which is the calling convention of these two only.
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
    throw new UnsupportedError(`libsandbox runs on Linux on x64 and arm64, not on ${process.platform} ${process.arch}`, "load");
  }
  try {
    return koffi.load(chosen);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnsupportedError(`cannot load libsandbox (set SANDBOX_LIBRARY to its path): ${chosen}: ${reason}`, "load");
  }
}

export const library = load();
export const libc = koffi.load(null);
