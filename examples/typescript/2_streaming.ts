// A program that runs for a while: output as it comes, input, a signal, and a time limit of ours.
import { Runtime } from "@sandbox/runtime";

await using runtime = await Runtime.open();
await using box = await runtime.create();

// Output arrives piece by piece; nothing is kept, and a program whose reader is slow waits.
await using counter = await box.spawn("for i in 1 2 3; do echo $i; sleep 0.1; done; echo done >&2");
for await (const { stream, bytes } of counter) console.log(`${stream}: ${bytes.toString().trimEnd()}`);
console.log(`counter: ${(await counter.wait()).cause}`);

// A dialogue: what is written comes back in capitals.
await using shout = await box.spawn(["tr", "a-z", "A-Z"], { openInput: true });
await shout.write("quiet words\n");
await shout.closeInput();
for await (const { bytes } of shout) console.log(`tr: ${bytes.toString().trimEnd()}`);

// Every call takes an AbortSignal. Aborting an exec kills what it started.
try {
  await box.exec("sleep 60", { signal: AbortSignal.timeout(200) });
} catch (error) {
  console.log(`sleep: ${(error as Error).name}`);
}
