import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import {
  type Client,
  type Command,
  DeadlineExceededError,
  type ExitStatus,
  type FileEvent,
  type FileInfo,
  type Runtime,
  type RunningProcess,
  type Sandbox,
  type SandboxSpec,
  UnavailableError,
  type Watch,
} from "@sandbox/runtime";
import { type Fields, onlyKeys, Surprise, type Value } from "./values.js";

/** A process with what the runner read of it and no step has taken yet. */
export class Program {
  stdout = Buffer.alloc(0);
  stderr = Buffer.alloc(0);
  constructor(readonly running: RunningProcess) {}

  /** One read into the buffers; false at the end. */
  async read(timeout: number): Promise<boolean> {
    const chunk = await this.running.read({ timeout });
    if (!chunk) return false;
    this[chunk.stream] = Buffer.concat([this[chunk.stream], chunk.bytes]);
    return true;
  }
}

/** A TCP connection. Node gives no half-closed reads by itself, so everything that comes is kept from the beginning. */
export class Connection {
  private received = Buffer.alloc(0);
  private readonly ended: Promise<void>;
  constructor(readonly socket: Socket) {
    socket.on("data", (piece: Buffer) => (this.received = Buffer.concat([this.received, piece])));
    this.ended = new Promise((resolve) => socket.once("end", resolve).once("close", () => resolve()));
    socket.on("error", () => undefined);
  }
  async readAll(timeout: number): Promise<Buffer> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new DeadlineExceededError("the other side does not end")), timeout);
    });
    await Promise.race([this.ended, late]).finally(() => clearTimeout(timer));
    return this.received;
  }
}

export type Saved = Sandbox | Program | Watch | Connection;
export interface Outcome {
  fields: Fields;
  object?: Saved;
}

/** Where sandboxes come from. */
export interface World {
  environment: "embedded" | "daemon" | "sealed";
  maker: { runtime: Runtime } | { client: Client };
}

/** The arguments of one step, asked for by name and type; what nobody asked for is refused. */
export class Arguments {
  private readonly asked = new Set<string>();
  constructor(
    private readonly values: Fields,
    private readonly operation: string,
  ) {}
  get(name: string): Value {
    this.asked.add(name);
    return this.values[name];
  }
  text(name: string): string {
    const value = this.get(name);
    if (typeof value !== "string") throw new Surprise(`${this.operation} wants a text ${name}`);
    return value;
  }
  number(name: string, fallback: number): number {
    const value = this.get(name);
    if (value === undefined) return fallback;
    if (typeof value !== "number") throw new Surprise(`${this.operation} wants a number ${name}`);
    return value;
  }
  content(name: string): string | Uint8Array {
    const value = this.get(name);
    if (typeof value === "string" || value instanceof Uint8Array) return value;
    throw new Surprise(`${this.operation} wants content ${name}`);
  }
  /** Those of `names` that are given, under the names of the package. */
  options(names: Record<string, string>): Record<string, Value> {
    const options: Record<string, Value> = {};
    for (const [given, ours] of Object.entries(names)) if (this.get(given) !== undefined) options[ours] = this.get(given);
    return options;
  }
  /** Permission bits as a text of octal digits. */
  mode(name: string): { mode?: number } {
    const value = this.get(name);
    return value === undefined ? {} : { mode: parseInt(this.text(name), 8) };
  }
  /** Call when all that are known were asked for. */
  done(): void {
    onlyKeys(this.values, [...this.asked], this.operation);
  }
}

const SPEC = {
  image: "image", memory: "memory", cpus: "cpus", pids: "pids", open_files: "openFiles", disk: "disk", inodes: "inodes",
  network: "network", env: "env", workdir: "workdir", hostname: "hostname", writable_root: "writableRoot", user: "user",
};

export async function create(world: World, args: Arguments): Promise<Sandbox> {
  const spec = args.options(SPEC) as SandboxSpec;
  const options = args.options({ deadline_ms: "deadline", cold: "cold" });
  const kept = args.options({ ttl_s: "ttl" });
  args.done();
  if (world.environment === "sealed") spec.sealed = true;
  return "runtime" in world.maker ? world.maker.runtime.create(spec, options) : world.maker.client.create({ spec, ...kept }, options);
}

