import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { AlreadyExistsError, DeadlineExceededError, FailedPreconditionError, NotFoundError, ResourceExhaustedError } from "../src/index.js";
import { inOneSandbox, rejection } from "./support/environment.js";

const scratch = mkdtempSync(join(tmpdir(), "sandbox-ts-fs-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("fs", () =>
  inOneSandbox((box, environment) => {
    it("reads what it wrote", async () => {
      const content = randomBytes(300_000);
      await box().fs.write("/root/a.bin", content, { mode: 0o600 });
      expect((await box().fs.read("/root/a.bin")).equals(content)).toBe(true);
      expect(await box().fs.readRange("/root/a.bin", 1000, 10)).toEqual(content.subarray(1000, 1010));
      expect(await box().fs.stat("/root/a.bin")).toMatchObject({ type: "regular", size: 300_000, uid: 0, gid: 0 });
      expect((await box().fs.stat("/root/a.bin")).mode & 0o777).toBe(0o600);
      expect(Math.abs((await box().fs.stat("/root/a.bin")).modified.getTime() - Date.now())).toBeLessThan(60_000);
      expect(await rejection(box().fs.read("/root/a.bin", { max: 10 }))).toBeInstanceOf(ResourceExhaustedError);
      await box().fs.write("/root/empty", "");
      expect((await box().fs.read("/root/empty")).length).toBe(0);
    });

    it("appends, makes parents, and refuses to replace", async () => {
      await box().fs.write("/root/new/dir/t", "one", { makeParents: true });
      await box().fs.write("/root/new/dir/t", "two", { append: true });
      expect(await box().fs.readText("/root/new/dir/t")).toBe("onetwo");
      expect(await rejection(box().fs.write("/root/new/dir/t", "x", { exclusive: true }))).toBeInstanceOf(AlreadyExistsError);
      expect(await rejection(box().fs.readText("/root/none"))).toBeInstanceOf(NotFoundError);
    });

    it("streams both ways", async () => {
      const size = 8 * 2 ** 20 + 17;
      const content = randomBytes(size);
      await using writer = box().fs.openWriter("/root/stream");
      const source = Readable.from(
        (function* () {
          for (let at = 0; at < size; at += 100_000) yield content.subarray(at, at + 100_000);
        })(),
      );
      expect(await writer.writeAll(source as AsyncIterable<Buffer>)).toMatchObject({ bytes: size });
      await using reader = box().fs.openReader("/root/stream");
      const pieces: Buffer[] = [];
      for await (const piece of reader) pieces.push(piece);
      expect(Buffer.concat(pieces).equals(content)).toBe(true);
      expect(await reader.read()).toBeUndefined();
    });

    it("leaves the old content when a writer is closed early", async () => {
      await box().fs.write("/root/keep", "old");
      {
        await using writer = box().fs.openWriter("/root/keep");
        await writer.write("new");
      }
      expect(await box().fs.readText("/root/keep")).toBe("old");
    });

    it("says with the first read what is wrong with a path", async () => {
      await using reader = box().fs.openReader("/root/nothing/here");
      expect(await rejection(reader.read())).toBeInstanceOf(NotFoundError);
      reader.close();
      expect(await rejection(reader.read())).toBeInstanceOf(FailedPreconditionError);
    });

    it("carries directories as tar", async () => {
      await box().fs.write("/root/tree/x/y", "deep", { makeParents: true });
      await using reader = box().fs.openTarReader("/root/tree");
      await using writer = box().fs.openTarWriter("/root/copy-of-tree");
      await writer.writeAll(reader);
      expect(await box().fs.readText("/root/copy-of-tree/x/y")).toBe("deep");
    });

    it("moves between host and sandbox", async () => {
      const path = join(scratch, `${environment().kind}.txt`);
      writeFileSync(path, "from the host");
      expect(await box().fs.upload(path, "/root/up.txt")).toMatchObject({ bytes: 13 });
      expect(await box().fs.readText("/root/up.txt")).toBe("from the host");
      await box().fs.download("/root/up.txt", `${path}.back`);
      expect(readFileSync(`${path}.back`, "utf8")).toBe("from the host");
    });

    it("lists, finds, links, renames, copies and removes", async () => {
      const { fs } = box();
      await fs.mkdir("/root/d");
      await fs.write("/root/d/ä.txt", "1");
      await fs.symlink("ä.txt", "/root/d/link");
      await fs.chmod("/root/d/ä.txt", 0o640);
      expect((await fs.list("/root/d")).map((file) => [file.path, file.type]).sort()).toEqual([
        ["link", "symlink"],
        ["ä.txt", "regular"],
      ]);
      expect(await fs.lstat("/root/d/link")).toMatchObject({ type: "symlink", target: "ä.txt" });
      expect(await fs.stat("/root/d/link")).toMatchObject({ type: "regular", size: 1 });
      expect((await fs.find("/root/d", "*.txt", { type: "regular" })).map((file) => file.path)).toEqual(["ä.txt"]);
      expect(await fs.copy("/root/d/ä.txt", "/root/d/b")).toBe(1);
      await fs.rename("/root/d/b", "/root/d/c");
      expect(await fs.readText("/root/d/c")).toBe("1");
      await fs.remove("/root/d/c");
      expect(await rejection(fs.remove("/root/d/c"))).toBeInstanceOf(NotFoundError);
      await fs.remove("/root/d", { recursive: true });
      expect(await rejection(fs.stat("/root/d"))).toBeInstanceOf(NotFoundError);
    });

    it("watches", async () => {
      await box().fs.mkdir("/root/w/sub");
      await using watch = await box().fs.watch("/root/w", { recursive: true });
      await box().fs.write("/root/w/sub/f", "x");
      for await (const event of watch.events({ signal: AbortSignal.timeout(10_000) })) {
        if (event.path === "/root/w/sub/f") break;
      }
      await box().fs.rename("/root/w/sub/f", "/root/w/g");
      for await (const event of watch.events({ signal: AbortSignal.timeout(10_000) })) {
        if (event.path === "/root/w/g" && ["renamed", "created"].includes(event.change)) break;
      }
      while (true) {
        const error = await watch.next({ timeout: 50 }).catch((reason: unknown) => reason);
        if (error instanceof DeadlineExceededError) break;
      }
      setTimeout(() => watch.close(), 20);
      for await (const event of watch) expect.fail(`unexpected ${event.path}`);
    });
  }));
