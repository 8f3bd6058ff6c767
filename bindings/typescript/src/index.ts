/** Isolated environments for untrusted commands: embedded (Runtime), or of a daemon (Client), with the same objects. */
import "./symbols.js";

export { Client } from "./client.js";
export type { Env } from "./env.js";
export * from "./errors.js";
export type { EventStream } from "./events.js";
export type { ExecResult, ExitStatus } from "./exit_status.js";
export type { FileReader, FileWriter } from "./file_streams.js";
export type { Fs, ReadOptions } from "./fs.js";
export { generateSigningKey, type SigningKey } from "./keys.js";
export type { ConnectOptions, ExposeOptions, Net } from "./net.js";
export type { Process } from "./process.js";
export type { RunningProcess } from "./running_process.js";
export { Runtime } from "./runtime.js";
export type { Sandbox } from "./sandbox.js";
export type { Iterating } from "./streams.js";
export * from "./types.js";
export type {
  EventHistory,
  Health,
  HostReport,
  PoolInfo,
  ProfileInfo,
  PrunedLayer,
  SandboxEvent,
  SandboxInfo,
  SandboxState,
  TemplateInfo,
} from "./values.js";
export { version } from "./keys.js";
export type { Watch } from "./watch.js";