const COMMAND = {
  env: "env", clear_env: "clearEnv", workdir: "workdir", timeout_ms: "timeout", max_output: "maxOutput", input: "input",
  merge_stderr: "mergeStderr", idempotency_key: "idempotencyKey",
};

function commandOf(args: Arguments): Command {
  const [line, argv] = [args.get("line"), args.get("argv")];
  return (argv ?? line) as Command;
}

const status = (from: ExitStatus): Fields => ({
  cause: from.cause, exit_code: from.exitCode, signal: from.signal, shell_code: from.shellCode, core_dumped: from.coreDumped,
  oom_kills: from.oomKills, stdout_bytes: from.stdoutBytes, stderr_bytes: from.stderrBytes, stdout_dropped: from.stdoutDropped,
  stderr_dropped: from.stderrDropped, wall_time_ns: from.wallTime * 1e6, max_rss: from.maxRss,
});

const file = (from: FileInfo): Fields => ({
  path: from.path, type: from.type, size: from.size, mode: (from.mode & 0o777).toString(8), uid: from.uid, gid: from.gid, target: from.target,
});

const fileEvent = (from: FileEvent): Fields => ({ change: from.change, path: from.path, old_path: from.oldPath, type: from.type });

type Operation<On> = (on: On, args: Arguments, world: World) => Promise<Outcome>;
const nothing: Outcome = { fields: {} };
const gives = (fields: Fields): Outcome => ({ fields });

export const ON_WORLD: Record<string, Operation<World>> = {
  async create(world, args) {
    const box = await create(world, args);
    return { fields: { id: box.id }, object: box };
  },
  async find_template({ maker }, args) {
    const { id, label, digest, size } = await ("runtime" in maker ? maker.runtime : maker.client).findTemplate(args.text("id"));
    return gives({ id, label, digest, size });
  },
  async remove_template({ maker }, args) {
    await ("runtime" in maker ? maker.runtime : maker.client).removeTemplate(args.text("id"));
    return nothing;
  },
  async open({ maker, environment }, args) {
    if ("runtime" in maker) throw new Surprise("a runtime opens nothing");
    const box = await maker.client.open(args.text("id"), { sealed: environment === "sealed" });
    return { fields: { id: box.id }, object: box };
  },
  async remove({ maker }, args) {
    if ("runtime" in maker) throw new Surprise("a runtime removes nothing by id");
    await maker.client.remove(args.text("id"));
    return nothing;
  },
  async "socket.open"(_, args) {
    const socket = createConnection({ host: args.text("address"), port: args.number("port", 0), allowHalfOpen: true });
    try {
      await once(socket, "connect");
    } catch (error) {
      throw new UnavailableError(String(error));
    }
    return { fields: {}, object: new Connection(socket) };
  },
  async "host.write"(_, args) {
    await writeFile(args.text("path"), args.content("content"));
    return nothing;
  },
  async "host.read"(_, args) {
    return gives({ content: await readFile(args.text("path")) });
  },
};

