// The first program: one sandbox of this process, one command in it.
import { Runtime } from "@sandbox/runtime";

await using runtime = await Runtime.open();
await using box = await runtime.create();

const result = await box.exec("echo Hello from $(hostname), as $(id -un)");
process.stdout.write(result.stdout);
console.log(`exit code ${result.exitCode} after ${result.wallTime.toFixed(1)} ms`);
