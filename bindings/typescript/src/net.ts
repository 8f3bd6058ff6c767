import { Socket } from "node:net";
import * as c from "./native/functions.js";
import type { Handle } from "./native/handle.js";
import { integer, milliseconds } from "./native/input.js";
import { check, OutStruct, outError, outInt, outPointer, release } from "./native/memory.js";
import { run, takeNothing } from "./native/operation.js";
import * as structs from "./native/structs.js";
import type { Abortable, ExposedPort } from "./types.js";

export interface ConnectOptions extends Abortable {
  /** Milliseconds to wait for somebody who listens. Default 5 s. */
  timeout?: number;
}

export interface ExposeOptions extends Abortable {
  /** Default: any free one. */
  hostPort?: number;
  /** Milliseconds to wait until something listens inside. Default 30 s. */
  timeout?: number;
}

/** Ports of one sandbox. */
export class Net {
  /** @internal */
  constructor(private readonly handle: Handle) {}

  /** A TCP connection to `port` inside, also when the sandbox has no network. */
  connect(port: number, options: ConnectOptions = {}): Promise<Socket> {
    const handle = this.handle;
    return run({
      begin: () => c.net.connect(handle.get(), portOf(port, "port"), milliseconds(options.timeout, "timeout")),
      take: takeSocket,
      handle,
      options,
    });
  }

  /** Leads a port of this host's loopback to one inside, until close() or the end of the sandbox. */
  expose(port: number, options: ExposeOptions = {}): Promise<ExposedPort> {
    const handle = this.handle;
    return run({
      begin: () =>
        c.net.expose(
          handle.get(),
          portOf(port, "port"),
          integer(options.hostPort, "hostPort", 0, 0xffff),
          milliseconds(options.timeout, "timeout"),
        ),
      take: (op) => {
        check(c.op.takePort(op, exposed.memory, outError));
        return readPort();
      },
      handle,
      options,
    });
  }

  /** The exposed ports. */
  list(options: Abortable = {}): Promise<ExposedPort[]> {
    const handle = this.handle;
    return run({ begin: () => c.net.list(handle.get()), take: takePorts, handle, options });
  }

  /** Ends what expose(port) began. */
  close(port: number, options: Abortable = {}): Promise<void> {
    const handle = this.handle;
    return run({ begin: () => c.net.close(handle.get(), portOf(port, "port")), take: takeNothing, handle, options });
  }
}

const portOf = (value: unknown, what: string): number => integer(value ?? null, what, 0, 0xffff);

function takeSocket(op: bigint): Socket {
  check(c.op.takeFd(op, outInt, outError));
  const fd = outInt[0] ?? -1;
  try {
    return new Socket({ fd, readable: true, writable: true });
  } catch (error) {
    c.closeDescriptor(fd);
    throw error;
  }
}

const exposed = new OutStruct(structs.Port);

function readPort(): ExposedPort {
  const hostAddress = exposed.chars("host_address", 64);
  const hostPort = exposed.uint16("host_port");
  return { port: exposed.uint16("port"), hostPort, hostAddress, url: `http://${hostAddress}:${hostPort}` };
}

function takePorts(op: bigint): ExposedPort[] {
  check(c.op.takePorts(op, outPointer, outError));
  const list = outPointer[0] ?? 0n;
  try {
    return Array.from({ length: c.portList.size(list) }, (_, index) => {
      check(c.portList.at(list, index, exposed.memory, outError));
      return readPort();
    });
  } finally {
    release(c.portList.free, list);
  }
}