export const ON_SANDBOX: Record<string, Operation<Sandbox>> = {
  async close(box) {
    await box.close();
    return nothing;
  },
  async pause(box) {
    await box.pause();
    return nothing;
  },
  async resume(box) {
    await box.resume();
    return nothing;
  },
  async detach(box) {
    await box.detach();
    return nothing;
  },
  async closed(box) {
    return gives({ closed: box.closed });
  },
  async ping(box, args) {
    return gives({ round_trip_ns: (await box.ping(args.options({ timeout_ms: "timeout" }))) * 1e6 });
  },
  async stats(box) {
    const stats = await box.stats();
    return gives({
      cpu_time_ns: stats.cpuTime * 1e6, memory: stats.memory, memory_peak: stats.memoryPeak, memory_limit: stats.memoryLimit,
      pids: stats.pids, disk_used: stats.diskUsed, inodes_used: stats.inodesUsed, oom_kills: stats.oomKills,
      uptime_ns: stats.uptime * 1e6,
    });
  },
  async save_template(box, args) {
    const { id, label, digest, size } = await box.saveTemplate(args.text("label"));
    return gives({ id, label, digest, size });
  },
  async fingerprint(box) {
    return gives({ fingerprint: await box.fingerprint() });
  },
  async exec(box, args) {
    const result = await box.exec(commandOf(args), args.options(COMMAND));
    return gives({ ...status(result), stdout: result.stdoutBuffer, stderr: result.stderrBuffer });
  },
  async spawn(box, args) {
    const options = args.options({ ...COMMAND, open_input: "openInput" });
    const pty = args.options({ rows: "rows", columns: "columns" });
    const running = await box.spawn(commandOf(args), { ...options, ...("rows" in pty ? { pty: pty as never } : {}) });
    return { fields: { pid: running.pid }, object: new Program(running) };
  },
  async "fs.read"(box, args) {
    return gives({ content: await box.fs.read(args.text("path"), args.options({ max: "max" })) });
  },
  async "fs.read_range"(box, args) {
    return gives({ content: await box.fs.readRange(args.text("path"), args.number("offset", 0), args.number("length", 0)) });
  },
  async "fs.write"(box, args) {
    const options = { ...args.options(WRITE), ...args.mode("mode") };
    await box.fs.write(args.text("path"), args.content("content"), options);
    return nothing;
  },
  async "fs.stream_read"(box, args) {
    await using reader = box.fs.openReader(args.text("path"));
    const pieces: Buffer[] = [];
    for await (const piece of reader) pieces.push(piece);
    return gives({ content: Buffer.concat(pieces) });
  },
  async "fs.stream_write"(box, args) {
    const content = Buffer.from(args.content("content"));
    const piece = args.number("piece", 65_536);
    await using writer = box.fs.openWriter(args.text("path"), { ...args.options(WRITE), ...args.mode("mode") });
    for (let at = 0; at < content.length; at += piece) await writer.write(content.subarray(at, at + piece));
    return gives({ bytes: (await writer.finish()).bytes });
  },
  async "fs.abandon_write"(box, args) {
    await using writer = box.fs.openWriter(args.text("path"));
    await writer.write(args.content("content"));
    return nothing;
  },
  async "fs.upload"(box, args) {
    return gives({ ...(await box.fs.upload(args.text("host_path"), args.text("path"))) });
  },
  async "fs.download"(box, args) {
    return gives({ ...(await box.fs.download(args.text("path"), args.text("host_path"))) });
  },
  async "fs.list"(box, args) {
    return gives({ files: (await box.fs.list(args.text("path"))).map(file) });
  },
  async "fs.find"(box, args) {
    const options = args.options({ type: "type", max_depth: "maxDepth", max_results: "maxResults" });
    return gives({ files: (await box.fs.find(args.text("root"), args.text("pattern"), options)).map(file) });
  },
  async "fs.stat"(box, args) {
    const path = args.text("path");
    return gives(file(args.get("follow") === false ? await box.fs.lstat(path) : await box.fs.stat(path)));
  },
  async "fs.mkdir"(box, args) {
    await box.fs.mkdir(args.text("path"));
    return nothing;
  },
  async "fs.remove"(box, args) {
    await box.fs.remove(args.text("path"), args.options({ recursive: "recursive" }));
    return nothing;
  },
  async "fs.rename"(box, args) {
    await box.fs.rename(args.text("from"), args.text("to"));
    return nothing;
  },
  async "fs.copy"(box, args) {
    return gives({ bytes: await box.fs.copy(args.text("from"), args.text("to")) });
  },
  async "fs.symlink"(box, args) {
    await box.fs.symlink(args.text("target"), args.text("path"));
    return nothing;
  },
  async "fs.chmod"(box, args) {
    await box.fs.chmod(args.text("path"), args.mode("mode").mode ?? -1);
    return nothing;
  },
  async "fs.watch"(box, args) {
    return { fields: {}, object: await box.fs.watch(args.text("path"), { recursive: args.get("recursive") !== false }) };
  },
  async "env.get"(box, args) {
    return gives({ value: (await box.env.get(args.text("name"))) ?? null });
  },
  async "env.set"(box, args) {
    await box.env.set(args.text("name"), args.text("value"));
    return nothing;
  },
  async "env.unset"(box, args) {
    await box.env.unset(args.text("name"));
    return nothing;
  },
  async "env.all"(box) {
    return gives({ env: [...(await box.env.all())].map(([name, value]) => ({ name, value })) });
  },
  async "net.connect"(box, args) {
    const socket = await box.net.connect(args.number("port", 0), args.options({ timeout_ms: "timeout" }));
    return { fields: {}, object: new Connection(socket) };
  },
  async "net.expose"(box, args) {
    return gives(port(await box.net.expose(args.number("port", 0), args.options({ host_port: "hostPort", timeout_ms: "timeout" }))));
  },
  async "net.list"(box) {
    return gives({ ports: (await box.net.list()).map(port) });
  },
  async "net.close"(box, args) {
    await box.net.close(args.number("port", 0));
    return nothing;
  },
};

