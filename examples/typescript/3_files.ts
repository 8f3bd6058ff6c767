// Files of a sandbox: whole, in pieces, watched.
import { Runtime } from "@sandbox/runtime";

await using runtime = await Runtime.open();
await using box = await runtime.create();
const { fs } = box;

await fs.mkdir("/root/project");
await using watch = await fs.watch("/root/project");

await fs.write("/root/project/notes.txt", "first line\n");
await fs.write("/root/project/notes.txt", "second line\n", { append: true });
process.stdout.write(await fs.readText("/root/project/notes.txt"));
for await (const event of watch) {
  if (event.path !== "/root/project/notes.txt") continue;
  console.log(`the watch saw ${event.path}`);
  break;
}

// Large files go in pieces, at the pace of the slower side. Until finish() nobody sees the new file.
await using writer = fs.openWriter("/root/project/numbers");
for (let i = 0; i < 100; i++) await writer.write(`${String(i).padStart(4, "0")}\n`.repeat(1000));
console.log(`wrote ${(await writer.finish()).bytes} bytes`);

await using reader = fs.openReader("/root/project/numbers");
let size = 0;
for await (const piece of reader) size += piece.length;
console.log(`read ${size} bytes`);

for (const file of await fs.find("/root", "**/*.txt")) console.log(`${file.type} ${file.path}, ${file.size} bytes`);
