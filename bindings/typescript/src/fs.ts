import { NotFoundError } from "./errors.js";
import { FileReader, FileWriter, takeTransfer } from "./file_streams.js";
import { encodeFindOptions, encodeWriteOptions, FILE_TYPES, words } from "./native/encode.js";
import * as c from "./native/functions.js";
import type { Handle } from "./native/handle.js";
import { bytesCount, flag, integer, objectOf } from "./native/input.js";
import { check, OutStruct, outError, outPointer, release, takeBuffer } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import * as structs from "./native/structs.js";
import type { Abortable, BytesLike, FileInfo, FindOptions, Transfer, WriteOptions } from "./types.js";
import { Watch } from "./watch.js";

export interface ReadOptions extends Abortable {
  /** Bytes beyond which it fails with resource_exhausted. Default 1 GiB. */
  max?: number;
}

/** Files of one sandbox. Paths are absolute. */
export class Fs {
  /** @internal */
  constructor(private readonly handle: Handle) {}

  /** All of a file. For large ones see openReader(). */
  read(path: string, options: ReadOptions = {}): Promise<Buffer> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.read(handle.get(), ...words(path, "the path"), bytesCount(objectOf(options, "the options")["max"], "max")),
      take: takeContent,
      handle,
      options,
    });
  }

  /** All of a file as UTF-8. */
  async readText(path: string, options: ReadOptions = {}): Promise<string> {
    return (await this.read(path, options)).toString("utf8");
  }

  /** At most `length` bytes from `offset`. */
  readRange(path: string, offset: number, length: number, options: Abortable = {}): Promise<Buffer> {
    const handle = this.handle;
    return run({
      begin: () =>
        c.fs.readRange(
          handle.get(),
          ...words(path, "the path"),
          integer(offset ?? null, "offset", 0, Number.MAX_SAFE_INTEGER),
          integer(length ?? null, "length", 0, Number.MAX_SAFE_INTEGER),
        ),
      take: takeContent,
      handle,
      options,
    });
  }

  /** Replaces the file atomically, unless `options` say otherwise. */
  write(path: string, content: BytesLike, options: WriteOptions & Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () =>
        c.fs.write(handle.get(), ...words(path, "the path"), ...words(content, "the content"), encodeWriteOptions(options)),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** A file, piece by piece. What is wrong with `path` shows with the first read. */
  openReader(path: string): FileReader {
    check(c.fs.openReader(this.handle.get(), ...words(path, "the path"), outPointer, outError));
    return new FileReader(outPointer[0] ?? 0n, this.handle);
  }

  /** A file or directory as a tar archive. */
  openTarReader(path: string): FileReader {
    check(c.fs.openTarReader(this.handle.get(), ...words(path, "the path"), outPointer, outError));
    return new FileReader(outPointer[0] ?? 0n, this.handle);
  }

  /** A new file, piece by piece; nothing is replaced before finish(). */
  openWriter(path: string, options: WriteOptions = {}): FileWriter {
    check(c.fs.openWriter(this.handle.get(), ...words(path, "the path"), encodeWriteOptions(options), outPointer, outError));
    return new FileWriter(outPointer[0] ?? 0n, this.handle);
  }

  /** A tar archive, unpacked below `path`. */
  openTarWriter(path: string): FileWriter {
    check(c.fs.openTarWriter(this.handle.get(), ...words(path, "the path"), outPointer, outError));
    return new FileWriter(outPointer[0] ?? 0n, this.handle);
  }

  /** A file or directory of this host into the sandbox. */
  upload(hostPath: string, path: string, options: Abortable = {}): Promise<Transfer> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.upload(handle.get(), ...words(hostPath, "the host's path"), ...words(path, "the path")),
      take: takeTransfer,
      handle,
      options,
    });
  }

  /** A file or directory of the sandbox to this host. */
  download(path: string, hostPath: string, options: Abortable = {}): Promise<Transfer> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.download(handle.get(), ...words(path, "the path"), ...words(hostPath, "the host's path")),
      take: takeTransfer,
      handle,
      options,
    });
  }

  /** What is in a directory, by name. */
  list(path: string, options: Abortable = {}): Promise<FileInfo[]> {
    const handle = this.handle;
    return run({ begin: () => c.fs.list(handle.get(), ...words(path, "the path")), take: takeFiles, handle, options });
  }

  /** What is below `root` and matches a glob: * ? [..] within a name, ** across directories. Sorted. */
  find(root: string, pattern: string, options: FindOptions = {}): Promise<FileInfo[]> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.find(handle.get(), ...words(root, "the root"), ...words(pattern, "the pattern"), encodeFindOptions(options)),
      take: takeFiles,
      handle,
      options,
    });
  }

  /** Follows a symlink. Rejects with NotFoundError. */
  stat(path: string, options: Abortable = {}): Promise<FileInfo> {
    return this.statOf(path, 1, options);
  }

  /** Of a symlink itself. */
  lstat(path: string, options: Abortable = {}): Promise<FileInfo> {
    return this.statOf(path, 0, options);
  }

  private statOf(path: string, follow: 0 | 1, options: Abortable): Promise<FileInfo> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.stat(handle.get(), ...words(path, "the path"), follow),
      take: (op) => takeFiles(op)[0] as FileInfo,
      handle,
      options,
    });
  }

  /** With its parents; there already is fine. */
  mkdir(path: string, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({ begin: () => c.fs.mkdir(handle.get(), ...words(path, "the path")), take: takeNothing, handle, options });
  }

  /** recursive: a whole tree, and not there is fine. */
  remove(path: string, options: Abortable & { recursive?: boolean } = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () =>
        c.fs.remove(handle.get(), ...words(path, "the path"), flag(objectOf(options, "the options")["recursive"], "recursive")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Replaces `to` if that is a file. */
  rename(from: string, to: string, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.rename(handle.get(), ...words(from, "the path"), ...words(to, "the new path")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Resolves with the bytes copied. */
  copy(from: string, to: string, options: Abortable = {}): Promise<number> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.copy(handle.get(), ...words(from, "the path"), ...words(to, "the new path")),
      take: (op) => {
        check(c.op.takeCount(op, outPointer, outError));
        return Number(outPointer[0]);
      },
      handle,
      options,
    });
  }

  /** Makes `path` lead to `target`, which need not exist. */
  symlink(target: string, path: string, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.symlink(handle.get(), ...words(target, "the target"), ...words(path, "the path")),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Permission bits, 0o755. */
  chmod(path: string, mode: number, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({
      begin: () => c.fs.chmod(handle.get(), ...words(path, "the path"), integer(mode ?? null, "mode", 0, 0o7777)),
      take: takeNothing,
      handle,
      options,
    });
  }

  /** Whether stat() finds something: a symlink to nothing does not exist. */
  async exists(path: string, options: Abortable = {}): Promise<boolean> {
    try {
      await this.stat(path, options);
      return true;
    } catch (error) {
      if (error instanceof NotFoundError) return false;
      throw error;
    }
  }

  /** Changes below a directory, with all below it unless `recursive` is false, from the moment the promise resolves. */
  watch(path: string, options: Abortable & { recursive?: boolean } = {}): Promise<Watch> {
    const handle = this.handle;
    return run({
      begin: () =>
        c.fs.watch(handle.get(), ...words(path, "the path"), flag(objectOf(options, "the options")["recursive"] ?? true, "recursive")),
      take: (op) => {
        check(c.op.takeWatch(op, outPointer, outError));
        return new Watch(outPointer[0] ?? 0n, handle);
      },
      handle,
      options,
    });
  }
}

function takeContent(op: bigint): Buffer {
  check(c.op.takeBytes(op, outPointer, outError));
  return takeBuffer() ?? Buffer.alloc(0);
}

const info = new OutStruct(structs.FileInfo);

function takeFiles(op: bigint): FileInfo[] {
  check(c.op.takeFiles(op, outPointer, outError));
  const list = outPointer[0] ?? 0n;
  try {
    return Array.from({ length: c.fileList.size(list) }, (_, index) => {
      check(c.fileList.at(list, index, info.memory, outError));
      return {
        path: info.text("path"),
        type: FILE_TYPES[info.int("type")] ?? "unknown",
        size: info.uint64("size"),
        mode: info.uint32("mode"),
        uid: info.uint32("uid"),
        gid: info.uint32("gid"),
        modified: new Date(info.int64("modified_ns") / 1e6),
        target: info.text("target"),
      };
    });
  } finally {
    release(c.fileList.free, list);
  }
}