const WRITE = { append: "append", exclusive: "exclusive", make_parents: "makeParents" };

const port = (from: { port: number; hostPort: number; hostAddress: string }): Fields => ({
  port: from.port, host_port: from.hostPort, host_address: from.hostAddress,
});

export const ON_PROGRAM: Record<string, Operation<Program>> = {
  async "process.read_until"(program, args) {
    const text = args.text("text");
    const deadline = Date.now() + args.number("timeout_ms", 10_000);
    for (;;) {
      const at = program.stdout.indexOf(text);
      if (at >= 0) {
        const end = at + Buffer.byteLength(text);
        const stdout = program.stdout.subarray(0, end);
        program.stdout = program.stdout.subarray(end);
        return gives({ stdout });
      }
      if (!(await program.read(Math.max(0, deadline - Date.now())))) throw new Surprise(`the output ended before ${JSON.stringify(text)}`);
    }
  },
  async "process.read_all"(program, args) {
    const deadline = Date.now() + args.number("timeout_ms", 10_000);
    while (await program.read(Math.max(0, deadline - Date.now())));
    const { stdout, stderr } = program;
    program.stdout = program.stderr = Buffer.alloc(0);
    return gives({ stdout, stderr });
  },
  async "process.read"(program, args) {
    return gives({ end: !(await program.read(args.number("timeout_ms", Infinity))) });
  },
  async "process.write"(program, args) {
    await program.running.write(args.content("content"));
    return nothing;
  },
  async "process.close_input"(program) {
    await program.running.closeInput();
    return nothing;
  },
  async "process.kill"(program) {
    program.running.kill();
    return nothing;
  },
  async "process.signal"(program, args) {
    program.running.signal(args.number("signal", 0));
    return nothing;
  },
  async "process.resize"(program, args) {
    program.running.resize({ rows: args.number("rows", 0), columns: args.number("columns", 0) });
    return nothing;
  },
  async "process.wait"(program, args) {
    return gives(status(await program.running.wait({ timeout: args.number("timeout_ms", 0) || Infinity })));
  },
};

export const ON_WATCH: Record<string, Operation<Watch>> = {
  async "watch.until"(watch, args) {
    const [change, path] = [args.text("change"), args.text("path")];
    const deadline = Date.now() + args.number("timeout_ms", 10_000);
    for (;;) {
      const event = await watch.next({ timeout: Math.max(0, deadline - Date.now()) });
      if (event.change === change && event.path === path) return gives(fileEvent(event));
    }
  },
  async "watch.next"(watch, args) {
    return gives(fileEvent(await watch.next({ timeout: args.number("timeout_ms", Infinity) })));
  },
};

export const ON_CONNECTION: Record<string, Operation<Connection>> = {
  async "socket.write"({ socket }, args) {
    socket.write(args.content("content"));
    return nothing;
  },
  async "socket.end"({ socket }) {
    socket.end();
    return nothing;
  },
  async "socket.read_all"(connection, args) {
    return gives({ content: await connection.readAll(args.number("timeout_ms", 10_000)) });
  },
};
